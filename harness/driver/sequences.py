"""A sequence of the contract as one request to the client, and its answer as what each step showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.contract.model import POISON, Denied, Seen
from harness.contract.observations import Call
from harness.contract.sequence import Allocate, Caller, Free, Kill, Reopen, Request, Start, Step
from harness.driver import protocol
from harness.driver.deploy import SERVICES
from harness.driver.device import to_call
from harness.driver.session import ClientSession
from harness.errors import DriverError

ACCESS_DENIED = 5
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a sequence showed: each step, and the plain request of another handle after everything was closed."""

    seen: list[Seen]
    after: Call


@dataclass
class _Program:
    """The steps on the wire. Callers' devices are opened when they are first needed."""

    steps: list[protocol.SequenceStep] = field(default_factory=list)
    opened: dict[Caller, int] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    process: bool = False

    def add(self, op: Any, **args: Any) -> int:
        """Append a step of the wire; its index."""
        self.steps.append(protocol.SequenceStep(op=op, args={k: v for k, v in args.items() if v is not None}))
        return len(self.steps) - 1

    def device(self, caller: Caller) -> dict[str, int]:
        """The caller's handle of its driver, opened now when it is not."""
        if caller not in self.opened:
            self.opened[caller] = self.add("device.open", name=SERVICES[caller.second_driver])
        return {"step": self.opened[caller]}

    def close(self, caller: Caller) -> None:
        """Close the caller's handle."""
        self.add("device.close", device={"step": self.opened.pop(caller)})

    def translate(self, step: Step) -> None:
        """Append what a step of the sequence does, and note where its own answer will be."""
        match step:
            case Allocate(caller, request, on):
                index = self.add("allocate", device=self.device(caller), cpu=on, **_arguments(request))
            case Free(caller, of, on, worker):
                handle = "0x0" if of is None else {"step": self.answers[of - 1]}
                if caller is Caller.P:
                    index = self.add("holder.free", handle=handle)
                else:
                    device = self.device(caller)
                    index = self.add("free", device=device, handle=handle, cpu=on, worker=worker or None)
            case Reopen(caller):
                if caller in self.opened:
                    self.close(caller)
                self.device(caller)
                index = self.opened[caller]
            case Start():
                index = self.add("holder.start", device_name=SERVICES[0], mode="hold")
                self.process = True
            case Kill():
                index = self.add("holder.kill")
                self.process = False
        self.answers.append(index)


def run_sequence(session: ClientSession, watcher: int, steps: Sequence[Step]) -> Outcome:
    """Run the steps in one request; in the end all is closed, and the device `watcher` makes the plain request.

    Raises DriverError when the client or the test driver, not a routine, does something else than it was told to.
    """
    program = _Program()
    for step in steps:
        program.translate(step)
    for caller in list(program.opened):
        program.close(caller)
    if program.process:
        program.add("holder.kill")
    after = program.add("allocate", device=watcher)
    program.add("free", device=watcher, handle={"step": after})
    answers = session.call(
        "sequence", protocol.SequenceResult, steps=tuple(program.steps), timeout_s=TIMEOUT_S
    ).answers
    if len(answers) != len(program.steps):
        raise DriverError(f"the client answers {len(answers)} of {len(program.steps)} steps of a sequence")
    seen = [_seen(step, answers[index]) for step, index in zip(steps, program.answers, strict=True)]
    last = _seen(Allocate(Caller.A), answers[after])
    if not isinstance(last, Call):
        raise DriverError("the test driver does not pass the plain request on")
    return Outcome(seen, last)


def _seen(step: Step, answer: protocol.StepAnswer) -> Seen:
    """What a step showed. A kill may meet a process that has ended by itself."""
    if not answer.ok or answer.result is None:
        if step.caller is Caller.P:
            return None if isinstance(step, Kill) else Denied()
        what = answer.error.what if answer.error else "no result"
        raise DriverError(f"the client does not do a step of a sequence ({step}): {what}")
    match step:
        case Start():
            started = protocol.HolderStarted.model_validate(answer.result)
            return Call(started.status, started.handle, started.handle != POISON)
        case Allocate() | Free():
            result = protocol.CallResult.model_validate(answer.result)
            if result.transport == ACCESS_DENIED:
                return Denied()
            call = to_call(str(step), result)
            on = None if step.caller is Caller.P else step.on
            if on is not None and result.group == 0 and call.cpu != on:
                raise DriverError(f"{step}: the test driver called on CPU {call.cpu}")
            return call
        case _:
            return None


def _arguments(request: Request) -> dict[str, Any]:
    """The two lists of a request; both None where the argument is NULL."""
    resources = None
    if request.counters is not None:
        items: list[dict[str, int]] = []
        for item in request.counters:
            if item.extended:
                items.append({"type": 2})
            elif item.end is None:
                items.append({"type": 0, "index": item.begin})
            else:
                items.append({"type": 1, "begin": item.begin, "end": item.end})
        resources = {"items": items}
    return {
        "affinity": None if request.cpus is None else [{"mask": hex(request.cpus)}],
        "resources": resources,
    }
