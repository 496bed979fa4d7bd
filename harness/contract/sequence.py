"""Sequences of calls by several callers: as data, and as the one line of text that reproduces them.

Callers are `a` and `b`, two handles of the first driver in one process; `c`, a handle of the second driver; and `p`,
a second process with a handle of its own to the first driver. Steps are numbered from 1:

    a allocate; b allocate counters=0,2-3 cpus=0x1 on=1; c free 1; a free null worker; a reopen; p start; p free 6

`counters` is a resource list (Single 0 and Range 2 to 3; x is an extended configuration), `cpus` a processor mask of
group 0, `on` the CPU that the call is made on. Without both lists it is the plain request (NULL, 0, NULL). `p start`
starts the process, which makes the plain request at once; `p kill` terminates it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from harness.errors import UsageError

MAX_CALLS = 24


class Caller(StrEnum):
    """Who calls: a handle of the test driver. `p` is the only one in another process, `c` the only other driver."""

    A = "a"
    B = "b"
    C = "c"
    P = "p"

    @property
    def second_driver(self) -> bool:
        """Whether the call goes through the second instance of the driver."""
        return self is Caller.C


@dataclass(frozen=True)
class Counters:
    """One descriptor of a resource list: Single when `end` is None, else Range; or an extended configuration."""

    begin: int = 0
    end: int | None = None
    extended: bool = False

    def __str__(self) -> str:
        if self.extended:
            return "x"
        return str(self.begin) if self.end is None else f"{self.begin}-{self.end}"

    @property
    def indexes(self) -> range:
        """The counters that it names; none for a range that ends before it begins."""
        if self.extended:
            return range(0)
        return range(self.begin, (self.begin if self.end is None else self.end) + 1)


@dataclass(frozen=True)
class Request:
    """What an allocate asks for: a resource list and a processor mask, each None where the argument is NULL."""

    counters: tuple[Counters, ...] | None = None
    cpus: int | None = None

    @property
    def plain(self) -> bool:
        """Whether it is (NULL, 0, NULL)."""
        return self.counters is None and self.cpus is None

    def __str__(self) -> str:
        words = [] if self.counters is None else ["counters=" + ",".join(map(str, self.counters))]
        return " ".join(words + ([] if self.cpus is None else [f"cpus=0x{self.cpus:x}"]))


PLAIN = Request()


@dataclass(frozen=True)
class Allocate:
    """HalAllocateHardwareCounters, called on the CPU `on` or on whichever."""

    caller: Caller
    request: Request = PLAIN
    on: int | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.caller, "allocate", str(self.request), _on(self.on))))


@dataclass(frozen=True)
class Free:
    """HalFreeHardwareCounters of what step `of` left in its handle cell, or of NULL; `worker`: on a system thread."""

    caller: Caller
    of: int | None = None
    on: int | None = None
    worker: bool = False

    def __str__(self) -> str:
        target = "null" if self.of is None else str(self.of)
        return " ".join(
            filter(None, (self.caller, "free", target, _on(self.on), "worker" if self.worker else ""))
        )


@dataclass(frozen=True)
class Reopen:
    """The caller closes its handle of the driver and opens another."""

    caller: Caller

    def __str__(self) -> str:
        return f"{self.caller} reopen"


@dataclass(frozen=True)
class Start:
    """The second process starts, and makes the plain request."""

    caller: Caller = Caller.P

    def __str__(self) -> str:
        return f"{self.caller} start"


@dataclass(frozen=True)
class Kill:
    """The second process is terminated."""

    caller: Caller = Caller.P

    def __str__(self) -> str:
        return f"{self.caller} kill"


Step = Allocate | Free | Reopen | Start | Kill


def format_sequence(steps: Sequence[Step]) -> str:
    """The one line that parse_sequence reads."""
    return "; ".join(map(str, steps))


def parse_sequence(text: str) -> tuple[Step, ...]:
    """The steps of a line. Raises UsageError for what is no step, or cannot be done at its place."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    steps = tuple(_parse(part) for part in parts)
    check_sequence(steps)
    return steps


def check_sequence(steps: Sequence[Step]) -> None:
    """Raises UsageError for steps that cannot be done where they stand."""
    if not 1 <= len(steps) <= MAX_CALLS:
        raise UsageError(f"a sequence has 1 to {MAX_CALLS} steps, this one has {len(steps)}")
    running = False
    for number, step in enumerate(steps, start=1):
        if isinstance(step, Free) and step.of is not None:
            earlier = steps[step.of - 1] if 0 < step.of < number else None
            if not isinstance(earlier, Allocate | Start):
                raise UsageError(f"step {number} ({step}): step {step.of} is no allocate in front of it")
        if step.caller is Caller.P:
            if isinstance(step, Free) and step.of is not None and steps[step.of - 1].caller.second_driver:
                raise UsageError(f"step {number} ({step}): the process has no handle of the second driver")
            if isinstance(step, Start) == running:
                state = "runs already" if running else "does not run"
                raise UsageError(f"step {number} ({step}): the second process {state}")
            running = not isinstance(step, Kill)


