"""What the kernel, and the user's trust, need of the binaries: read from the files that the build gives."""

from __future__ import annotations

import pefile
import pytest

from harness.config.models import Arch
from harness.driver.build import BuiltFile, DriverBuild

MACHINES = {Arch.X86_64: 0x8664, Arch.AARCH64: 0xAA64}
NATIVE, WINDOWS, CONSOLE = 1, 2, 3
DYNAMIC_BASE, NX = 0x40, 0x100
WRITE, EXECUTE = 0x8000_0000, 0x2000_0000


def load(file: BuiltFile) -> pefile.PE:
    return pefile.PE(data=file.path.read_bytes())


def imports(image: pefile.PE) -> dict[str, set[str]]:
    return {
        entry.dll.decode().lower(): {symbol.name.decode() for symbol in entry.imports}
        for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", [])
    }


@pytest.fixture(params=["sys", "client", "hal"])
def binary(request: pytest.FixtureRequest, driver_build: DriverBuild) -> pefile.PE:
    return load(getattr(driver_build, request.param))


def test_any_binary(binary: pefile.PE, arch: Arch) -> None:
    header = binary.OPTIONAL_HEADER
    assert binary.FILE_HEADER.Machine == MACHINES[arch]
    assert header.SectionAlignment % 0x1000 == 0
    assert header.FileAlignment == 0x1000, "Wine copies a file of smaller alignment instead of mapping it"
    assert header.DllCharacteristics & (DYNAMIC_BASE | NX) == DYNAMIC_BASE | NX
    assert header.CheckSum == binary.generate_checksum(), "the Windows kernel refuses a wrong checksum"
    for section in binary.sections:
        assert section.Characteristics & (WRITE | EXECUTE) != WRITE | EXECUTE, section.Name


def test_no_path_of_the_build_machine_is_inside(driver_build: DriverBuild) -> None:
    for file in (driver_build.sys, driver_build.client, driver_build.hal):
        data = file.path.read_bytes()
        assert b"guest_driver" not in data
        assert b".pdb" not in data


def test_driver(driver_build: DriverBuild) -> None:
    image = load(driver_build.sys)
    assert image.OPTIONAL_HEADER.Subsystem == NATIVE
    assert image.OPTIONAL_HEADER.AddressOfEntryPoint != 0
    assert hasattr(image, "DIRECTORY_ENTRY_BASERELOC"), "a driver is relocated when it is loaded"
    assert set(imports(image)) == {"ntoskrnl.exe"}
    (names,) = imports(image).values()
    assert "HalAllocateHardwareCounters" not in names, "absent routines must not keep the driver from loading"
    assert {"MmGetSystemRoutineAddress", "__C_specific_handler"} <= names
    assert not hasattr(image, "DIRECTORY_ENTRY_EXPORT")


def test_client(driver_build: DriverBuild) -> None:
    image = load(driver_build.client)
    assert image.OPTIONAL_HEADER.Subsystem == CONSOLE
    needed, by_the_compiler = {"kernel32.dll", "advapi32.dll"}, {"ntdll.dll"}
    assert needed <= set(imports(image)) <= needed | by_the_compiler
    assert driver_build.client.path.stat().st_size < 100_000


def test_reference_hal(driver_build: DriverBuild) -> None:
    image = load(driver_build.hal)
    assert image.OPTIONAL_HEADER.Subsystem == WINDOWS, "Wine calls no entry point of a native library"
    assert image.OPTIONAL_HEADER.AddressOfEntryPoint != 0
    assert set(imports(image)) == {"ntoskrnl.exe"}
    exports = {symbol.name.decode(): symbol.forwarder for symbol in image.DIRECTORY_ENTRY_EXPORT.symbols}
    own = {name for name, forwarder in exports.items() if forwarder is None}
    assert own == {"HalAllocateHardwareCounters", "HalFreeHardwareCounters"}
    forwarded = {name: target.decode() for name, target in exports.items() if target is not None}
    assert len(forwarded) == 76
    for name, target in forwarded.items():
        assert target in {f"halwine.{name}", f"ntoskrnl.exe.{name}"}
