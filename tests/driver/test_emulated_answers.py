"""The built driver in an emulator: what it tells about itself, overflows, and the calls that only a switch allows."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.driver.build import DriverBuild
from tests.driver.emulator.cpu import (
    ACCESS_VIOLATION,
    GLOBAL_CTRL,
    GLOBAL_STATUS,
    SELECT0,
    Cpu,
    IntelCpu,
)
from tests.driver.emulator.device import Driver, File
from tests.driver.emulator.errors import Bugcheck
from tests.driver.emulator.hal import INVALID_PARAMETER, NOT_SUPPORTED, Hal
from tests.driver.emulator.wire import wire

ACCESS_DENIED = 0xC0000022
BUFFER_TOO_SMALL = 0xC0000023
CANCELLED = 0xC0000120
INVALID_DEVICE_STATE = 0xC0000184
ANY = 0xFFFFFFFF
LOOP = 100
CPUS = 4
DISPATCH_LEVEL, PROFILE_LEVEL = 2, 15
CODES, NUMBERS = wire().codes, wire().constants
KEEP, DISPATCH, LEAK = (NUMBERS[f"PMCTEST_{name}"] for name in ("KEEP", "DISPATCH", "LEAK"))
NULL_CELL = NUMBERS["PMCTEST_NULL_CELL"]
WORKER, FREE_DISPATCH, FREE_ANY, FREE_POOL = (
    NUMBERS[f"PMCTEST_FREE_{name}"] for name in ("WORKER", "DISPATCH", "ANY", "POOL")
)
OVERFLOW = 3  # ResourceTypeOverflow
INTERRUPT = 1 << 20  # in IA32_PERFEVTSELx


@contextmanager
def loaded(
    build: DriverBuild, *, destructive: int | None = None, cpu: Cpu | None = None, hal: Hal | None = None
) -> Generator[Driver, None, None]:
    """The driver, loaded; unloaded afterwards, with nothing left behind."""
    driver = Driver(build.sys.path, cpu=cpu, hal=hal)
    if destructive is not None:
        driver.kernel.registry["AllowDestructive"] = destructive
    assert driver.load() == 0
    yield driver
    driver.unload()


def allocate(file: File, flags: int = 0) -> int:
    """The handle of a grant."""
    answer = file.control(CODES["ALLOCATE"], bytes(wire().allocate(flags=flags, cpu=ANY)), 24)
    assert answer.status == 0, hex(answer.status)
    return int(wire().call.from_buffer_copy(answer.data).handle)


def tail(structure: Any, data: bytes) -> list[Any]:
    """The entries that the wire format lists behind a header."""
    size = ctypes.sizeof(structure)
    return [structure.from_buffer_copy(data[at : at + size]) for at in range(0, len(data), size)]


# Counting on every CPU


def count_all(file: File, loop: int = LOOP, cpu: int = ANY, out: int | None = None) -> Any:
    room = 8 + CPUS * ctypes.sizeof(wire().count_result) if out is None else out
    return file.control(CODES["COUNT_ALL"], bytes(wire().count(loop=loop, cpu=cpu)), room)


def test_each_cpu_counts_in_turn(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, cpu=IntelCpu()) as driver:
        file = driver.open()
        allocate(file)
        answer = count_all(file)
        assert answer.status == 0
        assert int.from_bytes(answer.data[:4], "little") == CPUS
        results = tail(wire().count_result, answer.data[8:])
        assert [result.cpu for result in results] == driver.kernel.pinned_to == list(range(CPUS))
        assert {result.status for result in results} == {0}
        assert all(result.report.counter[0].state == NUMBERS["PMU_COUNTING"] for result in results)
        file.close()


def test_without_the_whole_pmu_each_cpu_says_so(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, cpu=IntelCpu()) as driver:
        file = driver.open()
        driver.cpu.written.clear()
        results = tail(wire().count_result, count_all(file).data[8:])
        assert [result.status for result in results] == [INVALID_DEVICE_STATE] * CPUS
        assert driver.cpu.written == []
        file.close()


def test_room_and_arguments_of_counting_everywhere(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build) as driver:
        file = driver.open()
        one_too_few = 8 + (CPUS - 1) * ctypes.sizeof(wire().count_result)
        assert count_all(file, out=one_too_few).status == BUFFER_TOO_SMALL
        assert count_all(file, out=8).status == BUFFER_TOO_SMALL
        for wrong in ({"loop": 0}, {"loop": NUMBERS["PMCTEST_MAX_LOOP"] + 1}, {"cpu": 0}):
            assert count_all(file, **wrong).status == INVALID_PARAMETER
        assert driver.kernel.pinned_to == []
        file.close()


def test_a_closed_handle_stops_counting(x86_64_build: DriverBuild) -> None:
    """What a client that dies would have waited for is cut short between two CPUs."""
    with loaded(x86_64_build, cpu=IntelCpu()) as driver:
        file = driver.open()
        file.cleanup()
        assert count_all(file).status == CANCELLED
        assert driver.kernel.pinned_to == []
        file.close(cleanup=False)


# Who holds what


def holdings(file: File, entries: int = 64) -> tuple[int, list[Any]]:
    answer = file.control(CODES["HOLDINGS"], out=8 + 16 * entries)
    assert answer.status == 0
    total, listed = (int.from_bytes(answer.data[at : at + 4], "little") for at in (0, 4))
    held = tail(wire().held, answer.data[8:])
    assert listed == len(held)
    return total, held


def test_holdings_tell_whose(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, hal=Hal(exclusive=False)) as driver:
        first, second = driver.open(), driver.open()
        mine, theirs, kept = allocate(first), allocate(second), allocate(first, KEEP)
        owners = {name: NUMBERS[f"PMCTEST_OWNER_{name}"] for name in ("DRIVER", "SELF", "OTHER")}
        total, held = holdings(first)
        assert total == 3
        seen = {entry.handle: (entry.owner, entry.file, entry.whole) for entry in held}
        assert seen == {
            mine: (owners["SELF"], 1, 1),
            theirs: (owners["OTHER"], 2, 1),
            kept: (owners["DRIVER"], 0, 1),
        }
        assert {entry.handle: entry.owner for entry in holdings(second)[1]}[theirs] == owners["SELF"]
        first.close()
        assert {entry.handle for entry in holdings(second)[1]} == {theirs, kept}
        second.close()


@pytest.mark.parametrize("room", [0, 1, 2])
def test_holdings_fit_into_what_room_there_is(room: int, x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, hal=Hal(exclusive=False)) as driver:
        file = driver.open()
        for _ in range(3):
            allocate(file)
        total, held = holdings(file, room)
        assert (total, len(held)) == (3, room)
        file.close()


# Overflows


def overflows(file: File) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Calls, lost calls, and per owner: handle, calls, bits."""
    numbers = NUMBERS["PMCTEST_OVERFLOW_OWNERS"]
    answer = file.control(CODES["OVERFLOWS"], out=16 + 24 * numbers)
    assert answer.status == 0
    words = [int.from_bytes(answer.data[at : at + 8], "little") for at in range(0, len(answer.data), 8)]
    rows = [(words[at], words[at + 1], words[at + 2]) for at in range(2, len(words), 3)]
    return words[0], words[1], [row for row in rows if row[1]]


