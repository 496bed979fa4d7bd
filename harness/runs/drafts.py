"""What random sequences are made of: strategies, which shrink to short ones of plain requests by one caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from harness.config.models import Generation
from harness.contract.sequence import (
    PLAIN,
    Allocate,
    Caller,
    Counters,
    Free,
    Kill,
    Reopen,
    Request,
    Start,
    Step,
)

MAX_STEPS = 12
AT_ONCE = 12
#: Counters that sequences ask for: a machine may have fewer, and then says so.
COUNTERS = 4
#: One sequence in about so many has a second process, whose start costs as much as a hundred calls.
PROCESS_IN = 40


@dataclass(frozen=True)
class FreeDraft:
    """A free that names its allocate by how far back it is, so that a shortened sequence can be done, too.

    Where there is no allocate in front of it, it is one itself. `caller` None: whoever allocated it; `null`: of NULL.
    """

    caller: Caller | None
    back: int
    on: int | None = None
    worker: bool = False
    null: bool = False


@dataclass(frozen=True)
class ProcessDraft:
    """The second process starts when it does not run; else it frees something (`frees`) or is killed."""

    frees: bool


Draft = Allocate | Reopen | FreeDraft | ProcessDraft


def several(generation: Generation, cpus: int, groups: int) -> st.SearchStrategy[list[tuple[Step, ...]]]:
    """Some sequences at once: hypothesis varies what it has drawn, and does not get far if that is one sequence."""
    return st.lists(sequences(generation, cpus, groups), min_size=1, max_size=AT_ONCE)


def sequences(generation: Generation, cpus: int, groups: int) -> st.SearchStrategy[tuple[Step, ...]]:
    """Sequences for a guest of this generation with so many CPUs in group 0, and so many groups."""
    pinned: st.SearchStrategy[int | None] = st.none()
    if groups == 1:
        pinned = st.one_of(st.none(), st.none(), st.integers(0, cpus - 1))
    calls = _calls(generation, cpus, pinned)
    alone = _lists(calls)
    with_process = _lists(st.one_of(calls, _processes()))
    # Bounds are drawn more often than what lies between them.
    drafts = st.integers(0, PROCESS_IN - 1).flatmap(lambda n: with_process if n == PROCESS_IN // 2 else alone)
    return drafts.map(resolve)


def _lists(drafts: st.SearchStrategy[Draft]) -> st.SearchStrategy[list[Draft]]:
    """Two lists behind each other are longer than one, and shrink as far."""
    first, second = (st.lists(drafts, min_size=least, max_size=MAX_STEPS // 2) for least in (1, 0))
    return st.builds(lambda begin, end: begin + end, first, second)


def _processes() -> st.SearchStrategy[Draft]:
    return st.builds(ProcessDraft, st.sampled_from([False, True]))


def _calls(
    generation: Generation, cpus: int, pinned: st.SearchStrategy[int | None]
) -> st.SearchStrategy[Draft]:
    callers = st.sampled_from([Caller.A, Caller.B, Caller.C])
    freeing = st.one_of(st.none(), st.none(), callers)
    allocate = st.builds(Allocate, callers, _requests(generation, cpus), pinned)
    worker = st.integers(0, 8).map(lambda number: number == 4)
    free = st.builds(FreeDraft, freeing, st.integers(0, 4), pinned, worker)
    null = st.builds(FreeDraft, callers, st.just(0), pinned, null=st.just(True))
    reopen = st.builds(Reopen, callers)
    return st.one_of(allocate, allocate, allocate, allocate, free, free, free, free, reopen, null)


def _requests(generation: Generation, cpus: int) -> st.SearchStrategy[Request]:
    """Plain ones, resource lists, processor masks; before 1903, where all but the plain one is refused, few others."""
    one = st.builds(lambda item: (item,), _items())  # several would often name one counter twice
    lists = st.one_of(one, one, st.lists(_items(), min_size=2, max_size=3).map(tuple))
    masks = st.one_of(st.none(), st.none(), st.integers(1, (1 << min(cpus, 4)) - 1))
    plain, listed, masked = (
        st.just(PLAIN),
        st.builds(Request, lists, masks),
        st.builds(Request, st.none(), masks),
    )
    if generation is Generation.EXCLUSIVE:
        return st.one_of(plain, plain, plain, plain, plain, listed)
    return st.one_of(plain, listed, listed, listed, masked)


def _items() -> st.SearchStrategy[Counters]:
    index = st.integers(0, COUNTERS - 1)
    single = st.builds(Counters, index)
    ranges = st.builds(lambda begin, more: Counters(begin, begin + more), index, st.integers(0, 2))
    other = st.sampled_from([Counters(extended=True), Counters(2, 1)])
    return st.one_of(single, single, ranges, other)


def resolve(drafts: Sequence[Draft]) -> tuple[Step, ...]:
    """Steps that can be done where they stand."""
    steps: list[Step] = []
    running = False
    for draft in drafts:
        match draft:
            case ProcessDraft(frees):
                targets = [number for number in _allocates(steps) if _for_process(steps[number - 1])]
                step: Step = Free(Caller.P, targets[-1]) if frees and targets else Kill()
                steps.append(step if running else Start())
                running = not (running and isinstance(step, Kill))
            case FreeDraft():
                steps.append(
                    _free(steps, draft)
                    if draft.null or _allocates(steps)
                    else Allocate(draft.caller or Caller.A)
                )
            case _:
                steps.append(draft)
    return tuple(steps)


def _allocates(steps: Sequence[Step]) -> list[int]:
    return [number for number, step in enumerate(steps, start=1) if isinstance(step, Allocate | Start)]


def _for_process(step: Step) -> bool:
    """Whether the process may free what the step allocates: its driver denies what it never had, and that ends it."""
    plain = isinstance(step, Start) or (isinstance(step, Allocate) and step.request.plain)
    return plain and not step.caller.second_driver


def _free(steps: Sequence[Step], draft: FreeDraft) -> Free:
    made = _allocates(steps)
    if draft.null:
        return Free(draft.caller or Caller.A, None, draft.on, draft.worker)
    of = made[-1 - draft.back % len(made)]
    maker = steps[of - 1].caller
    caller = draft.caller or (Caller.A if maker is Caller.P else maker)
    return Free(caller, of, draft.on, draft.worker)