def simpler(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Simpler sequences of the same kind: without one of the steps, from behind; then with a simpler step."""
    for number in range(len(steps), 0, -1):
        shorter = _without(steps, number)
        if shorter is not None:
            yield shorter
    for index, step in enumerate(steps):
        for other in _simpler_steps(step):
            yield (*steps[:index], other, *steps[index + 1 :])


def _simpler_steps(step: Step) -> Iterator[Step]:
    if isinstance(step, Free) and step.of is not None:
        yield replace(step, of=None)
    if isinstance(step, Allocate | Free) and step.on is not None:
        yield replace(step, on=None)
    if isinstance(step, Free) and step.worker:
        yield replace(step, worker=False)
    if isinstance(step, Allocate) and not step.request.plain:
        counters, cpus = step.request.counters, step.request.cpus
        yield replace(step, request=PLAIN)
        if counters is not None and cpus is not None:
            yield replace(step, request=Request(counters))
        for index in range(len(counters or ()) if len(counters or ()) > 1 else 0):
            fewer = (*(counters or ())[:index], *(counters or ())[index + 1 :])
            yield replace(step, request=Request(fewer, cpus))
    if step.caller in (Caller.B, Caller.C) and not isinstance(step, Start | Kill):
        yield replace(step, caller=Caller.A)


def _without(steps: tuple[Step, ...], number: int) -> tuple[Step, ...] | None:
    """The sequence without step `number` and the frees of what it made; None when it cannot be done without it."""
    gone = {number} | {n for n, step in enumerate(steps, 1) if isinstance(step, Free) and step.of == number}
    kept = [n for n in range(1, len(steps) + 1) if n not in gone]
    shorter = tuple(
        replace(step, of=kept.index(step.of) + 1) if isinstance(step, Free) and step.of is not None else step
        for step in (steps[n - 1] for n in kept)
    )
    try:
        check_sequence(shorter)
    except UsageError:
        return None
    return shorter


_CALLER = r"(?P<caller>[abcp])"
_ON = r"(?: on=(?P<on>\d{1,4}))?"
_ITEM = r"(?:\d{1,9}(?:-\d{1,9})?|x)"
_FORMS = (
    (
        re.compile(
            rf"{_CALLER} allocate(?: counters=(?P<list>{_ITEM}(?:,{_ITEM})*)?)?"
            rf"(?: cpus=0x(?P<cpus>[0-9a-f]{{1,16}}))?{_ON}"
        ),
        lambda m: Allocate(Caller(m["caller"]), _request(m), _number(m["on"])),
    ),
    (
        re.compile(rf"{_CALLER} free (?:null|(?P<of>\d{{1,2}})){_ON}(?P<worker> worker)?"),
        lambda m: Free(Caller(m["caller"]), _number(m["of"]), _number(m["on"]), m["worker"] is not None),
    ),
    (re.compile(r"(?P<caller>[abc]) reopen"), lambda m: Reopen(Caller(m["caller"]))),
    (re.compile("p start"), lambda _: Start()),
    (re.compile("p kill"), lambda _: Kill()),
)


def _parse(text: str) -> Step:
    for form, make in _FORMS:
        match = form.fullmatch(text)
        if match:
            step: Step = make(match)
            simple = isinstance(step, Free) and step.on is None and not step.worker
            if step.caller is Caller.P and not (isinstance(step, Start | Kill) or simple):
                break
            return step
    raise UsageError(
        f"{text!r} is no step of a sequence",
        remedy="steps are such as: a allocate; b allocate counters=0,2-3 cpus=0x1 on=1; c free 1; a reopen; p start",
    )


def _request(match: re.Match[str]) -> Request:
    counters = None
    if " counters=" in match[0]:
        counters = tuple(_item(text) for text in (match["list"] or "").split(",") if text)
    return Request(counters, None if match["cpus"] is None else int(match["cpus"], 16))


def _item(text: str) -> Counters:
    if text == "x":
        return Counters(extended=True)
    begin, dash, end = text.partition("-")
    return Counters(int(begin), int(end) if dash else None)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _on(cpu: int | None) -> str:
    return "" if cpu is None else f"on={cpu}"
