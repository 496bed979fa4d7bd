"""The verdict of a cell, and whether its guest got the machine that was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config.models import Accel, Arch, Cell, Generation, Icount
from harness.contract.clauses import CLAUSES, PROBE_SUITE
from harness.contract.machine_seen import MachineSeen, unlike
from harness.contract.observations import Counted, Grant
from harness.contract.outcomes import Outcome, Verdict
from harness.contract.presence import is_counting, pmu_differences
from harness.contract.status import STATUS_NOT_SUPPORTED, documented_allocate
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer

Outcomes = Mapping[str, tuple[Outcome, str]]
"""The outcome of each clause with its reason."""


def cell_verdict(
    outcomes: Outcomes, *, grant: Grant | None, probe: ProbeAnswer | None, probe_only: bool
) -> tuple[Verdict, str]:
    """What the configuration is good for, and why in one plain sentence."""
    missing_routines = outcomes.get("PRES-1", (Outcome.PASS, ""))
    if missing_routines[0] is Outcome.FAIL:
        return Verdict.ABSENT, missing_routines[1]
    broken = [(name, reason) for name, (outcome, reason) in _ordered(outcomes) if outcome is Outcome.FAIL]
    if broken:
        name, reason = broken[0]
        more = f" (and {len(broken) - 1} more: {', '.join(n for n, _ in broken[1:])})" if broken[1:] else ""
        return Verdict.BROKEN, f"{name}: {reason}{more}"
    if probe_only:
        return _probe_verdict(outcomes, probe)
    return _guest_verdict(outcomes, grant, probe)


def _guest_verdict(outcomes: Outcomes, grant: Grant | None, probe: ProbeAnswer | None) -> tuple[Verdict, str]:
    errors = [reason for _, (outcome, reason) in _ordered(outcomes) if outcome is Outcome.ERROR]
    judged = any(
        outcome in (Outcome.PASS, Outcome.RECORDED)
        for name, (outcome, _) in outcomes.items()
        if name not in PROBE_SUITE
    )
    if not judged:
        return Verdict.UNKNOWN, errors[0] if errors else "no clause was judged"
    if grant is None:
        return Verdict.UNKNOWN, errors[0] if errors else "nothing was asked for"
    verdict, reason = _granted(grant, probe)
    plural = "clause" if len(errors) == 1 else "clauses"
    return verdict, reason + (f"; {len(errors)} {plural} could not be judged" if errors else "")


def _granted(grant: Grant, probe: ProbeAnswer | None) -> tuple[Verdict, str]:
    first, counted = grant.first, grant.counted
    if not first.succeeded:
        if first.status not in documented_allocate(Generation.SHARED):
            return Verdict.BROKEN, f"refused with {first.answer}, which no page documents"
        stub = (
            ""
            if first.status != STATUS_NOT_SUPPORTED
            else " (the routines are there, but nothing behind them)"
        )
        return Verdict.REFUSED, f"refused with the documented {first.answer}{stub}, {_probe_words(probe)}"
    if counted is None:
        return Verdict.UNKNOWN, "granted, but whether counters count was not seen"
    if is_counting(counted):
        counting = sum(counter.state == CounterState.COUNTING for counter in counted.counters)
        return Verdict.USABLE, f"granted, and {counting} of {len(counted.counters)} counters count"
    if probe is not None and probe.verdict is PmuVerdict.ABSENT:
        return Verdict.PHANTOM, "granted, but the PMU probe found no PMU: the warning of the Allocate page"
    return Verdict.PHANTOM, f"granted, but no counter counts in the guest, {_probe_words(probe)}"


def _probe_verdict(outcomes: Outcomes, probe: ProbeAnswer | None) -> tuple[Verdict, str]:
    if probe is None:
        return Verdict.UNKNOWN, outcomes.get(PROBE_SUITE[0], (Outcome.ERROR, ""))[
            1
        ] or "the PMU probe did not answer"
    counting = sum(counter.state is CounterState.COUNTING for counter in probe.counters)
    which = f"{probe.interface} version {probe.version}"
    if probe.verdict is PmuVerdict.COUNTING:
        return Verdict.COUNTING, f"{counting} of {len(probe.counters)} counters count ({which})"
    if probe.verdict is PmuVerdict.DEAD:
        return (
            Verdict.DEAD,
            f"a PMU is advertised ({which}), but none of {len(probe.counters)} counters counts",
        )
    return Verdict.ABSENT, "no PMU is advertised"


def _probe_words(probe: ProbeAnswer | None) -> str:
    if probe is None:
        return "and the PMU probe did not answer"
    return {
        PmuVerdict.ABSENT: "on a machine where the PMU probe found no PMU",
        PmuVerdict.DEAD: "on a machine whose PMU is advertised but dead, says the PMU probe",
        PmuVerdict.COUNTING: "on a machine whose PMU counts, says the PMU probe",
    }[probe.verdict]


def _ordered(outcomes: Outcomes) -> list[tuple[str, tuple[Outcome, str]]]:
    """Outcomes in the order of the catalogue."""
    order = {name: number for number, name in enumerate(CLAUSES)}
    return sorted(outcomes.items(), key=lambda item: order.get(item[0], len(order)))


def realisation(
    cell: Cell,
    probe: ProbeAnswer | None,
    *,
    cpus: int | None = None,
    counted: Counted | None = None,
    machine: MachineSeen | None = None,
) -> tuple[str, ...]:
    """What the cell asked for and did not get, as far as probe and guest say.

    The guest says its number of `cpus`, what its driver `counted` (None where it has no view of the PMU), and what
    `machine` it sees.
    """
    missing = []
    if probe is not None:
        if cell.accel is not Accel.AUTO and probe.accel is not cell.accel:
            missing.append(f"accel={cell.accel} was asked for, {probe.accel} was used")
        if cell.pmu and probe.verdict is PmuVerdict.ABSENT:
            missing.append(f"pmu=on was asked for, the PMU probe found no PMU{_why_absent(probe)}")
        if cell.starve_pmu and probe.verdict is PmuVerdict.COUNTING:
            missing.append("starve_pmu=on was asked for, counters count for the PMU probe all the same")
        if cell.pmu and probe.verdict is PmuVerdict.DEAD and not cell.starve_pmu:
            missing.append(
                f"pmu=on was asked for, the PMU is advertised ({probe.interface}), but no counter counts"
            )
        if not cell.pmu and probe.verdict is not PmuVerdict.ABSENT:
            missing.append(
                f"pmu=off was asked for, the PMU probe found one ({probe.interface}, {probe.verdict})"
            )
        if cell.icount is Icount.EXACT and probe.verdict is PmuVerdict.COUNTING and not _instructions(probe):
            missing.append("icount=exact was asked for, no counter of the PMU probe counts instructions")
        if counted is not None:
            missing += [
                f"guest and probe have different PMUs: {text}" for text in pmu_differences(probe, counted)
            ]
    if cpus is not None and cpus != cell.smp:
        missing.append(f"smp={cell.smp} was asked for, the guest has {cpus} CPU{'' if cpus == 1 else 's'}")
    return (*missing, *(unlike(cell, machine) if machine else ()))


def _instructions(probe: ProbeAnswer) -> bool:
    return any(c.state is CounterState.COUNTING and c.event == "instructions" for c in probe.counters)


def _why_absent(probe: ProbeAnswer) -> str:
    if probe.accel is Accel.TCG and probe.arch is Arch.X86_64:
        return ": TCG has no x86 PMU"
    return ": the host's KVM gives this guest none" if probe.accel is Accel.KVM else ""
