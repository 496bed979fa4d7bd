"""Inspecting driver files: each fault is found by its own check, with a remedy; nothing ends in a traceback."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pefile
import pytest

from harness.config.load import load_guest
from harness.config.models import Arch
from harness.driver.build import DriverBuild
from harness.driver.inspect import inspect_driver, preflight
from harness.driver.inspect_imports import kernel_exports, read_imports
from harness.driver.inspection import Inspection, Status, Target
from harness.driver.sign import Identity, sign_driver
from harness.errors import UsageError
from tests.driver.images import Change, changed, minimal_32_bit, with_import_name
from tests.unit.test_cli import assert_one_line, halpmc


@pytest.fixture
def driver(driver_build: DriverBuild) -> bytes:
    return driver_build.sys.path.read_bytes()


def inspect_bytes(data: bytes, folder: Path, target: Target | None = None) -> Inspection:
    path = folder / "some.sys"
    path.write_bytes(data)
    return inspect_driver(path, target)


def problems(inspection: Inspection) -> dict[str, Status]:
    return {f.check: f.status for f in inspection.findings if f.status is not Status.OK}


def test_our_build_lacks_nothing_but_a_signature(driver_build: DriverBuild) -> None:
    inspection = inspect_driver(driver_build.sys.path, Target(build=7601))
    assert problems(inspection) == {"signature": Status.FAIL}
    assert inspection.sha256 == driver_build.sys.sha256
    assert "reproducible" in inspection.timestamp
    assert inspection.sections[0].name == ".text"
    for finding in inspection.failures:
        assert finding.remedy


def header(name: str, value: int) -> Change:
    return lambda image: setattr(image.OPTIONAL_HEADER, name, value)


def without_relocations(image: pefile.PE) -> None:
    directory = image.OPTIONAL_HEADER.DATA_DIRECTORY[5]
    directory.VirtualAddress = directory.Size = 0


def flag_sections(flags: int) -> Change:
    def change(image: pefile.PE) -> None:
        image.sections[0].Characteristics |= flags

    return change


def entry_in_data(image: pefile.PE) -> None:
    data = next(section for section in image.sections if not section.Characteristics & 0x2000_0000)
    image.OPTIONAL_HEADER.AddressOfEntryPoint = data.VirtualAddress


def no_executable(image: pefile.PE) -> None:
    image.FILE_HEADER.Characteristics &= ~0x2


@pytest.mark.parametrize(
    ("change", "check", "status", "said"),
    [
        (header("AddressOfEntryPoint", 0), "entry", Status.FAIL, "no entry point"),
        (header("AddressOfEntryPoint", 0xF0_0000), "entry", Status.FAIL, "no executable section"),
        (entry_in_data, "entry", Status.FAIL, "no executable section"),
        (no_executable, "entry", Status.FAIL, "linking failed"),
        (flag_sections(0x8000_0000), "sections", Status.FAIL, ".text"),
        (header("SectionAlignment", 0x200), "section alignment", Status.FAIL, "0x200"),
        (without_relocations, "relocations", Status.FAIL, "none"),
        (header("DllCharacteristics", 0x60), "characteristics", Status.WARN, "missing: NX"),
        (header("DllCharacteristics", 0x120), "characteristics", Status.WARN, "missing: dynamic base"),
        (header("DllCharacteristics", 0x140), "characteristics", Status.WARN, "missing: high entropy"),
        (header("MajorSubsystemVersion", 11), "subsystem version", Status.FAIL, "asks for 11.01"),
    ],
)
def test_a_wrong_header(
    change: Change, check: str, status: Status, said: str, driver: bytes, tmp_path: Path
) -> None:
    inspection = inspect_bytes(changed(driver, change), tmp_path)
    found = problems(inspection)
    assert found.pop("signature") is Status.FAIL
    assert found.pop(check) is status
    (finding,) = [f for f in inspection.findings if f.check == check]
    assert said in finding.detail
    assert finding.remedy
    assert set(found) <= {"HVCI"}, "one fault, one finding"
    assert ("HVCI" in found) == (check in {"sections", "section alignment", "relocations"})


@pytest.mark.parametrize("checksum", [0, 1])
def test_a_wrong_checksum(checksum: int, driver: bytes, tmp_path: Path) -> None:
    data = changed(driver, header("CheckSum", checksum), checksum=False)
    assert problems(inspect_bytes(data, tmp_path))["checksum"] is Status.FAIL


def test_a_discardable_init_section_is_fine(driver: bytes, tmp_path: Path) -> None:
    inspection = inspect_bytes(changed(driver, flag_sections(0x0200_0000)), tmp_path)
    assert problems(inspection) == {"signature": Status.FAIL}
    assert inspection.sections[0].discardable


@pytest.mark.parametrize(
    ("old", "new", "check", "status", "said"),
    [
        (b"ntoskrnl.exe", b"kernel32.dll", "import images", Status.FAIL, "kernel32.dll"),
        (b"ntoskrnl.exe", b"libgcc_s.dll", "import images", Status.FAIL, "libgcc_s.dll"),
        (b"ntoskrnl.exe", b"KERNEL32.dll", "import images", Status.FAIL, "kernel32.dll"),
        (b"ntoskrnl.exe", b"dxgkrnl.sys", "import images", Status.WARN, "dxgkrnl.sys"),
        (b"ExAllocatePoolWithTag", b"ExAllocatePool2", "imports", Status.FAIL, "build 19041 and later"),
        (b"ExAllocatePoolWithTag", b"ExNobodyKnowsThis", "imports", Status.WARN, "ExNobodyKnowsThis"),
        (b"ExAllocatePoolWithTag", b"MmMapIoSpace", "doors", Status.WARN, "MmMapIoSpace"),
    ],
)
def test_an_import(
    old: bytes, new: bytes, check: str, status: Status, said: str, driver: bytes, tmp_path: Path
) -> None:
    inspection = inspect_bytes(with_import_name(driver, old, new), tmp_path)
    assert problems(inspection)[check] is status
    assert said in next(f.detail for f in inspection.findings if f.check == check)


def test_availability_depends_on_the_target(driver: bytes, tmp_path: Path) -> None:
    data = with_import_name(driver, b"ExAllocatePoolWithTag", b"ExAllocatePool2")
    assert "imports" not in problems(inspect_bytes(data, tmp_path, Target(build=20348)))
    assert "imports" not in problems(inspect_bytes(data, tmp_path, Target(build=19041)))
    assert "imports" in problems(inspect_bytes(data, tmp_path, Target(build=19040)))
    first = {build: problems(inspect_bytes(driver, tmp_path, Target(build=build))) for build in (7599, 7600)}
    assert ["subsystem version" in found for found in first.values()] == [True, False]


def test_the_kernel_is_two_images_and_an_image_may_be_listed_twice(driver: bytes, tmp_path: Path) -> None:
    late = with_import_name(driver, b"ExAllocatePoolWithTag", b"ExAllocatePool2")
    inspection = inspect_bytes(with_import_name(late, b"ntoskrnl.exe", b"HAL.dll"), tmp_path)
    (finding,) = [f for f in inspection.findings if f.check == "imports"]
    assert finding.status is Status.FAIL and "ExAllocatePool2 (build 19041 and later)" in finding.detail
    image = pefile.PE(data=driver)
    image.DIRECTORY_ENTRY_IMPORT *= 2
    names = read_imports(pefile.PE(data=driver))["ntoskrnl.exe"]
    assert read_imports(image) == {"ntoskrnl.exe": names * 2}


def test_the_table_knows_all_that_our_build_imports(driver_build: DriverBuild) -> None:
    imported = inspect_driver(driver_build.sys.path).imports["ntoskrnl.exe"]
    table = kernel_exports()
    assert set(imported) <= table.always | set(table.since) | table.compiler
    assert not set(imported) & table.doors


def test_a_driver_for_another_machine(x86_64_build: DriverBuild) -> None:
    inspection = inspect_driver(x86_64_build.sys.path, Target(arch=Arch.AARCH64))
    assert problems(inspection)["machine"] is Status.FAIL


def test_what_is_no_driver_is_one_line(driver_build: DriverBuild, driver: bytes, tmp_path: Path) -> None:
    cases = {
        "empty.sys": (b"", "is empty"),
        "text.sys": (b"hello\n" * 100, "is no PE image"),
        "elf.sys": (Path("/bin/true").read_bytes(), "is no PE image"),
        "half.sys": (driver[: len(driver) // 2], "is cut off"),
        "short.sys": (driver[:-1], "is cut off"),
        "headers.sys": (driver[:300], "cut off"),
        "old.sys": (minimal_32_bit(), "32-bit image (i386)"),
        "program.sys": (driver_build.client.path.read_bytes(), "subsystem is console"),
    }
    for name, (data, said) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            inspect_driver(path)
        assert said in str(caught.value), name
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "none.sys", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            inspect_driver(path)


def test_a_certificate_table_that_cannot_be_read_is_no_signature(driver: bytes, tmp_path: Path) -> None:
    def table(offset: int, size: int) -> Change:
        def change(image: pefile.PE) -> None:
            directory = image.OPTIONAL_HEADER.DATA_DIRECTORY[4]
            directory.VirtualAddress, directory.Size = offset, size

        return change

    for offset, size, said in (
        (len(driver) - 4, 8, "lies outside the file"),
        (0, 4, "lies outside the file"),
        (len(driver) - 64, 64, "holds no PKCS #7 signature"),
    ):
        inspection = inspect_bytes(changed(driver, table(offset, size)), tmp_path)
        (finding,) = [f for f in inspection.findings if f.check == "signature"]
        assert finding.status is Status.FAIL and said in finding.detail and finding.remedy


def test_damaged_files_never_end_in_a_traceback(driver: bytes, tmp_path: Path, identity: Identity) -> None:
    """Headers and directories hit at random; the signed file has a certificate table to damage too."""
    (tmp_path / "pmctest.sys").write_bytes(driver)
    sign_driver(tmp_path / "pmctest.sys", tmp_path / "signed", identity)
    signed = (tmp_path / "signed" / "pmctest.sys").read_bytes()
    chance = random.Random(20)  # noqa: S311
    refused = inspected = 0
    for round_ in range(60):
        data = bytearray(signed)
        first, last = (0, 0x400) if round_ % 2 else (len(driver), len(signed))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(first, last)] = chance.choice(
                [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
        if round_ % 5 == 0:
            del data[chance.randrange(len(data)) :]
        try:
            inspect_bytes(bytes(data), tmp_path)
            inspected += 1
        except UsageError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10 and inspected > 10


def test_preflight_says_before_boot_what_would_fail(
    x86_64_build: DriverBuild, tmp_path: Path, identity: Identity
) -> None:
    definition = load_guest("embedded")
    with pytest.raises(
        UsageError, match=r"guest embedded would not load pmctest\.sys: signature: there is none"
    ):
        preflight(x86_64_build.sys.path, definition)
    sign_driver(x86_64_build.sys.path, tmp_path, identity)
    assert preflight(tmp_path / "pmctest.sys", definition).failures == ()
    late = tmp_path / "late" / "pmctest.sys"
    late.parent.mkdir()
    late.write_bytes(
        with_import_name(x86_64_build.sys.path.read_bytes(), b"ExAllocatePoolWithTag", b"ExAllocatePool2")
    )
    sign_driver(late, late.parent, identity)
    assert preflight(late, definition, 20348).failures == ()
    with pytest.raises(UsageError, match="imports: not in Windows build 17763: ExAllocatePool2"):
        preflight(late, definition, 17763)
    other = definition.model_copy(update={"arch": Arch.AARCH64})
    with pytest.raises(UsageError, match="machine: the image is for x86-64"):
        preflight(tmp_path / "pmctest.sys", other)


def test_the_command(driver_build: DriverBuild, tmp_path: Path, identity: Identity) -> None:
    done = halpmc("driver", "inspect", str(driver_build.sys.path))
    assert done.returncode == 1, done.stderr
    assert "fail signature" in done.stdout and "halpmc driver sign" in done.stdout
    sign_driver(driver_build.sys.path, tmp_path, identity)
    done = halpmc("driver", "inspect", str(tmp_path / "pmctest.sys"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["signature"]["digest_algorithm"] == "sha256"
    assert all(set(f) == {"check", "status", "detail", "remedy"} for f in answer["findings"])
    program = str(driver_build.client.path)
    assert_one_line(halpmc("driver", "inspect", program), 2, "no driver", "console")
    assert_one_line(halpmc("driver", "inspect", str(tmp_path / "none.sys")), 2, "none.sys")


def test_dates_are_told(driver_build: DriverBuild, tmp_path: Path, identity: Identity) -> None:
    sign_driver(driver_build.sys.path, tmp_path, identity)
    for year, said in ((2020, "not valid on 2020"), (2100, "not valid on 2100")):
        inspection = inspect_driver(tmp_path / "pmctest.sys", now=datetime(year, 1, 1, tzinfo=UTC))
        (finding,) = [f for f in inspection.findings if f.check == "certificate validity"]
        assert finding.status is Status.WARN and said in finding.detail
