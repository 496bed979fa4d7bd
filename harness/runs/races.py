"""Races in a guest, until one can say something about them."""

from __future__ import annotations

from harness.contract.outcomes import Outcome
from harness.contract.race import MOST_RACES, ROUNDS, THREADS, Meetings, judge_race, meetings
from harness.driver.device import Device
from harness.driver.protocol import RaceResult


def race_until_calls_met(device: Device, *, cpus: int) -> list[RaceResult]:
    """Races until enough calls have met for a verdict, one shows a violation, or there were MOST_RACES.

    One race where the guest has one CPU: calls meet there only when one of them is interrupted.
    """
    races: list[RaceResult] = []
    met = Meetings()
    while len(races) < (MOST_RACES if cpus > 1 else 1) and not met.enough:
        race = device.race(THREADS, ROUNDS)
        races.append(race)
        if judge_race(race.log, THREADS, ROUNDS).outcome is Outcome.FAIL:
            break
        met += meetings(race.log)
    return races
