"""What the PMU probe answers. The JSON keys are a public interface."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from harness.config.models import Accel, Arch


class PmuVerdict(StrEnum):
    """`absent`: nothing advertised, nothing counts; `dead`: advertised, but nothing counts."""

    ABSENT = "absent"
    DEAD = "dead"
    COUNTING = "counting"


class CounterState(StrEnum):
    """What one counter did while a known loop ran."""

    COUNTING = "counting"
    DEAD = "dead"
    FAULTED = "faulted"


class CounterChecks(BaseModel):
    """What was asked of one counter; None where it could not be asked.

    `started`: it moved while enabled; `in_range`: by what the loop makes; `stopped`: it stands still when disabled;
    `reset`: a written 0 is read, and stays; `rdpmc`: the instruction RDPMC reads what the register shows (x86);
    `overflow`: the overflow status is set by a wrap and cleared when told to; `restored`: each register read back as
    it was found; `at_rest`: it was not enabled when it was found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: bool | None = None
    in_range: bool | None = None
    stopped: bool | None = None
    reset: bool | None = None
    rdpmc: bool | None = None
    overflow: bool | None = None
    restored: bool | None = None
    at_rest: bool | None = None


class Counter(BaseModel):
    """One counter: its name (gp0, fixed1, cycle, event3), what it was told to count, and what it showed.

    `count` is the difference over a loop of `loop` iterations (10 instructions each), and for event sw-incr
    over 5 software events. `fault` is the code of the first fault as hexadecimal text (on x86 the exception
    vector, on aarch64 ESR_EL1), or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    event: str
    state: CounterState
    count: int
    loop: int
    fault: str | None = None
    checks: CounterChecks = CounterChecks()


class OverflowChecks(BaseModel):
    """What was asked of one counter's overflow interrupt.

    `enabled`, `disabled`: it could be switched, and reads so; `masked`: disabled, a wrap sets the overflow status and
    interrupts nobody; `cleared`: that status can be cleared; `delivered`: enabled, a wrap interrupts once, with the
    PMU's interrupt and this counter's status alone, and is over when that is cleared; `by_software`: so does a status
    that software sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool
    disabled: bool
    masked: bool
    cleared: bool
    delivered: bool
    by_software: bool


class OverflowInterrupt(BaseModel):
    """What the overflow of one counter did: how often it interrupted, by which number, with which overflow status.

    `number` is the interrupt controller's (on aarch64 the INTID); `status` is hexadecimal text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    event: str
    interrupts: int
    number: int
    status: str
    checks: OverflowChecks


class ProbeAnswer(BaseModel):
    """The answer of one probe run with the accelerator, machine and CPU string of a cell.

    `interface` is intel-arch, amd, amd-v2, pmuv3 or none; `advertised` holds the raw ID registers by name, as
    hexadecimal text; `general_counters` and `fixed_counters` are those advertised (AMD's four legacy counters
    never are); `counters` has one entry per counter and event, without a PMU they are observations only; `overflows`
    has one for each of them that counts, or `overflows_untried` says why there are none. All of it is about the boot
    CPU. `elapsed_s` is from process start to answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    arch: Arch
    accel: Accel
    machine: str
    cpu: str
    verdict: PmuVerdict
    interface: str
    version: int
    general_counters: int
    fixed_counters: int
    counters: tuple[Counter, ...]
    overflows: tuple[OverflowInterrupt, ...] = ()
    overflows_untried: str = ""
    advertised: dict[str, str]
    elapsed_s: float
    qemu_version: str
