"""The built driver in an emulator: every request, with right and wrong arguments, and who frees what."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Generator
from typing import Any

import pytest

from harness.driver.build import DriverBuild
from tests.driver.emulator.device import Answer, Driver, File
from tests.driver.emulator.errors import Bugcheck
from tests.driver.emulator.hal import INSUFFICIENT_RESOURCES, INVALID_PARAMETER, NOT_SUPPORTED, Hal
from tests.driver.emulator.wire import wire

BUFFER_TOO_SMALL = 0xC0000023
INVALID_DEVICE_REQUEST = 0xC0000010
ACCESS_DENIED = 0xC0000022
NO_MEMORY = 0xC0000017
QUOTA_EXCEEDED = 0xC0000044
ANY = 0xFFFFFFFF
POISON = 0xAAAAAAAA_AAAAAAAA
CODES = wire().codes
#: Request → its structures; an empty name is no input.
SHAPES = {
    "INFO": ("", "info"),
    "ALLOCATE": ("allocate", "call"),
    "FREE": ("free", "call"),
    "CYCLES": ("cycles", "cycles_result"),
    "COUNT": ("count", "count_result"),
}


@pytest.fixture
def driver(x86_64_build: DriverBuild) -> Generator[Driver, None, None]:
    """Loaded; unloaded afterwards, with nothing left behind."""
    loaded = Driver(x86_64_build.sys.path)
    assert loaded.load() == 0
    yield loaded
    loaded.unload()
    assert loaded.hal.held == set()


def allocate(file: File, items: bytes = b"", **fields: int) -> Any:
    given = bytes(wire().allocate(**{"cpu": ANY, "poison": POISON, **fields})) + items
    answer = file.control(CODES["ALLOCATE"], given, ctypes.sizeof(wire().call))
    assert answer.status == 0, hex(answer.status)
    return wire().call.from_buffer_copy(answer.data)


def free(file: File, handle: int, cpu: int = ANY, worker: int = 0) -> Answer:
    given = handle.to_bytes(8, "little") + cpu.to_bytes(4, "little") + worker.to_bytes(4, "little")
    return file.control(CODES["FREE"], given, ctypes.sizeof(wire().call))


def called(answer: Answer) -> Any:
    assert answer.status == 0, hex(answer.status)
    return wire().call.from_buffer_copy(answer.data)


def info(file: File) -> Any:
    return wire().info.from_buffer_copy(file.control(CODES["INFO"], out=256).data)


# Lengths and codes


@pytest.mark.parametrize("name", CODES)
def test_no_buffer_at_all(name: str, driver: Driver) -> None:
    """The I/O manager passes NULL then."""
    file = driver.open()
    assert file.control(CODES[name]).status in (INVALID_PARAMETER, BUFFER_TOO_SMALL)
    file.close()
    assert driver.hal.allocations == []


@pytest.mark.parametrize("name", SHAPES)
def test_lengths_one_byte_short(name: str, driver: Driver) -> None:
    given, out = (ctypes.sizeof(getattr(wire(), shape)) if shape else 0 for shape in SHAPES[name])
    file = driver.open()
    if given:
        assert file.control(CODES[name], bytes(given - 1), out).status == INVALID_PARAMETER
    assert file.control(CODES[name], bytes(given), out - 1).status == BUFFER_TOO_SMALL
    file.close()
    assert driver.hal.allocations == [] and driver.hal.frees == []


@pytest.mark.parametrize("name", CODES)
def test_no_length_is_believed(name: str, driver: Driver) -> None:
    """Random contents in buffers that end where their length says; what is touched beyond it faults."""
    chance = random.Random(name)  # noqa: S311
    file = driver.open()
    for _ in range(30):
        given = chance.randbytes(chance.choice([0, 1, 7, 8, 15, 16, 31, 32, 33, 48, 64, 200]))
        file.control(CODES[name], given, chance.choice([0, 1, 7, 8, 23, 24, 25, 40, 63, 64, 65, 1584, 4000]))
    file.close()


@pytest.mark.parametrize("flip", [0x4, 0x1000, 0x8000, 0x10000, 0x1, 0x2, 0x3])
def test_other_codes(flip: int, driver: Driver) -> None:
    """Also ours with another access or method: a driver that only looked at the number would take them."""
    file = driver.open()
    for code in CODES.values():
        if code ^ flip not in CODES.values():
            assert file.control(code ^ flip, bytes(64), 4096).status == INVALID_DEVICE_REQUEST
    file.close()


# Allocate and free


def test_allocate_and_free(driver: Driver) -> None:
    file = driver.open()
    call = allocate(file)
    assert (call.status, call.written, call.irql_before, call.irql_after) == (0, 1, 0, 0)
    assert driver.hal.held == {call.handle}
    (seen,) = driver.hal.allocations
    assert (seen.affinity, seen.group_count, seen.resources) == (None, 0, None)
    assert info(file).held == 1
    freed = called(free(file, call.handle))
    assert (freed.status, freed.handle) == (0, call.handle)
    assert driver.hal.held == set() and info(file).held == 0
    file.close()


@pytest.mark.parametrize("worker", [0, 1])
@pytest.mark.parametrize("cpu", [ANY, 0, 3])
def test_free_where_and_by_whom(worker: int, cpu: int, driver: Driver) -> None:
    file = driver.open()
    handle = allocate(file, cpu=cpu).handle
    assert called(free(file, handle, cpu, worker)).status == 0
    assert driver.kernel.pinned_to == ([] if cpu == ANY else [cpu, cpu])
    file.close()


def test_a_cpu_that_is_not_there(driver: Driver) -> None:
    file = driver.open()
    given = bytes(wire().allocate(cpu=4))
    assert file.control(CODES["ALLOCATE"], given, 24).status == INVALID_PARAMETER
    assert driver.hal.allocations == []
    handle = allocate(file).handle
    for worker in (0, 1):
        assert free(file, handle, cpu=4, worker=worker).status == INVALID_PARAMETER
    assert driver.hal.held == {handle}
    file.close()


@pytest.mark.parametrize("answer", [INSUFFICIENT_RESOURCES, NOT_SUPPORTED, INVALID_PARAMETER])
def test_a_refusal_is_an_answer(answer: int, driver: Driver) -> None:
    driver.hal.answer = answer
    file = driver.open()
    call = allocate(file)
    assert (call.status, call.handle, call.written) == (answer, 0, 1)
    assert info(file).held == 0
    file.close()


def test_only_handles_that_the_hal_gave_reach_it(driver: Driver) -> None:
    file = driver.open()
    handle = allocate(file).handle
    for garbage in (1, handle + 8, handle - 8, 2**64 - 1):
        assert free(file, garbage).status == ACCESS_DENIED
    assert driver.hal.frees == []
    assert called(free(file, 0)).status == INVALID_PARAMETER
    assert called(free(file, handle)).status == 0
    assert called(free(file, handle)).status == INVALID_PARAMETER, "a stale handle is passed on"
    file.close()


def test_lists_arrive_as_they_were_given(driver: Driver) -> None:
    file = driver.open()
    affinity = b"\x03" + bytes(7) + b"\x00\x00" + bytes(6)
    resources = b"".join(number.to_bytes(4, "little") for number in (1, 0, 2, 5, 0, 0, 7, 0))
    allocate(
        file,
        affinity + resources,
        flags=3,
        group_count=1,
        affinity_items=1,
        resource_count=2,
        resource_items=2,
    )
    (seen,) = driver.hal.allocations
    assert seen.affinity == affinity
    assert seen.resources is not None and len(seen.resources) == 8 + 2 * 24
    assert seen.resources[8:24] == resources[:8] + resources[8:16]
    assert seen.resources[32:44] == resources[16:28]
    file.close()


def test_a_list_that_claims_more_than_it_has_is_backed_by_memory(driver: Driver) -> None:
    file = driver.open()
    allocate(file, flags=3, group_count=500, resource_count=3000)
    (seen,) = driver.hal.allocations
    assert seen.affinity == bytes(16 * 500)
    assert seen.resources is not None and len(seen.resources) == 8 + 24 * 3000
    assert not any(seen.resources[8:])
    file.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"flags": 1 << 31},
        {"affinity_items": 1},
        {"resource_items": 1},
        {"flags": 1, "affinity_items": 2},
        {"flags": 2, "resource_items": 0xFFFFFFFF},
        {"flags": 1, "affinity_items": 0x10000001},
        {"flags": 1, "group_count": 65537},
        {"flags": 2, "resource_count": 0xFFFFFFFF},
    ],
)
def test_counts_that_do_not_fit(fields: dict[str, int], driver: Driver) -> None:
    file = driver.open()
    given = bytes(wire().allocate(**{"cpu": ANY, **fields})) + bytes(16)
    assert file.control(CODES["ALLOCATE"], given, 24).status == INVALID_PARAMETER
    assert driver.hal.allocations == []
    file.close()


# Who frees what


def test_cleanup_frees_what_the_handle_holds(driver: Driver) -> None:
    driver.hal.exclusive = False
    first, second = driver.open(), driver.open()
    handles = {allocate(first).handle for _ in range(3)}
    other = allocate(second).handle
    assert driver.hal.held == handles | {other}
    first.cleanup()
    assert driver.hal.held == {other}, "another handle's allocation stays"
    first.close(cleanup=False)
    second.close()


def test_a_close_without_cleanup_frees_too(driver: Driver) -> None:
    """Wine may do that."""
    file = driver.open()
    allocate(file)
    file.close(cleanup=False)
    assert driver.hal.held == set()


def test_what_is_granted_after_cleanup_is_freed_at_once(driver: Driver) -> None:
    """The last request of a process that dies: its handle is closed while the HAL still works."""
    file = driver.open()
    file.cleanup()
    given = bytes(wire().allocate(cpu=ANY))
    assert file.control(CODES["ALLOCATE"], given, 24).status == QUOTA_EXCEEDED
    assert len(driver.hal.frees) == 1 and driver.hal.held == set()
    file.close(cleanup=False)


def test_unload_frees_what_the_instance_keeps(driver: Driver) -> None:
    file = driver.open()
    handle = allocate(file, flags=4).handle
    file.close()
    assert driver.hal.held == {handle}, "kept beyond its handle of the device"
    driver.unload()
    assert driver.hal.held == set()
    assert driver.load() == 0


def test_a_hal_that_refuses_to_free(driver: Driver) -> None:
    driver.hal.free_answer = NOT_SUPPORTED
    file = driver.open()
    handle = allocate(file).handle
    assert called(free(file, handle)).status == NOT_SUPPORTED
    assert info(file).held == 1, "a grant that could not be freed is not forgotten"
    driver.hal.free_answer = 0
    file.close()
    assert driver.hal.frees == [handle, handle]


def test_no_memory_never_loses_a_grant(driver: Driver) -> None:
    """Each allocation of pool fails in turn: the HAL is then not asked, or has its grant back at the end."""
    file = driver.open()
    given = bytes(wire().allocate(flags=3, group_count=1, resource_count=1, cpu=ANY))
    for failing in range(3):
        driver.kernel.fail_pool_after = driver.kernel._pool_calls + failing
        assert file.control(CODES["ALLOCATE"], given, 24).status == NO_MEMORY
        assert driver.hal.held == set()
    driver.kernel.fail_pool_after = None
    assert info(file).pool_bytes == info(file).pool_bytes
    before = info(file).pool_bytes
    call = allocate(file)
    assert info(file).pool_bytes > before
    free(file, call.handle)
    assert info(file).pool_bytes == before
    file.close()


def test_no_thread_for_a_free(driver: Driver) -> None:
    file = driver.open()
    handle = allocate(file).handle
    driver.kernel.fail_threads_after = 0
    assert free(file, handle, worker=1).status == INSUFFICIENT_RESOURCES
    assert driver.hal.held == {handle}
    file.close()


def test_only_so_many_are_held(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, hal=Hal(exclusive=False))
    driver.machine.guarded = False
    driver.load()
    file, most = driver.open(), wire().constants["PMCTEST_MAX_HELD"]
    given = bytes(wire().allocate(cpu=ANY))
    statuses = [file.control(CODES["ALLOCATE"], given, 24).status for _ in range(most + 2)]
    assert statuses == [0] * most + [QUOTA_EXCEEDED] * 2
    assert len(driver.hal.held) == most
    file.close()
    assert driver.hal.held == set()
    driver.unload()


# Cycles


def cycles(file: File, count: int) -> Any:
    answer = file.control(CODES["CYCLES"], bytes(wire().cycles(count=count)), 40)
    assert answer.status == 0
    return wire().cycles_result.from_buffer_copy(answer.data)


def test_cycles(driver: Driver) -> None:
    file = driver.open()
    result = cycles(file, 50)
    assert (result.completed, result.deviated) == (50, 0)
    assert len(driver.hal.allocations) == len(driver.hal.frees) == 50
    driver.hal.answer = INSUFFICIENT_RESOURCES
    result = cycles(file, 50)
    assert (result.completed, result.deviated, result.deviation.status) == (0, 1, INSUFFICIENT_RESOURCES)
    for count in (0, wire().constants["PMCTEST_MAX_CYCLES"] + 1, ANY):
        given = bytes(wire().cycles(count=count))
        assert file.control(CODES["CYCLES"], given, 40).status == INVALID_PARAMETER
    file.close()


def test_a_cycle_that_cannot_free_keeps_the_grant_for_the_end(driver: Driver) -> None:
    driver.hal.free_answer = NOT_SUPPORTED
    file = driver.open()
    result = cycles(file, 5)
    assert (result.completed, result.deviated, result.deviation.status) == (0, 1, NOT_SUPPORTED)
    driver.hal.free_answer = 0
    file.close()


# What the emulator would say


def test_a_driver_that_did_not_free_would_be_found(x86_64_build: DriverBuild) -> None:
    """The check behind all of the above, with a HAL that keeps everything and a device handle that stays open."""
    driver = Driver(x86_64_build.sys.path)
    driver.load()
    driver.open()
    with pytest.raises(Bugcheck, match="DRIVER_LEFT_RESOURCES after unload: pool"):
        driver.unload()