def handler_of(driver: Driver, file: File) -> int:
    """The routine that the driver registers with an overflow descriptor, as the HAL is given it."""
    resource = b"".join(number.to_bytes(4, "little") for number in (OVERFLOW, 0, 0, 0))
    given = bytes(wire().allocate(flags=2, resource_count=1, resource_items=1, cpu=ANY)) + resource
    assert file.control(CODES["ALLOCATE"], given, 24).status == 0
    seen = driver.hal.allocations[-1].resources
    assert seen is not None
    return int.from_bytes(seen[16:24], "little")


def overflow(driver: Driver, handler: int, bits: int, owner: int) -> None:
    """As a HAL does it: an interrupt at PROFILE_LEVEL, at which nearly no routine may be called."""
    driver.machine.irql = PROFILE_LEVEL
    driver.machine.call(handler, bits, owner)
    driver.machine.irql = 0


def test_overflows_are_told_by_owner(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build) as driver:
        file = driver.open()
        handler = handler_of(driver, file)
        assert overflows(file) == (0, 0, [])
        for bits, owner in ((1, 0xA000), (4, 0xB000), (2, 0xA000)):
            overflow(driver, handler, bits, owner)
        assert overflows(file) == (3, 0, [(0xA000, 2, 3), (0xB000, 1, 4)])
        file.close()


