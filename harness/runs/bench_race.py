"""How surely the suite's race notices a defect that shows only now and then: many verdicts, a fresh guest for each."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Cell
from harness.contract.outcomes import Outcome
from harness.contract.race import (
    MEETINGS,
    ROUNDS,
    THREADS,
    Meetings,
    first_shown,
    judge_races,
    meetings,
    needed,
)
from harness.probe.accelerator import choose_accelerator
from harness.runs.races import race_until_calls_met
from harness.runs.start import GuestStarter

Figures = dict[str, float]


def bench_race(cell: Cell, runs: int, *, say: Say) -> Figures:
    """`caught` of `runs` verdicts about the cell's defect, or none, were a violation; `unsure` were none at all.

    `races` is how many a verdict took in the mean. `p_requests` and `p_frees` are how often the defect shows where
    requests meet, and where a free meets a request, as far as the races tell: meetings up to the round in which it
    first did. Of each kind the suite asks for `meetings`; `needed` is how many notice the defect in 99 of 100 verdicts,
    of the kind that it shows in more surely.
    """
    definition = load_guest(cell.guest or "")
    accel = choose_accelerator(cell.accel, cell.arch, cell.machine).accel
    starter = GuestStarter(cell, definition, accel=accel)
    outcomes: Counter[Outcome] = Counter()
    shown = races = 0
    met = Meetings()
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as name:
        home = Path(name)
        say("making the template")
        starter.prepare(home)
        for number in range(runs):
            with starter.start(home / str(number)) as guest, guest.open() as device:
                cpus = device.info().cpus
                logs = [race.log for race in race_until_calls_met(device, cpus=cpus)]
            outcome = judge_races(logs, THREADS, ROUNDS, cpus=cpus).outcome
            outcomes[outcome] += 1
            races += len(logs)
            for log in logs:
                first = first_shown(log, THREADS)
                shown += first is not None
                met += meetings(log, until=first)
            say(f"verdict {number + 1} of {runs}: {outcome} after {len(logs)} races")
    p_requests, p_frees = (min(1.0, shown / max(1, number)) for number in (met.requests, met.frees))
    p = max(p_requests, p_frees)
    return {
        "runs": float(runs),
        "caught": float(outcomes[Outcome.FAIL]),
        "unsure": float(outcomes[Outcome.SKIPPED]),
        "races": round(races / runs, 2),
        "p_requests": round(p_requests, 4),
        "p_frees": round(p_frees, 4),
        **({"needed": float(needed(p))} if p else {}),
        "meetings": float(MEETINGS),
    }
