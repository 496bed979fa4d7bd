"""The exact lane: twenty clones count the same instructions, and a driver that counts others is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell, Icount
from harness.contract.exact import EXACT_LOOPS, Key, judge_exact_counts
from harness.contract.judgement import Judgement
from harness.contract.outcomes import Outcome
from harness.driver import build
from harness.probe.run import run_probe
from harness.runs.start import GuestStarter
from tests.system.test_wrong_drivers import ARM, changed_sources

CLONES = 20
CELL = Cell(
    id="exact",
    guest="embedded-arm64",
    arch=Arch.AARCH64,
    machine="virt",
    accel=Accel.TCG,
    cpu="neoverse-n1",
    pmu=True,
    smp=1,
    memory_mib=768,
    icount=Icount.EXACT,
)
CPU_STRING = "neoverse-n1,pmu=on"
Least = dict[tuple[Key, int], int]


def starter(folder: Path) -> GuestStarter:
    made = GuestStarter(CELL, load_guest("embedded-arm64"), accel=Accel.TCG)
    made.prepare(folder)
    assert made.how == "clone"
    return made


def judged(guests: GuestStarter, folder: Path) -> tuple[Judgement, Least]:
    """VIRT-1's exact form in a clone, and the least count of each counter for each length of the loop."""
    answer = run_probe(CELL.arch, Accel.TCG, CELL.machine, CPU_STRING, icount=True)
    with guests.start(folder) as guest, guest.open() as device:
        first = device.allocate()
        seen = [device.count(loop) for loop in EXACT_LOOPS]
        judgement = judge_exact_counts(answer, first, seen, privileged=guest.privileged)
    least: Least = {}
    for one in seen:
        for counter in one.counters:
            key = (counter.name, counter.event), one.loop
            least[key] = min(counter.count, least.get(key, counter.count))
    return judgement, least


def test_clones_count_the_same_instructions(tmp_path: Path) -> None:
    guests = starter(tmp_path)
    results = [judged(guests, tmp_path / f"clone-{number}") for number in range(CLONES)]
    for judgement, _ in results:
        assert judgement.outcome is Outcome.PASS, judgement
    first = results[0][1]
    assert {event for (_, event), _ in first} == {"cycles", "instructions", "sw-incr"}
    assert [least for _, least in results if least != first] == []


def test_a_driver_whose_loop_has_an_instruction_more_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """11 for 10 is within the bounds that hold elsewhere."""
    copy = changed_sources(tmp_path, [(ARM, '"subs %w0, %w0, #1', '"nop\\n\\tsubs %w0, %w0, #1')])
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    judgement, _ = judged(starter(tmp_path), tmp_path / "clone")
    assert judgement.outcome is Outcome.FAIL, judgement
    assert "event0 (instructions): 9000 iterations more make 99000 more, not 90000" in judgement.reason
