"""The built driver in an emulator: its race, with threads that are preempted anywhere, as a seed decides."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from harness.driver.build import DriverBuild
from tests.driver.emulator.device import Driver, File
from tests.driver.emulator.hal import INSUFFICIENT_RESOURCES, INVALID_PARAMETER, NOT_SUPPORTED, Hal
from tests.driver.emulator.wire import wire

BUFFER_TOO_SMALL = 0xC0000023
CODES, NUMBERS = wire().codes, wire().constants
HEAD, ENTRY = ctypes.sizeof(wire().race_result), ctypes.sizeof(wire().race_entry)
ALLOCATED, FREEING = NUMBERS["PMCTEST_ALLOCATED"], NUMBERS["PMCTEST_FREEING"]


def race(file: File, threads: int, rounds: int) -> tuple[Any, list[Any]]:
    given, room = bytes(wire().race(threads=threads, rounds=rounds)), HEAD + 4 * threads * rounds * ENTRY
    answer = file.control(CODES["RACE"], given, room)
    assert answer.status == 0, hex(answer.status)
    result = wire().race_result.from_buffer_copy(answer.data)
    assert len(answer.data) == HEAD + result.entries * ENTRY
    entries = [
        wire().race_entry.from_buffer_copy(answer.data, HEAD + i * ENTRY) for i in range(result.entries)
    ]
    return result, entries


def raced(
    build: DriverBuild, hal: Hal, seed: int, threads: int = 3, rounds: int = 8
) -> tuple[Any, list[Any]]:
    driver = Driver(build.sys.path, hal=hal, seed=seed)
    driver.load()
    file = driver.open()
    driver.machine.preempt = True
    result, entries = race(file, threads, rounds)
    driver.machine.preempt = False
    file.close()
    driver.unload()
    assert hal.held == set()
    return result, entries


def overlaps(entries: list[Any]) -> int:
    """How often a thread surely held while another one surely did: what a correct HAL never allows."""
    holders = most = 0
    for entry in entries:
        holders += (entry.event == ALLOCATED) - (entry.event == FREEING)
        most = max(most, holders)
    return most - 1


@pytest.mark.parametrize("seed", range(8))
def test_one_holder_at_a_time(seed: int, x86_64_build: DriverBuild) -> None:
    hal = Hal()
    result, entries = raced(x86_64_build, hal, seed)
    assert result.successes == result.frees == len(hal.frees) >= 8, "every round has a winner"
    assert result.successes + result.refusals == 3 * 8 and result.other == 0
    assert [entry.sequence for entry in entries] == list(range(len(entries)))
    assert overlaps(entries) == 0
    assert {entry.thread for entry in entries} == {0, 1, 2}
    assert len(hal.allocations) == 24


def test_the_order_of_the_threads_changes_with_the_seed(x86_64_build: DriverBuild) -> None:
    """Else all of the above would be one test."""
    logs = {tuple((e.thread, e.event) for e in raced(x86_64_build, Hal(), seed)[1]) for seed in range(5)}
    assert len(logs) > 1


def test_a_hal_that_lets_two_in_is_caught_by_the_log(x86_64_build: DriverBuild) -> None:
    hal = Hal(exclusive=False)
    found = [overlaps(raced(x86_64_build, hal, seed)[1]) for seed in range(3)]
    assert max(found) >= 1 and hal.most_held > 1


def test_a_hal_that_refuses(x86_64_build: DriverBuild) -> None:
    result, _ = raced(x86_64_build, Hal(answer=INSUFFICIENT_RESOURCES), 1)
    assert (result.successes, result.refusals, result.other) == (0, 24, 0)
    result, _ = raced(x86_64_build, Hal(answer=NOT_SUPPORTED), 1)
    assert (result.successes, result.refusals, result.other) == (0, 0, 24)


def test_a_grant_that_cannot_be_freed_ends_the_race_and_is_kept(x86_64_build: DriverBuild) -> None:
    hal = Hal(free_answer=NOT_SUPPORTED)
    driver = Driver(x86_64_build.sys.path, hal=hal, seed=3)
    driver.load()
    file = driver.open()
    result, _ = race(file, 3, 8)
    assert (result.successes, result.frees) == (1, 0) and result.other >= 1
    assert wire().info.from_buffer_copy(file.control(CODES["INFO"], out=256).data).held == 1
    hal.free_answer = 0
    file.close()
    assert hal.held == set()
    driver.unload()


@pytest.mark.parametrize("started", [0, 1, 2])
def test_threads_that_cannot_be_started(started: int, x86_64_build: DriverBuild) -> None:
    """Those that run already do not wait for the missing ones for ever, and hold nothing afterwards."""
    driver = Driver(x86_64_build.sys.path, fail_threads_after=started)
    driver.load()
    file = driver.open()
    given = bytes(wire().race(threads=3, rounds=4))
    assert file.control(CODES["RACE"], given, 4096).status == INSUFFICIENT_RESOURCES
    assert driver.hal.held == set()
    file.close()
    driver.unload()


def test_bounds(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    driver.load()
    file = driver.open()
    threads, rounds = NUMBERS["PMCTEST_MAX_THREADS"], NUMBERS["PMCTEST_MAX_ROUNDS"]
    for wrong in ((0, 1), (1, 0), (threads + 1, 1), (1, rounds + 1), (0xFFFFFFFF, 0xFFFFFFFF)):
        given = bytes(wire().race(threads=wrong[0], rounds=wrong[1]))
        assert file.control(CODES["RACE"], given, 1 << 16).status == INVALID_PARAMETER
    given = bytes(wire().race(threads=2, rounds=3))
    assert file.control(CODES["RACE"], given, HEAD + 24 * ENTRY - 1).status == BUFFER_TOO_SMALL
    assert driver.hal.allocations == []
    race(file, 2, 3)
    file.close()
    driver.unload()


def test_the_most_threads_there_can_be(x86_64_build: DriverBuild) -> None:
    result, entries = raced(x86_64_build, Hal(), 5, threads=NUMBERS["PMCTEST_MAX_THREADS"], rounds=3)
    assert result.successes == result.frees >= 3
    assert overlaps(entries) == 0