def test_more_owners_than_there_are_places(x86_64_build: DriverBuild) -> None:
    places = NUMBERS["PMCTEST_OVERFLOW_OWNERS"]
    with loaded(x86_64_build) as driver:
        file = driver.open()
        handler = handler_of(driver, file)
        for owner in range(1, places + 3):
            overflow(driver, handler, 1, owner)
        calls, lost, rows = overflows(file)
        assert (calls, lost, len(rows)) == (places + 2, 2, places)
        file.close()


# An overflow with its interrupt


class Interrupting(IntelCpu):
    """Acts as a HAL on each overflow whose interrupt is enabled: notes it, and clears the status."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seen: list[tuple[int, int]] = []

    def retire(self, instructions: int) -> None:
        super().retire(instructions)
        for counter in range(self.general):
            if self.msrs[GLOBAL_STATUS] >> counter & 1 and self.msrs[SELECT0 + counter] & INTERRUPT:
                self.seen.append((counter, self.msrs[GLOBAL_CTRL]))
                self.msrs[GLOBAL_STATUS] &= ~(1 << counter)


def hold_with_handler(file: File, *counters: int, handler: bool = True, affinity: bool = False) -> None:
    items = [(0, 0, counter, 0) for counter in counters] + ([(OVERFLOW, 0, 0, 0)] if handler else [])
    tail = b"".join(number.to_bytes(4, "little") for item in items for number in item)
    cpus = b"\x01" + bytes(15) if affinity else b""
    fields = {"flags": 2 | affinity, "group_count": int(affinity), "affinity_items": int(affinity)}
    given = bytes(wire().allocate(resource_count=len(items), resource_items=len(items), cpu=ANY, **fields))
    assert file.control(CODES["ALLOCATE"], given + cpus + tail, 24).status == 0


def interrupt(file: File, index: int, loop: int = LOOP, cpu: int = ANY) -> Any:
    given, size = (
        bytes(wire().interrupt(loop=loop, cpu=cpu, index=index)),
        ctypes.sizeof(wire().count_result),
    )
    answer = file.control(CODES["INTERRUPT"], given, size)
    assert answer.status == 0, hex(answer.status)
    return wire().count_result.from_buffer_copy(answer.data)


@pytest.mark.parametrize("index", [0, 3])
def test_a_counter_overflows_once_with_its_interrupt(index: int, x86_64_build: DriverBuild) -> None:
    """Counters of others go on counting meanwhile: their bits of the shared register stay."""
    cpu = Interrupting()
    with loaded(x86_64_build, cpu=cpu) as driver:
        cpu.msrs[GLOBAL_CTRL] = 0b0110 | 1 << 32
        file = driver.open()
        hold_with_handler(file, 0, 3)
        result = interrupt(file, index, cpu=2)
        assert (result.status, result.cpu, result.report.counters) == (0, 2, 1)
        assert result.report.counter[0].state == NUMBERS["PMU_COUNTING"]
        assert cpu.seen == [(index, 0b0110 | 1 << 32 | 1 << index)]
        file.close()


@pytest.mark.parametrize(
    ("counters", "options", "index"),
    [
        ((0,), {"handler": False}, 0),
        ((0,), {"affinity": True}, 0),
        ((1,), {}, 0),
        ((0,), {}, 64),
    ],
    ids=["no handler", "some CPUs", "another counter", "no counter"],
)
def test_no_counter_is_touched_that_is_not_held_with_a_handler(
    counters: tuple[int, ...], options: dict[str, bool], index: int, x86_64_build: DriverBuild
) -> None:
    with loaded(x86_64_build, cpu=IntelCpu()) as driver:
        file = driver.open()
        hold_with_handler(file, *counters, **options)
        driver.cpu.written.clear()
        assert interrupt(file, index).status == INVALID_DEVICE_STATE
        assert driver.cpu.written == []
        file.close()


def test_a_counter_of_another_handle_is_not_touched(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, cpu=Interrupting()) as driver:
        holder, other = driver.open(), driver.open()
        hold_with_handler(holder, 0)
        driver.cpu.written.clear()
        assert interrupt(other, 0).status == INVALID_DEVICE_STATE
        assert driver.cpu.written == []
        assert interrupt(holder, 0).status == 0
        other.close()
        holder.close()


def test_without_a_pmu_nothing_overflows_and_faults_are_answers(x86_64_build: DriverBuild) -> None:
    for cpu, entries in ((Cpu(), 0), (IntelCpu(faulting={SELECT0}), 1)):
        with loaded(x86_64_build, cpu=cpu) as driver:
            file = driver.open()
            hold_with_handler(file, 0)
            report = interrupt(file, 0).report
            assert report.counters == entries
            if entries:
                assert (report.counter[0].state, report.fault) == (NUMBERS["PMU_FAULTED"], ACCESS_VIOLATION)
            for wrong in (wire().interrupt(loop=0), wire().interrupt(loop=1, reserved=1)):
                assert file.control(CODES["INTERRUPT"], bytes(wrong), 8192).status == INVALID_PARAMETER
            file.close()


# Faults on purpose


def guard(file: File, write: int) -> Any:
    answer = file.control(CODES["GUARD"], bytes(wire().guard(write=write)), 8)
    assert answer.status == 0, hex(answer.status)
    return wire().guard_result.from_buffer_copy(answer.data)


def test_a_provoked_fault_is_an_answer(x86_64_build: DriverBuild) -> None:
    """Every access to the PMU faults on this CPU; the kernel of the emulator would stop at one that nobody takes."""
    with loaded(x86_64_build, cpu=Cpu()) as driver:
        file = driver.open()
        assert guard(file, 0).fault == ACCESS_VIOLATION
        assert guard(file, 1).status == INVALID_DEVICE_STATE, "writing is for the owner of the PMU"
        allocate(file)
        assert guard(file, 1).fault == ACCESS_VIOLATION
        file.close()


def test_a_provoked_write_leaves_the_register_as_it_was(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, cpu=IntelCpu()) as driver:
        file = driver.open()
        allocate(file)
        driver.cpu.msrs[GLOBAL_CTRL] = 5
        assert guard(file, 1).fault == ACCESS_VIOLATION
        assert driver.cpu.msrs[GLOBAL_CTRL] == 5
        file.close()


def test_unknown_provocations(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build) as driver:
        file = driver.open()
        for wrong in (wire().guard(write=2), wire().guard(reserved=1)):
            assert file.control(CODES["GUARD"], bytes(wrong), 8).status == INVALID_PARAMETER
        file.close()


# What only the switch in the registry allows


@pytest.mark.parametrize("switch", [None, 0, 2])
def test_destructive_calls_are_denied(switch: int | None, x86_64_build: DriverBuild) -> None:
    """1 is the only value that allows them, and it has to be there when the driver starts."""
    with loaded(x86_64_build, destructive=switch) as driver:
        driver.kernel.registry["AllowDestructive"] = 1
        file = driver.open()
        for flag in (DISPATCH, LEAK, NULL_CELL):
            given = bytes(wire().allocate(flags=flag, cpu=ANY))
            assert file.control(CODES["ALLOCATE"], given, 24).status == ACCESS_DENIED
        assert driver.hal.allocations == []
        handle = allocate(file)
        for flag in (FREE_DISPATCH, FREE_ANY, FREE_POOL):
            given = bytes(wire().free(handle=handle, cpu=ANY, flags=flag))
            assert file.control(CODES["FREE"], given, 24).status == ACCESS_DENIED
        assert driver.hal.held == {handle}
        file.close()


@pytest.mark.parametrize("worker", [0, WORKER])
def test_calls_at_dispatch_level(worker: int, x86_64_build: DriverBuild) -> None:
    """Only the one call is at that level: the strict kernel here stops at any other routine there."""
    with loaded(x86_64_build, destructive=1) as driver:
        file = driver.open()
        given = bytes(wire().allocate(flags=DISPATCH, cpu=1))
        call = wire().call.from_buffer_copy(file.control(CODES["ALLOCATE"], given, 24).data)
        assert (call.irql_before, call.irql_after) == (DISPATCH_LEVEL, DISPATCH_LEVEL)
        assert driver.hal.allocations[-1].irql == DISPATCH_LEVEL
        given = bytes(wire().free(handle=call.handle, cpu=ANY, flags=FREE_DISPATCH | worker))
        freed = wire().call.from_buffer_copy(file.control(CODES["FREE"], given, 24).data)
        assert (freed.irql_before, freed.status) == (DISPATCH_LEVEL, 0)
        assert driver.hal.free_irqls == [DISPATCH_LEVEL]
        file.close()


def test_a_null_pointer_for_the_handle(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, destructive=1) as driver:
        file = driver.open()
        given = bytes(wire().allocate(flags=NULL_CELL, cpu=ANY))
        call = wire().call.from_buffer_copy(file.control(CODES["ALLOCATE"], given, 24).data)
        assert (call.status, call.written) == (INVALID_PARAMETER, 0)
        assert [seen.null_cell for seen in driver.hal.allocations] == [True]
        assert holdings(file)[1] == []
        file.close()


@pytest.mark.parametrize("worker", [0, WORKER])
def test_values_that_never_were_handles(worker: int, x86_64_build: DriverBuild) -> None:
    """What is given reaches the HAL, or the address of pool that is the driver's own and gone afterwards."""
    with loaded(x86_64_build, destructive=1) as driver:
        file = driver.open()
        held = allocate(file)

        def free(value: int, flags: int) -> Any:
            given = bytes(wire().free(handle=value, cpu=ANY, flags=flags | worker))
            return wire().call.from_buffer_copy(file.control(CODES["FREE"], given, 24).data)

        for value in (1, (1 << 64) - 1, held + 8, held - 8, 0x7FFE0000):
            assert (free(value, FREE_ANY).status, driver.hal.frees[-1]) == (INVALID_PARAMETER, value)
        before = set(driver.kernel.pool)
        pool = free(1, FREE_POOL)
        assert pool.status == INVALID_PARAMETER
        assert driver.hal.frees[-1] == pool.handle > 0xFFFF
        assert set(driver.kernel.pool) == before
        assert free(held, FREE_ANY).status == 0
        assert holdings(file)[1] == []
        file.close()


