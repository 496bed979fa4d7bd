"""The line that the PMU probe prints, parsed; and the verdict over it. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.errors import ProtocolError
from harness.probe.models import (
    Counter,
    CounterChecks,
    CounterState,
    OverflowChecks,
    OverflowInterrupt,
    PmuVerdict,
)


def _unhex(text: object) -> object:
    """Numbers travel as hexadecimal text, because JSON numbers do not hold 64 bits everywhere."""
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError("not hexadecimal text")
    return int(text, 16)


Hex = Annotated[int, BeforeValidator(_unhex), Field(ge=0, lt=1 << 64)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RawCounter(_Line):
    """One counter as guest_driver/probe prints it."""

    name: str
    event: str
    state: CounterState
    count: Hex
    fault: Hex
    checks: CounterChecks


class RawOverflow(_Line):
    """What one counter's overflow did."""

    name: str
    event: str
    interrupts: Hex
    number: Hex
    status: Hex
    checks: OverflowChecks


class RawAnswer(_Line):
    """The whole line. `probe` is the image's architecture, `width` in bits, `fault` the first fault seen."""

    probe: str
    interface: str
    version: Hex
    general: Hex
    fixed: Hex
    width: Hex
    loop: Hex
    fault: Hex
    counters: tuple[RawCounter, ...]
    overflows: tuple[RawOverflow, ...]
    overflows_untried: str
    registers: dict[str, str]

    @property
    def verdict(self) -> PmuVerdict:
        """One counter that counts makes it `counting`; `absent` needs that nothing is advertised either."""
        if any(counter.state is CounterState.COUNTING for counter in self.counters):
            return PmuVerdict.COUNTING
        return PmuVerdict.DEAD if self.general + self.fixed > 0 else PmuVerdict.ABSENT

    @property
    def counter_models(self) -> tuple[Counter, ...]:
        """The counters in the words of the public answer."""
        return tuple(
            Counter(
                name=c.name,
                event=c.event,
                state=c.state,
                count=c.count,
                loop=self.loop,
                fault=hex(c.fault) if c.fault else None,
                checks=c.checks,
            )
            for c in self.counters
        )

    @property
    def overflow_models(self) -> tuple[OverflowInterrupt, ...]:
        """What the overflows did in the words of the public answer."""
        return tuple(
            OverflowInterrupt(**{**dict(overflow), "status": hex(overflow.status)})
            for overflow in self.overflows
        )


# The probe's report of its own end may follow the beginning of an answer on the same line.
DEATH = re.compile(r'{"probe":"\w+","died":"(0x[0-9a-f]+)","where":"(0x[0-9a-f]+)"}$')


def parse_answer(line: bytes) -> RawAnswer:
    """Parse the probe's line.

    Raises ProtocolError: not the expected JSON, cut short, or the probe's report of its death.
    """
    text = line.decode(errors="replace").strip()
    evidence = {"line": text[:4000]}
    if death := DEATH.search(text):
        raise ProtocolError(
            f"the PMU probe died of an unexpected exception {death[1]} at {death[2]}",
            remedy="this is a defect of the probe or of the emulator: report it",
            evidence=evidence,
        )
    try:
        return RawAnswer.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise ProtocolError(
            f"the PMU probe's answer is malformed: {where}: {first['msg']}",
            remedy="run the probe again; if it stays, report it",
            evidence=evidence,
        ) from None
