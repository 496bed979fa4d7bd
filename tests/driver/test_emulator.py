"""The emulator itself finds what it is there to find, in a driver that sins on request."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from harness.deadlines import Deadline
from harness.paths import driver_sources
from harness.toolchain import zig, zig_package
from tests.driver.emulator import machine
from tests.driver.emulator.cpu import ACCESS_VIOLATION
from tests.driver.emulator.device import Driver
from tests.driver.emulator.errors import Bugcheck, NotModelled
from tests.driver.emulator.wire import wire

DDK = "lib/libc/include/any-windows-any/ddk"
OUT = 40  # a multiple of 8, not of 16: the buffer's end is not that of its last page


@pytest.fixture(scope="session")
def sins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sins")
    sources, deadline = driver_sources(), Deadline("compiling the driver that sins", 300.0)
    flags = [
        "-target",
        "x86_64-windows-gnu",
        "-O1",
        "-fms-extensions",
        "-fno-stack-protector",
        "-fno-sanitize=all",
    ]
    includes = ["-I", str(sources / "include"), "-isystem", str(zig_package() / DDK)]
    source = Path(__file__).parent / "emulator" / "sins.c"
    zig(["cc", *flags, *includes, "-c", str(source), "-o", str(folder / "sins.obj")], deadline)
    definition = sources / "cmake" / "imports" / "ntoskrnl.def"
    zig(["dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(folder / "nt.lib")], deadline)
    link = ["/nologo", "/driver", "/nodefaultlib", "/subsystem:native", "/entry:DriverEntry", "/dynamicbase"]
    inputs = [str(folder / "sins.obj"), str(folder / "nt.lib")]
    zig(["lld-link", *link, *inputs, f"/out:{folder / 'sins.sys'}"], deadline)
    return folder / "sins.sys"


@pytest.fixture
def sinner(sins: Path) -> Driver:
    driver = Driver(sins)
    assert driver.load() == 0
    return driver


def test_a_driver_without_sin(sinner: Driver) -> None:
    file = sinner.open()
    assert file.control(0, out=OUT).status == 0
    file.close()
    sinner.unload()


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (1, "BAD_POOL_HEADER"),
        (2, "BAD_POOL_HEADER"),
        (3, "BAD_POOL_HEADER"),
        (4, "PAGE_FAULT: 1 bytes written"),
        (5, "freed twice"),
        (6, "a mutex is still held"),
        (7, "MUTEX_NOT_OWNED"),
        (8, "completed 2 times"),
        (9, "41 bytes of 40"),
        (10, "KMODE_EXCEPTION_NOT_HANDLED: 0xc0000005"),
        (11, "PAGE_FAULT: 1 bytes written at 0x0"),
        (12, "read-only"),
        (13, "has not come back"),
        (14, "other values in r15, xmm7"),
        (16, "IRQL_NOT_LESS_OR_EQUAL: ZwClose"),
        (17, "the IRQL is still 2"),
        (18, "PAGE_FAULT"),
        (20, "INVALID_KERNEL_HANDLE"),
    ],
)
def test_a_sin_is_found(number: int, found: str, sinner: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "BLOCKS", 20_000)
    file = sinner.open()
    with pytest.raises(Bugcheck, match=found):
        file.control(number, out=OUT)


def test_a_leak_is_found_at_unload(sinner: Driver) -> None:
    file = sinner.open()
    assert file.control(15, out=OUT).status == 0
    file.close()
    with pytest.raises(Bugcheck, match="DRIVER_LEFT_RESOURCES after unload: pool"):
        sinner.unload()


def test_an_exception_passes_a_handler_that_refuses(sinner: Driver) -> None:
    """And what lives in preserved registers is there again in the frame that takes it."""
    assert sinner.open().control(19, out=OUT).status == ACCESS_VIOLATION


def test_an_import_that_is_not_modelled_is_named(sins: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sys"
    other.write_bytes(sins.read_bytes().replace(b"IoDeleteDevice\0", b"IoDetachDevice\0"))
    with pytest.raises(NotModelled, match="IoDetachDevice"):
        Driver(other)


def test_the_wire_format_is_read_as_the_compiler_reads_it() -> None:
    """The headers' own assertions about sizes, against the structures that the tests use."""

    checked = {name for name in wire().sizes if name in wire().structures}
    assert {"pmctest_info", "pmctest_call", "pmctest_allocate", "pmu_counter", "pmu_report"} <= checked
    for name in checked:
        assert ctypes.sizeof(wire().structures[name]) == wire().sizes[name], name
    assert len(wire().codes) == len(set(wire().codes.values())) >= 6
