"""The built driver in an emulator whose kernel has several processor groups, as Windows has with a group size set."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Generator
from typing import Any

import pytest

from harness.contract.expectations import judge_pinned
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.contract.processors import every_processor, whole_machine
from harness.driver.build import DriverBuild
from tests.driver.emulator.device import Driver, File
from tests.driver.emulator.hal import INVALID_PARAMETER
from tests.driver.emulator.wire import wire
from tests.driver.test_emulated_requests import ANY, CODES, POISON, allocate, free, info

GROUP_CPUS = (2, 2, 1)


@pytest.fixture
def driver(x86_64_build: DriverBuild) -> Generator[Driver, None, None]:
    loaded = Driver(x86_64_build.sys.path, group_cpus=GROUP_CPUS)
    assert loaded.load() == 0
    yield loaded
    loaded.unload()
    assert loaded.hal.held == set()


def test_it_says_what_there_is(driver: Driver) -> None:
    file = driver.open()
    found = info(file)
    assert (found.cpus, found.groups) == (5, 3)
    file.close()


def call_of(answer: Any) -> Call:
    return Call(answer.status, answer.handle, bool(answer.written), cpu=answer.cpu, group=answer.group)


def test_each_index_is_a_processor_of_its_group(driver: Driver) -> None:
    """And the judgement of ALLOC-4 takes it: the second request of each processor is refused, on that processor."""
    file = driver.open()
    held = allocate(file)
    calls = {index: call_of(allocate(file, cpu=index)) for index in range(sum(GROUP_CPUS))}
    assert [(call.group, call.cpu) for call in calls.values()] == every_processor(GROUP_CPUS)
    places = zip(driver.kernel.pinned_groups, driver.kernel.pinned_to, strict=True)
    assert list(places) == every_processor(GROUP_CPUS)
    assert driver.kernel.pins == 0, "every one was given back"
    assert judge_pinned(calls, GROUP_CPUS).outcome is Outcome.PASS
    free(file, held.handle)
    file.close()


def test_an_index_behind_the_last_group(driver: Driver) -> None:
    file = driver.open()
    given = bytes(wire().allocate(cpu=5, poison=POISON))
    assert file.control(CODES["ALLOCATE"], given, ctypes.sizeof(wire().call)).status == INVALID_PARAMETER
    assert driver.hal.allocations == []
    file.close()


def named(file: File, entries: list[dict[str, Any]]) -> Any:
    items = b"".join(struct.pack("<QH3H", one["mask"], one["group"], *one["reserved"]) for one in entries)
    return allocate(file, items, flags=1, group_count=len(entries), affinity_items=len(entries), cpu=ANY)


def test_an_array_of_all_groups_reaches_the_hal_as_it_is(driver: Driver) -> None:
    file = driver.open()
    answer = named(file, whole_machine(GROUP_CPUS))
    (seen,) = driver.hal.allocations
    assert seen.group_count == 3
    assert seen.affinity == struct.pack("<QH6xQH6xQH6x", 0b11, 0, 0b11, 1, 0b1, 2)
    free(file, answer.handle)
    file.close()
