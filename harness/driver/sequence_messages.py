"""Messages of `sequence`: many operations of callers in one request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.driver.wire import ErrorInfo, Message, UInt32

MAX_STEPS = 96

StepOp = Literal[
    "device.open",
    "device.close",
    "driver.info",
    "allocate",
    "free",
    "holder.start",
    "holder.kill",
    "holder.free",
]
"""What may be a step: the operations of callers of the two routines."""


class StepReference(Message):
    """In a step's arguments, instead of a device or a handle: the one that an earlier step made, counted from 0."""

    step: UInt32


class SequenceStep(Message):
    """One operation; `args` as in a request of its own, but `device` and `handle` may be a StepReference."""

    op: StepOp
    args: dict[str, Any] = Field(default_factory=dict)


class StepAnswer(Message):
    """The answer that the step would have had as a request of its own."""

    ok: bool
    result: dict[str, Any] | None = None
    error: ErrorInfo | None = None


class SequenceArgs(Message):
    """The steps, in order."""

    steps: Annotated[tuple[SequenceStep, ...], Field(max_length=MAX_STEPS)]


class SequenceResult(Message):
    """One answer for each step; a step that fails does not end the sequence."""

    answers: tuple[StepAnswer, ...]