def test_no_routine_to_raise_the_irql(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, absent=frozenset({"KfRaiseIrql"}))
    driver.kernel.registry["AllowDestructive"] = 1
    assert driver.load() == 0
    file = driver.open()
    given = bytes(wire().allocate(flags=DISPATCH, cpu=ANY))
    assert file.control(CODES["ALLOCATE"], given, 24).status == NOT_SUPPORTED
    assert driver.hal.allocations == []
    file.close()
    driver.unload()


def test_a_leak_is_forgotten_and_nothing_else_is(x86_64_build: DriverBuild) -> None:
    with loaded(x86_64_build, destructive=1, hal=Hal(exclusive=False)) as driver:
        file = driver.open()
        leaked, held = allocate(file, LEAK), allocate(file)
        assert [entry.handle for entry in holdings(file)[1]] == [held]
        given = bytes(wire().free(handle=leaked, cpu=ANY))
        assert file.control(CODES["FREE"], given, 24).status == ACCESS_DENIED, (
            "nobody knows the handle any more"
        )
        file.close()
        assert driver.hal.held == {leaked}


def test_a_routine_called_at_a_raised_irql_would_be_found(x86_64_build: DriverBuild) -> None:
    """The check behind all of the above."""
    with loaded(x86_64_build) as driver:
        file = driver.open()
        driver.machine.irql = DISPATCH_LEVEL
        with pytest.raises(Bugcheck, match="IRQL_NOT_LESS_OR_EQUAL"):
            allocate(file)
        driver.machine.irql = 0
        driver.kernel.mutexes.clear()
        driver.kernel.pool.clear()
        driver.kernel.handles.clear()
