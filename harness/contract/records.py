"""What is kept where no page says what must happen: sharing, lifetime, contention, a PMU that is dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contract.judgement import Judgement, recorded, skipped
from harness.contract.observations import Call
from harness.contract.status import STATUS_SUCCESS, format_status
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer

BEYOND = 5
"""So many indices are asked for beyond the counters that the CPU reports: N to N + 4."""


def record_pairs(pairs: Mapping[str, tuple[Call, Call]]) -> Judgement:
    """SHARE-1, SHARE-4: what a second caller gets while the first holds something else; by what the two ask for."""
    held = {what: second for what, (first, second) in pairs.items() if first.succeeded}
    if not held:
        refused = "; ".join(f"{what}: {first.answer}" for what, (first, _) in pairs.items())
        return skipped(f"nothing was granted to the first caller: {refused}")
    return recorded(
        "; ".join(
            f"{what}: {'both are granted' if second.succeeded else f'the second gets {second.answer}'}"
            for what, second in held.items()
        )
    )


def record_index_curve(calls: Sequence[Call], reported: int) -> Judgement:
    """SHARE-5: single counters by index from 0; `reported`: general counters that the CPU advertises."""
    granted = [index for index, call in enumerate(calls) if call.succeeded]
    others = {call.status for call in calls if call.status != STATUS_SUCCESS}
    refused = (
        f", the others: {', '.join(format_status(status) for status in sorted(others))}" if others else ""
    )
    length = len(granted)
    compared = "as many as" if length == reported else f"{'more' if length > reported else 'fewer'} than"
    return recorded(
        f"{length} of {len(calls)} are granted ({_runs(granted) or 'none'}), {compared} the {reported} that the CPU "
        f"reports{refused}"
    )


def _runs(numbers: Sequence[int]) -> str:
    """Numbers in words: 0-3, 6."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def record_still_held(what: str, again: Call, freed: Call, after: Call) -> Judgement:
    """LIFE-4, LIFE-5: after `what` the counters were asked for again, the handle was freed, and they were asked for.

    `again`, `freed` and `after` are these three calls.
    """
    excludes = f"two owners ({again.answer})" if again.succeeded else f"still excludes ({again.answer})"
    frees = "still frees" if freed.succeeded else f"its handle frees no more ({freed.answer})"
    back = "granted again after it" if after.succeeded else f"not granted after it ({after.answer})"
    return recorded(f"after {what}: {excludes}, {frees}, {back}")


def record_leak(while_leaked: Call, after: Call) -> Judgement:
    """LIFE-3: the plain request after a leak, and after the reboot that followed."""
    before = "granted all the same" if while_leaked.succeeded else f"refused ({while_leaked.answer})"
    later = "granted" if after.succeeded else f"refused ({after.answer})"
    return recorded(f"after a leak: {before} until the reboot, {later} after it")


#: The smallest block of pool with its header, on 64-bit systems: what a leak in each cycle costs at least.
POOL_BLOCK = 32


def record_pool_growth(before: int | None, after: int | None, cycles: int) -> Judgement:
    """ALLOC-5: bytes of the system's nonpaged pool before and after so many cycles; None where it does not tell.

    A system does other things meanwhile: less than a smallest block each cycle is no growth.
    """
    if before is None or after is None:
        return skipped("the guest does not tell how large its nonpaged pool is")
    grown = "grows" if after - before >= POOL_BLOCK * cycles else "does not grow"
    return recorded(f"the nonpaged pool {grown} with the cycles")


def record_dead(probe: ProbeAnswer) -> Judgement:
    """VIRT-4: counters that are advertised and do not count, as an event filter or a starved host leaves them.

    A filter that lets some events through, or a host that lends some counters, shows as a part that is dead.
    """
    if probe.verdict is PmuVerdict.ABSENT:
        return skipped("no PMU is advertised, says the PMU probe")
    dead = [
        f"{c.name} ({c.event}, {c.state})" for c in probe.counters if c.state is not CounterState.COUNTING
    ]
    if probe.verdict is PmuVerdict.DEAD:
        return recorded(f"advertised but dead ({probe.interface}): {', '.join(dead) or 'no counter at all'}")
    if dead:
        return recorded(
            f"advertised but dead in part: {len(dead)} of {len(probe.counters)} do not count: {', '.join(dead)}"
        )
    return recorded(f"none is dead: all {len(probe.counters)} counts of the PMU probe are there")
