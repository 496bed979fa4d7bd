"""The built driver in an emulator: counting with PMUs that count, are dead, fault, or are not there.

After every request the emulated registers are compared with what they were before it, and the driver's own exception
handlers have to take every fault: both are part of sending a request.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest

from harness.driver.build import DriverBuild
from tests.driver.emulator.cpu import (
    ACCESS_VIOLATION,
    AMD_CORE0,
    CAPABILITIES,
    FIXED0,
    FIXED_CTRL,
    FULL_WIDTH0,
    GLOBAL_CTRL,
    PMC0,
    PRIVILEGED_INSTRUCTION,
    SELECT0,
    AmdCpu,
    Cpu,
    IntelCpu,
    QuietCpu,
)
from tests.driver.emulator.device import Driver
from tests.driver.emulator.errors import Bugcheck, Fault
from tests.driver.emulator.hal import INVALID_PARAMETER
from tests.driver.emulator.wire import wire

LOOP = 300
ANY = 0xFFFFFFFF
INVALID_DEVICE_STATE = 0xC0000184
CODES, NUMBERS = wire().codes, wire().constants
DEAD, COUNTING, FAULTED = (NUMBERS[f"PMU_{name}"] for name in ("DEAD", "COUNTING", "FAULTED"))
NONE, INTEL, AMD = (NUMBERS[f"PMU_{name}"] for name in ("NONE", "INTEL_ARCH", "AMD"))


def holding(build: DriverBuild, cpu: Cpu) -> tuple[Driver, Any]:
    """A driver and a handle of its device that holds the counters."""
    driver = Driver(build.sys.path, cpu=cpu)
    assert driver.load() == 0
    file = driver.open()
    given = bytes(wire().allocate(cpu=ANY))
    assert file.control(CODES["ALLOCATE"], given, ctypes.sizeof(wire().call)).status == 0
    return driver, file


def count(file: Any, loop: int = LOOP, cpu: int = ANY) -> Any:
    given, size = bytes(wire().count(loop=loop, cpu=cpu)), ctypes.sizeof(wire().count_result)
    answer = file.control(CODES["COUNT"], given, size)
    assert answer.status == 0, hex(answer.status)
    return wire().count_result.from_buffer_copy(answer.data)


def measured(build: DriverBuild, cpu: Cpu) -> tuple[Any, list[Any]]:
    """The report and its counters; the driver is unloaded again."""
    driver, file = holding(build, cpu)
    result = count(file)
    assert result.status == 0
    file.close()
    driver.unload()
    return result.report, list(result.report.counter[: result.report.counters])


def states(counters: list[Any]) -> list[int]:
    return [counter.state for counter in counters]


@pytest.mark.parametrize("full_width", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_intel_counts(version: int, full_width: bool, x86_64_build: DriverBuild) -> None:
    report, counters = measured(x86_64_build, IntelCpu(version=version, full_width=full_width))
    assert (report.interface, report.version, report.general, report.loop) == (INTEL, version, 4, LOOP)
    assert states(counters) == [COUNTING] * (4 if version == 1 else 7)
    assert report.fault == 0
    for counter in counters:
        assert 10 * LOOP <= counter.count <= 12 * LOOP + 1000


def test_amd_counts(x86_64_build: DriverBuild) -> None:
    report, counters = measured(x86_64_build, AmdCpu())
    assert (report.interface, report.general) == (AMD, 6)
    assert states(counters) == [COUNTING] * 6


def test_a_pmu_that_is_advertised_and_dead(x86_64_build: DriverBuild) -> None:
    report, counters = measured(x86_64_build, IntelCpu(dead=True))
    assert report.interface == INTEL
    assert states(counters) == [DEAD] * 7


@pytest.mark.parametrize("code", [ACCESS_VIOLATION, PRIVILEGED_INSTRUCTION])
def test_no_pmu_where_every_access_faults(code: int, x86_64_build: DriverBuild) -> None:
    """#GP becomes an answer, whichever status the system makes of it."""
    report, counters = measured(x86_64_build, Cpu(fault_code=code))
    assert (report.interface, report.fault) == (NONE, code)
    assert counters and states(counters) == [FAULTED] * len(counters)
    assert {counter.fault for counter in counters} == {code}


def test_no_pmu_where_reading_gives_zero(x86_64_build: DriverBuild) -> None:
    report, counters = measured(x86_64_build, QuietCpu())
    assert (report.interface, report.fault) == (NONE, 0)
    assert counters and COUNTING not in states(counters)


def test_amd_without_any_counter(x86_64_build: DriverBuild) -> None:
    """The four legacy counters are announced by nothing: that they fault is the answer."""
    report, counters = measured(x86_64_build, Cpu(vendor=b"AuthenticAMD"))
    assert report.interface == NONE
    assert COUNTING not in states(counters)


