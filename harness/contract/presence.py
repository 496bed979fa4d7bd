"""Expectations about the PMU itself: what the guest sees, against what the PMU probe found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.config.models import Cell, Generation
from harness.contract.expected import Expected, expect_counters
from harness.contract.judgement import Judgement, failed, passed, skipped
from harness.contract.observations import Call, Counted, CounterSeen, CpuidLeaf
from harness.contract.processors import check_places
from harness.contract.status import documented_allocate
from harness.errors import DriverError
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer

GUEST_CHECKS = ("started", "in_range", "stopped", "reset", "restored")
"""The checks of a counter (see CounterChecks) that may not fail in a guest whose PMU counts."""

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


def judge_counting_everywhere(
    probe: ProbeAnswer,
    first: Call,
    counted: Mapping[int, Counted],
    *,
    privileged: bool,
    group_cpus: Sequence[int] = (),
) -> Judgement:
    """VIRT-1: counters that count for the PMU probe count in the guest, on every CPU, and are left as they were found.

    `counted` is by the CPU that was asked for, over all groups; `privileged` says whether the test driver may touch the
    PMU at all. Raises DriverError when the test driver did not count on that CPU: then nothing was observed.
    """
    expectation = expect_counters(probe, privileged=privileged)
    if expectation.expected is not Expected.COUNTING:
        return skipped(f"no counter must count here: {expectation.because}")
    if not first.succeeded:
        return skipped(f"nothing was granted: the plain request gave {first.answer}")
    if not counted:
        raise DriverError("the counters were read on no CPU")
    check_places("count", counted, group_cpus)
    alive = {_measured(counter) for counter in probe.counters if counter.state is CounterState.COUNTING}
    missing = []
    for cpu, seen in counted.items():
        dead = alive - {_measured(c) for c in seen.counters if c.state == CounterState.COUNTING}
        if dead:
            missing.append(f"on CPU {cpu} these do not count: {', '.join(sorted(dead))}")
        missing += [
            f"on CPU {cpu} this is not so: {check} of {', '.join(names)}"
            for check, names in _failed_checks(seen, alive).items()
        ]
    if missing:
        return failed(
            "VIRT-1",
            "; ".join(missing),
            f"the PMU probe ran with {probe.accel}, {probe.machine}, -cpu {probe.cpu}",
        )
    return passed(f"all {len(alive)} counts of the PMU probe are there on each of {len(counted)} CPUs")


def judge_left_at_rest(before: Mapping[int, Counted], after: Mapping[int, Counted]) -> Judgement:
    """VIRT-1's last look, by CPU: what was not enabled before the test driver counted is not enabled after the free.

    What stands enabled in both looks is somebody else's, such as a watchdog's.
    """
    if all(counter.checks.at_rest is None for seen in after.values() for counter in seen.counters):
        return skipped("no counter could be asked whether it was enabled")
    left = [
        f"on CPU {cpu} these were left enabled: {', '.join(names)}"
        for cpu, seen in after.items()
        if (names := sorted(_enabled(seen) - _enabled(before[cpu])))
    ]
    return failed("VIRT-1", "; ".join(left)) if left else passed("no counter was left enabled")


def _enabled(seen: Counted) -> set[str]:
    return {_measured(counter) for counter in seen.counters if counter.checks.at_rest is False}


def _failed_checks(seen: Counted, alive: Iterable[str]) -> dict[str, list[str]]:
    """The counters among those `alive` in the probe that fail a check in the guest, by check."""
    found: dict[str, list[str]] = {}
    for counter in seen.counters:
        if _measured(counter) in alive:
            for check in GUEST_CHECKS:
                if getattr(counter.checks, check) is False:
                    found.setdefault(check, []).append(_measured(counter))
    return found


def _measured(counter: CounterSeen) -> str:
    """A counter and what it counted: a counter that can count several things was tried with each."""
    return f"{counter.name} ({counter.event})"


def judge_no_false_counting(
    probe: ProbeAnswer, first: Call, counted: Mapping[int, Counted], generation: Generation
) -> Judgement:
    """VIRT-2: without a PMU any documented status conforms, and nothing may count, on any CPU (`counted` is by CPU)."""
    if probe.verdict is not PmuVerdict.ABSENT:
        return skipped(f"there is a PMU here: the PMU probe says {probe.verdict}")
    fact = expect_counters(probe, privileged=True).because
    if first.status not in documented_allocate(generation):
        return failed("VIRT-2", f"without a PMU: expected a documented status, got {first.answer}", fact)
    if not counted:
        if first.succeeded:
            raise DriverError("the plain request was granted, but the counters were not read")
        return passed(f"{first.answer}; nothing was granted, so nothing could count")
    alive = [
        f"{counter.name} on CPU {cpu}"
        for cpu, seen in counted.items()
        for counter in seen.counters
        if counter.state == CounterState.COUNTING
    ]
    if alive:
        return failed(
            "VIRT-2", f"expected no counter to count without a PMU, but these do: {', '.join(alive)}", fact
        )
    read = max(len(seen.counters) for seen in counted.values())
    return passed(f"{first.answer}; {read} counters were read on each of {len(counted)} CPUs, none counts")


def judge_view_agreement(
    probe: ProbeAnswer, cpuid: Iterable[CpuidLeaf], counted: Counted | None
) -> Judgement:
    """VIRT-3: the guest's CPUID and counters show the same PMU as the probe.

    CPUID leaves that one side does not have count as zero, which is how they read. A guest without CPUID (aarch64)
    shows what the driver found instead: the interface, its number of counters and their events. What counters did
    is compared only where the guest could read them: a driver that may not touch the PMU (all faulted) has no view.
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
    if not guest and counted is not None:
        compared += 1
        differences += pmu_differences(probe, counted)
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


def pmu_differences(probe: ProbeAnswer, counted: Counted) -> list[str]:
    """How the PMU that the driver found differs from the probe's: interface, general counters, and their events."""
    here, there = (counted.interface, counted.general), (probe.interface, probe.general_counters)
    if here != there:
        return [f"the driver finds {_pmu(*here)}, the probe {_pmu(*there)}"]
    in_guest, in_probe = ({c.event for c in counters} for counters in (counted.counters, probe.counters))
    if in_guest != in_probe and counted.interface != "none":
        return [f"the driver finds the events {_list(in_guest)}, the probe {_list(in_probe)}"]
    return []


def _list(events: Iterable[str]) -> str:
    return ", ".join(sorted(events)) or "none"


def _pmu(interface: str, general: int) -> str:
    return "no PMU" if interface == "none" else f"{interface} with {general} general counters"


def _count(counting: bool) -> str:
    return "count" if counting else "do not count"
