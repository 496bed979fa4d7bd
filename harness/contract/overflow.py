"""Overflow interrupts: what the PMU probe found of them, in the most privileged mode of the cell's machine."""

from __future__ import annotations

from harness.contract.judgement import Judgement, failed, passed, skipped
from harness.probe.models import CounterState, OverflowChecks, PmuVerdict, ProbeAnswer

_CHECKS = tuple(OverflowChecks.model_fields)


def judge_probe_overflow(probe: ProbeAnswer) -> Judgement:
    """PROBE-2: the overflow of every counter that counts for the probe interrupts it, as the manual says."""
    if probe.verdict is not PmuVerdict.COUNTING:
        return skipped(f"no counter can overflow here: the PMU probe says {probe.verdict}")
    if probe.overflows_untried:
        return skipped(probe.overflows_untried)
    wrong = _wrong(probe)
    if wrong:
        return failed(
            "PROBE-2",
            "; ".join(wrong),
            f"the PMU probe ran with {probe.accel}, {probe.machine}, -cpu {probe.cpu}",
        )
    return passed(
        f"the overflows of all {len(probe.overflows)} counts interrupt, as number {_numbers(probe)}"
    )


def overflow_words(probe: ProbeAnswer) -> str:
    """The probe's result in a clause of a sentence, for where a driver cannot have overflow interrupts itself."""
    if probe.verdict is not PmuVerdict.COUNTING:
        return f"the PMU probe says {probe.verdict}"
    if probe.overflows_untried:
        return f"the PMU probe did not try them: {probe.overflows_untried}"
    wrong = _wrong(probe)
    if wrong:
        return f"the PMU probe does not get them either: {'; '.join(wrong)}"
    return f"the PMU probe got them from all {len(probe.overflows)} counts (PROBE-2)"


def _wrong(probe: ProbeAnswer) -> list[str]:
    counting = [(c.name, c.event) for c in probe.counters if c.state is CounterState.COUNTING]
    tried = [(o.name, o.event) for o in probe.overflows]
    wrong = []
    if counting != tried:
        missing = sorted(set(counting) - set(tried)) or sorted(set(tried) - set(counting))
        wrong.append(f"counted and overflowed are not the same: {_list(missing)}")
    for check in _CHECKS:
        failing = [(o.name, o.event) for o in probe.overflows if not getattr(o.checks, check)]
        if failing:
            wrong.append(f"this is not so: {check} of {_list(failing)}")
    return wrong


def _list(keys: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({event})" for name, event in keys)


def _numbers(probe: ProbeAnswer) -> str:
    return ", ".join(str(number) for number in sorted({o.number for o in probe.overflows}))
