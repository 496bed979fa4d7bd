"""The exact lane: where the emulator counts instructions, what a PMU must show is known to the instruction.

At EL0 the counters go on counting when the guest's kernel runs another program on the CPU: that adds instructions, and
never takes any away. So each count is taken several times and the least one must be exact; disturbed ones must be rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.config.models import ICOUNT_SHIFT
from harness.contract.judgement import Judgement, failed, passed, skipped
from harness.contract.observations import Call
from harness.errors import DriverError
from harness.probe.models import CounterState, PmuVerdict, ProbeAnswer

LOOP_INSTRUCTIONS = 10
"""Instructions in one iteration of the known loop (guest_driver/pmu, pmu_loop); a test disassembles what was built."""

CYCLES_PER_INSTRUCTION = 1 << ICOUNT_SHIFT
"""The emulated cycle counter runs at 1 GHz of the guest's time (QEMU's ARM_CPU_FREQ), which the instructions drive."""

SHORT, LONG = 1_000, 10_000
EXACT_LOOPS = (SHORT, LONG) * 3
"""Iterations of the loops to be counted, in this order."""

MAX_DISTURBED = 0.1
"""Share of counts that another program may have disturbed; about one of a thousand was seen to be."""

Key = tuple[str, str]
"""A counter and the event that it counted."""
Counts = Mapping[Key, int]


class Count(Protocol):
    """What one counter counted."""

    @property
    def name(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def count(self) -> int: ...


class LoopCounts(Protocol):
    """What all counters counted while the loop ran, each in a run of its own."""

    @property
    def loop(self) -> int: ...
    @property
    def counters(self) -> Sequence[Count]: ...


def judge_exact_counts(
    probe: ProbeAnswer, first: Call, counted: Sequence[LoopCounts], *, privileged: bool
) -> Judgement:
    """VIRT-1 in a cell with `icount: exact`: equality where elsewhere there are bounds.

    `counted` is what was seen for EXACT_LOOPS. What stands between start and stop beside the loop is the same for both
    lengths, so it is not in their difference. Raises DriverError when it was not counted so.
    """
    if probe.verdict is not PmuVerdict.COUNTING or not privileged or not first.succeeded:
        return skipped("nothing can be counted here")
    if tuple(seen.loop for seen in counted) != EXACT_LOOPS:
        raise DriverError(f"the loops {EXACT_LOOPS} were to be counted, not {[s.loop for s in counted]}")
    alive = sorted({(c.name, c.event) for c in probe.counters if c.state is CounterState.COUNTING})
    if not any(event == "instructions" for _, event in alive):
        return skipped("no counter of the PMU probe counts instructions")
    looks = [(seen.loop, {(c.name, c.event): c.count for c in seen.counters}) for seen in counted]
    missing = [key for key in alive if any(key not in counts for _, counts in looks)]
    if missing:
        return failed("VIRT-1", f"these were not counted in each loop: {', '.join(map(_name, missing))}")
    short, long = (
        {key: min(counts[key] for loop, counts in looks if loop == length) for key in alive}
        for length in (SHORT, LONG)
    )
    least = {SHORT: short, LONG: long}
    disturbed = [
        (key, loop, counts[key]) for loop, counts in looks for key in alive if counts[key] != least[loop][key]
    ]
    wrong = [*_wrong_differences(short, long), *_wrong_cycles(short), *_wrong_cycles(long)]
    if len(disturbed) > MAX_DISTURBED * len(looks) * len(alive):
        key, loop, count = disturbed[0]
        wrong.append(
            f"{len(disturbed)} of {len(looks) * len(alive)} counts are not the same when repeated, "
            f"such as {_name(key)}: {count} and {least[loop][key]}"
        )
    if wrong:
        return failed("VIRT-1", "; ".join(wrong), "the cell runs with icount: exact")
    beside = next(short[key] for key in alive if key[1] == "instructions") - SHORT * LOOP_INSTRUCTIONS
    return passed(
        f"{len(alive)} counts are exact: N iterations of the loop retire {LOOP_INSTRUCTIONS} N instructions, and "
        f"{beside} beside it; another program disturbed {len(disturbed)} of {len(looks) * len(alive)} counts"
    )


def _wrong_differences(short: Counts, long: Counts) -> list[str]:
    """Counters whose two lengths differ by anything else than the iterations that the longer one has more."""
    more = LONG - SHORT
    instructions = more * LOOP_INSTRUCTIONS
    expected = {"instructions": instructions, "cycles": instructions * CYCLES_PER_INSTRUCTION, "sw-incr": 0}
    return [
        f"{_name(key)}: {more} iterations more make {long[key] - short[key]} more, not {expected[key[1]]}"
        for key in short
        if key[1] in expected and long[key] - short[key] != expected[key[1]]
    ]


def _wrong_cycles(counts: Counts) -> list[str]:
    """Every counter is worked by the same code: all see the same instructions, and the cycles that these make."""
    instructions = sorted({count for (_, event), count in counts.items() if event == "instructions"})
    cycles = sorted({count for (_, event), count in counts.items() if event == "cycles"})
    if len(instructions) > 1:
        return [f"the counters differ in their instructions: {instructions}"]
    if cycles not in ([], [instructions[0] * CYCLES_PER_INSTRUCTION]):
        return [
            f"cycles {cycles} are not {CYCLES_PER_INSTRUCTION} for each of {instructions[0]} instructions"
        ]
    return []


def _name(key: Key) -> str:
    return f"{key[0]} ({key[1]})"
