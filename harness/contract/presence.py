"""Expectations about the PMU itself: what the guest sees, against what the PMU probe found."""

from __future__ import annotations

from collections.abc import Iterable

from harness.config.models import Cell, Generation
from harness.contract.judgement import Judgement, failed, passed, skipped
from harness.contract.observations import Call, Counted, CpuidLeaf
from harness.contract.status import documented_allocate
from harness.errors import DriverError
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer

PMU_LEAVES = (0xA, 0x23, 0x80000022)
"""CPUID leaves that describe a PMU: Intel's architectural one, its extension, and AMD's."""


def judge_probe(cell: Cell, answer: ProbeAnswer) -> Judgement:
    """PROBE-1: the probe answered for the machine that the cell asks for."""
    if (answer.arch, answer.machine) != (cell.arch, cell.machine):
        return failed(
            "PROBE-1",
            f"asked about {cell.arch} {cell.machine}, the probe answered about "
            f"{answer.arch} {answer.machine}",
        )
    return passed(f"{answer.verdict} under {answer.accel}, in {answer.elapsed_s:.2f} s")


def is_counting(counted: Counted) -> bool:
    """Whether any counter counted in the guest."""
    return any(counter.state == CounterState.COUNTING for counter in counted.counters)


def judge_no_false_counting(
    probe: ProbeAnswer, first: Call, counted: Counted | None, generation: Generation
) -> Judgement:
    """VIRT-2: without a PMU any documented status conforms, and nothing may count."""
    if probe.verdict is not PmuVerdict.ABSENT:
        return skipped(f"there is a PMU here: the PMU probe says {probe.verdict}")
    fact = f"the PMU probe found no PMU with {probe.accel}, {probe.machine}, -cpu {probe.cpu}"
    if first.status not in documented_allocate(generation):
        return failed("VIRT-2", f"without a PMU: expected a documented status, got {first.answer}", fact)
    if counted is None:
        if first.succeeded:
            raise DriverError("the plain request was granted, but the counters were not read")
        return passed(f"{first.answer}; nothing was granted, so nothing could count")
    names = [counter.name for counter in counted.counters if counter.state == CounterState.COUNTING]
    if names:
        return failed(
            "VIRT-2", f"expected no counter to count without a PMU, but these do: {', '.join(names)}", fact
        )
    return passed(f"{first.answer}; {len(counted.counters)} counters were read, none counts")


def judge_view_agreement(
    probe: ProbeAnswer, cpuid: Iterable[CpuidLeaf], counted: Counted | None
) -> Judgement:
    """VIRT-3: the guest's CPUID and counters show the same PMU as the probe.

    CPUID leaves that one side does not have count as zero, which is how they read. Counters are compared only
    where the guest could read them: a driver that may not touch the PMU (all faulted) has no view of them.
    """
    guest = {(leaf.leaf, leaf.subleaf): leaf for leaf in cpuid}
    differences, compared = [], 0
    for number in PMU_LEAVES if guest else ():
        leaf = guest.get((number, 0))
        for part in ("eax", "ebx", "ecx", "edx"):
            probed = int(probe.advertised.get(f"cpuid.0x{number:x}.{part}", "0"), 16)
            seen = getattr(leaf, part) if leaf else 0
            compared += 1
            if seen != probed:
                differences.append(f"CPUID 0x{number:x} {part}: guest 0x{seen:x}, probe 0x{probed:x}")
    states = {counter.state for counter in counted.counters} - {CounterState.FAULTED} if counted else set()
    if states:
        compared += 1
        guest_counts, probe_counts = CounterState.COUNTING in states, probe.verdict is PmuVerdict.COUNTING
        if guest_counts != probe_counts:
            differences.append(
                f"counters {_count(guest_counts)} in the guest and {_count(probe_counts)} in the probe"
            )
    if differences:
        return failed(
            "VIRT-3",
            "; ".join(differences),
            f"the PMU probe ran with {probe.accel}, {probe.machine}, -cpu {probe.cpu}",
        )
    if not compared:
        return skipped("the guest has no view of the PMU: no CPUID, and no counter that it could read")
    return passed(f"guest and probe agree: {probe.verdict} ({probe.interface})")


def _count(counting: bool) -> str:
    return "count" if counting else "do not count"
