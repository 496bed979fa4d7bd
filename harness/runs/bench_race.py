"""How surely the suite's race notices a defect that shows only now and then: many races, a fresh guest for each."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Cell
from harness.contract.outcomes import Outcome
from harness.contract.race import ROUNDS, THREADS, first_shown, judge_race, rounds_needed
from harness.probe.accelerator import choose_accelerator
from harness.runs.cell import guest_cpu_string
from harness.runs.start import GuestStarter

Figures = dict[str, float]


def bench_race(cell: Cell, runs: int, *, say: Say) -> Figures:
    """`caught` of `runs` races with the cell's defect, or none, were judged a violation.

    `p` is how often the defect shows in a round, as far as the races tell: rounds up to the first in which it did;
    `rounds_needed` how many notice it in 99 of 100 races; `rounds` how many a race of the suite has.
    """
    definition = load_guest(cell.guest or "")
    accel = choose_accelerator(cell.accel, cell.arch, cell.machine).accel
    starter = GuestStarter(
        cell, definition, accel=accel, cpu_string=guest_cpu_string(cell, definition, accel)
    )
    caught = shown = rounds = 0
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as name:
        home = Path(name)
        say("making the template")
        starter.prepare(home)
        for number in range(runs):
            with starter.start(home / str(number)) as guest, guest.open() as device:
                log = device.race(THREADS, ROUNDS).log
            caught += judge_race(log, THREADS, ROUNDS).outcome is Outcome.FAIL
            first = first_shown(log, THREADS)
            shown += first is not None
            rounds += ROUNDS if first is None else first + 1
            say(f"race {number + 1} of {runs}: {'not shown' if first is None else f'shown in round {first}'}")
    p = shown / rounds
    needed = {"rounds_needed": float(rounds_needed(p))} if p else {}
    return {"runs": float(runs), "caught": float(caught), "rounds": float(ROUNDS), "p": round(p, 4), **needed}
