"""The built driver in an emulator: loading, opening, unloading, and what it does where a system lacks something."""

from __future__ import annotations

from typing import Any

import pytest

from harness.driver.build import DriverBuild
from tests.driver.emulator.device import CLEANUP, CLOSE, Driver
from tests.driver.emulator.hal import Hal
from tests.driver.emulator.wire import wire

NAME_INVALID = 0xC0000033
INSUFFICIENT_RESOURCES = 0xC000009A
PROCEDURE_NOT_FOUND = 0xC000007A
NONPAGED, NONPAGED_NX = 0, 512
GROUP_ROUTINES = ("KeSetSystemGroupAffinityThread", "KeRevertToUserGroupAffinityThread")
SYSTEM, ADMINISTRATORS = (
    bytes([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]),
    bytes([1, 2, *bytes(5), 5, 32, *bytes(3), 32, 2, 0, 0]),
)


def info(driver: Driver) -> Any:
    file = driver.open()
    answer = file.control(wire().codes["INFO"], out=4096)
    assert answer.status == 0
    file.close()
    return wire().info.from_buffer_copy(answer.data)


def test_load_open_close_unload(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    assert driver.load() == 0
    assert list(driver.kernel.devices.values()) == [r"\Device\pmctest"]
    assert driver.kernel.links == {r"\DosDevices\pmctest": r"\Device\pmctest"}
    file = driver.open()
    assert file.opened == 0
    assert file.close() == 0
    driver.unload()
    assert driver.hal.allocations == []


def test_only_administrators_and_the_system_get_in(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    driver.load()
    security = driver.kernel.security
    assert security is not None
    control = int.from_bytes(security[2:4], "little")
    assert control & 0x1004 == 0x1004, "a DACL, and a protected one"
    aces = int.from_bytes(security[20 + 4 : 20 + 6], "little")
    assert aces == 2 and SYSTEM in security and ADMINISTRATORS in security
    assert driver.kernel.handles == {}


@pytest.mark.parametrize("service", ["pmctest2", "A-b_9", "x" * 32])
def test_the_device_is_named_after_the_service(service: str, x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    assert driver.load(service) == 0
    assert list(driver.kernel.devices.values()) == ["\\Device\\" + service]
    driver.unload()


@pytest.mark.parametrize("service", ["", "a b", "x" * 33, "..", "ä", "a\0b"])
def test_a_name_that_becomes_no_device(service: str, x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    assert driver.load(service) == NAME_INVALID
    assert not driver.kernel.devices and not driver.kernel.links and not driver.kernel.pool


@pytest.mark.parametrize(
    "routine", ["IoCreateDevice", "IoCreateSymbolicLink", "ObOpenObjectByPointer", "ZwSetSecurityObject"]
)
def test_a_load_that_fails_leaves_nothing(routine: str, x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, failing={routine: INSUFFICIENT_RESOURCES})
    assert driver.load() == INSUFFICIENT_RESOURCES
    kernel = driver.kernel
    assert not (kernel.devices or kernel.links or kernel.pool or kernel.handles)


@pytest.mark.parametrize("routine", ["ObOpenObjectByPointer", "ZwSetSecurityObject"])
def test_a_system_that_cannot_protect_the_device_is_told(routine: str, x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, absent=frozenset({routine}))
    assert driver.load() == 0
    assert not info(driver).secured


def test_the_name_is_taken(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    driver.kernel.links[r"\DosDevices\pmctest"] = r"\Device\other"
    assert driver.load() == 0xC0000035
    assert not driver.kernel.devices


@pytest.mark.parametrize("present", [True, False])
def test_absent_hal_routines_are_reported(present: bool, x86_64_build: DriverBuild) -> None:
    """An answer of its own, no load failure; what needs them says so, what does not goes on working."""
    driver = Driver(x86_64_build.sys.path, hal=Hal(present=present))
    assert driver.load() == 0
    seen = info(driver)
    assert (seen.allocate_present, seen.free_present) == (present, present)
    file = driver.open()
    for name in ("ALLOCATE", "FREE", "CYCLES", "RACE"):
        status = file.control(wire().codes[name], bytes(4096), 4096).status
        assert (status == PROCEDURE_NOT_FOUND) == (not present), name
    file.close()
    driver.unload()


@pytest.mark.parametrize("half", ["HalAllocateHardwareCounters", "HalFreeHardwareCounters"])
def test_half_of_the_pair_is_not_used(half: str, x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, absent=frozenset({half}))
    assert driver.load() == 0
    file = driver.open()
    assert file.control(wire().codes["ALLOCATE"], bytes(32), 24).status == PROCEDURE_NOT_FOUND
    file.close()
    driver.unload()
    assert driver.hal.allocations == []


@pytest.mark.parametrize(
    ("version", "build", "shared", "pool"),
    [
        ((6, 1), 7601, False, NONPAGED),
        ((6, 2), 9200, False, NONPAGED_NX),
        ((10, 0), 17763, False, NONPAGED_NX),
        ((10, 0), 18362, True, NONPAGED_NX),
        ((10, 0), 26100, True, NONPAGED_NX),
    ],
)
def test_generation_and_pool_by_version(
    version: tuple[int, int], build: int, shared: bool, pool: int, x86_64_build: DriverBuild
) -> None:
    driver = Driver(x86_64_build.sys.path, version=version, build=build)
    driver.load()
    assert info(driver).shared_layout == shared
    assert driver.kernel.pool_types == {pool}, "memory integrity allows no executable pool"


def test_nothing_below_the_device_opens(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path)
    driver.load()
    assert driver.open(r"\below").opened == NAME_INVALID


def test_no_memory_for_a_handle(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, fail_pool_after=0)
    driver.load()
    file = driver.open()
    assert file.opened == INSUFFICIENT_RESOURCES
    driver.unload()


def test_a_request_on_a_file_that_was_never_opened(x86_64_build: DriverBuild) -> None:
    """Also cleanup and close: the file object has no context of ours."""
    driver = Driver(x86_64_build.sys.path)
    driver.load()
    file = driver.open(r"\below")
    for code in wire().codes.values():
        assert file.control(code, bytes(4096), 4096).status >> 30 == 3
    assert driver.request(file.object, CLEANUP).status == 0
    assert driver.request(file.object, CLOSE).status == 0
    driver.unload()


def test_without_processor_groups(x86_64_build: DriverBuild) -> None:
    driver = Driver(x86_64_build.sys.path, absent=frozenset(GROUP_ROUTINES))
    driver.load()
    file = driver.open()
    given = bytes(wire().allocate(cpu=3))
    assert file.control(wire().codes["ALLOCATE"], given, 24).status == 0
    assert driver.kernel.pinned_to == [3]
    file.close()
    driver.unload()