@pytest.mark.parametrize(
    ("register", "faulted"),
    [
        (GLOBAL_CTRL, {0, 1, 2, 3, 4, 5, 6}),
        (FIXED_CTRL, {4, 5, 6}),
        (SELECT0 + 2, {2}),
        (FULL_WIDTH0 + 1, {1}),
        (FIXED0, {4}),
        (CAPABILITIES, set(range(7))),
    ],
)
@pytest.mark.parametrize("code", [ACCESS_VIOLATION, PRIVILEGED_INSTRUCTION])
def test_a_register_that_faults(
    register: int, faulted: set[int], code: int, x86_64_build: DriverBuild
) -> None:
    """Only the counters that need it are faulted; the others count, and all registers are as before."""
    cpu = IntelCpu(faulting={register}, fault_code=code)
    if register == CAPABILITIES:  # without it, counters are written in their legacy width
        cpu = replace(cpu, full_width=False)
        faulted = set()
    report, counters = measured(x86_64_build, cpu)
    assert {i for i, counter in enumerate(counters) if counter.state == FAULTED} == faulted
    assert {i for i, counter in enumerate(counters) if counter.state == COUNTING} == set(range(7)) - faulted
    assert {counters[i].fault for i in faulted} == ({code} if faulted else set())
    assert report.fault == (code if faulted else 0)


class OneShot(IntelCpu):
    """Each access of a count-down succeeds; the one after it faults, and all later ones succeed again."""

    left = 0

    def wrmsr(self, register: int, value: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Fault(self.fault_code)
        super().wrmsr(register, value)


@pytest.mark.parametrize("at", range(1, 12))
def test_a_fault_in_the_midst_is_noted_and_the_rest_restored(at: int, x86_64_build: DriverBuild) -> None:
    """Whichever of the first writes faults: one counter is faulted, and all others count.

    A register whose restoring write is the one that faults cannot be restored by anybody: the check finds that.
    """
    cpu = OneShot()
    _driver, file = holding(x86_64_build, cpu)
    cpu.left = at
    try:
        result = count(file)
    except Bugcheck as error:
        assert "not as they were found" in str(error)
        changed = {name for name, value in cpu.registers().items() if value != IntelCpu().registers()[name]}
        assert len(changed) == 1
        return
    report = result.report
    assert report.fault == ACCESS_VIOLATION
    assert sorted(states(report.counter[:7])) == [COUNTING] * 6 + [FAULTED]


@pytest.mark.parametrize("cpu", [0, 3])
def test_on_the_cpu_that_was_asked_for(cpu: int, x86_64_build: DriverBuild) -> None:
    driver, file = holding(x86_64_build, IntelCpu())
    result = count(file, cpu=cpu)
    assert (result.cpu, driver.kernel.pinned_to[-1]) == (cpu, cpu)
    given, size = bytes(wire().count(loop=LOOP, cpu=4)), ctypes.sizeof(wire().count_result)
    assert file.control(CODES["COUNT"], given, size).status == INVALID_PARAMETER
    file.close()
    driver.unload()


def test_without_an_allocation_no_register_is_written(x86_64_build: DriverBuild) -> None:
    """Also when another handle holds one."""
    driver, owner = holding(x86_64_build, IntelCpu())
    driver.cpu.written.clear()
    stranger = driver.open()
    result = count(stranger)
    assert result.status == INVALID_DEVICE_STATE
    assert driver.cpu.written == []
    count(owner)
    assert driver.cpu.written
    for loop in (0, NUMBERS["PMCTEST_MAX_LOOP"] + 1, ANY):
        given = bytes(wire().count(loop=loop, cpu=ANY))
        assert owner.control(CODES["COUNT"], given, 8192).status == INVALID_PARAMETER
    for file in (stranger, owner):
        file.close()
    driver.unload()


@pytest.mark.parametrize("cpu", [IntelCpu(), IntelCpu(full_width=False), AmdCpu(), Cpu(), QuietCpu()])
def test_no_register_but_the_pmus(cpu: Cpu, x86_64_build: DriverBuild) -> None:
    """Whatever a caller asks: a write to any other register would be a door."""
    general = range(SELECT0, SELECT0 + 8), range(PMC0, PMC0 + 8), range(FULL_WIDTH0, FULL_WIDTH0 + 8)
    allowed = {register for part in general for register in part}
    allowed |= set(range(FIXED0, FIXED0 + 4)) | set(range(FIXED_CTRL, FIXED_CTRL + 4))
    allowed |= set(range(AMD_CORE0, AMD_CORE0 + 32))
    touched: set[int] = set()
    read, write = cpu.rdmsr, cpu.wrmsr

    def noting_read(register: int) -> int:
        touched.add(register)
        return read(register)

    def noting_write(register: int, value: int) -> None:
        touched.add(register)
        write(register, value)

    cpu.rdmsr, cpu.wrmsr = noting_read, noting_write  # type: ignore[method-assign]
    _driver, file = holding(x86_64_build, cpu)
    for name, code in CODES.items():
        if name not in ("CYCLES", "RACE"):
            for value in (0, 1, 0xFFFFFFFF):
                file.control(code, value.to_bytes(4, "little") * 16, 8192)
    count(file)
    assert touched - {CAPABILITIES} <= allowed
    file.close()


def test_a_fault_that_nobody_handles_would_be_found(x86_64_build: DriverBuild) -> None:
    """The driver without its exception tables: then the same request stops the kernel."""
    driver, file = holding(x86_64_build, Cpu())
    driver.machine.functions = [replace(function, scopes=()) for function in driver.machine.functions]
    with pytest.raises(Bugcheck, match="KMODE_EXCEPTION_NOT_HANDLED: 0xc0000005"):
        count(file)


def test_a_register_that_is_not_restored_would_be_found(x86_64_build: DriverBuild) -> None:
    class Forgetful(IntelCpu):
        def registers(self) -> dict[int, int]:
            return {**super().registers(), SELECT0: len(self.written)}

    _driver, file = holding(x86_64_build, Forgetful())
    with pytest.raises(Bugcheck, match="not as they were found"):
        count(file)
