"""The PE image of a driver: what it is, and what the kernel's loader and memory integrity (HVCI) ask of it.

Sources: Microsoft's "PE Format" (public) and "Driver compatibility with memory integrity" of the driver documentation.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pefile

from harness.config.models import Arch
from harness.driver.inspection import Finding, Section, Status, Target
from harness.errors import UsageError

MACHINES = {0x8664: (Arch.X86_64, "x86-64"), 0xAA64: (Arch.AARCH64, "ARM64")}
MACHINES_32 = {0x14C: "i386", 0x1C0: "ARM", 0x1C4: "ARM Thumb-2"}
PE32_PLUS = 0x20B
NATIVE = 1
SUBSYSTEMS = {2: "GUI", 3: "console", 10: "EFI application", 11: "EFI driver", 12: "EFI driver"}
EXECUTABLE_IMAGE = 0x2
READ, WRITE, EXECUTE, DISCARDABLE = 0x4000_0000, 0x8000_0000, 0x2000_0000, 0x0200_0000
HIGH_ENTROPY, DYNAMIC_BASE, FORCE_INTEGRITY, NX, WDM = 0x20, 0x40, 0x80, 0x100, 0x2000
PAGE = 0x1000
REPRO_DEBUG_TYPE = 16
#: (major, minor) of the target's kernel by its first build, newest first.
VERSIONS = ((10240, (10, 0)), (9600, (6, 3)), (9200, (6, 2)), (7600, (6, 1)), (6000, (6, 0)), (3790, (5, 2)))


def open_image(path: Path, data: bytes) -> pefile.PE:
    """Parse the file. Raises UsageError with one reason when it is no 64-bit kernel image."""
    if not data:
        raise UsageError(f"{path} is empty", remedy="give a driver's .sys file")
    try:
        image = pefile.PE(data=data)
    except pefile.PEFormatError as error:
        reason = str(error.value).rstrip(".")
        raise UsageError(f"{path} is no PE image: {reason}", remedy="give a driver's .sys file") from None
    machine = image.FILE_HEADER.Machine
    if machine in MACHINES_32 or image.OPTIONAL_HEADER.Magic != PE32_PLUS:
        name = MACHINES_32.get(machine, f"machine {machine:#x}")
        raise UsageError(
            f"{path} is a 32-bit image ({name}), and 64-bit Windows loads 64-bit drivers only",
            remedy="build it for x64 or ARM64",
        )
    if machine not in MACHINES:
        raise UsageError(
            f"{path} is for an unknown machine ({machine:#x})", remedy="build it for x64 or ARM64"
        )
    if image.OPTIONAL_HEADER.Subsystem != NATIVE:
        kind = SUBSYSTEMS.get(image.OPTIONAL_HEADER.Subsystem, f"number {image.OPTIONAL_HEADER.Subsystem}")
        raise UsageError(
            f"{path} is no driver: its subsystem is {kind}, not native",
            remedy="give the .sys file, not the program that talks to it",
        )
    _require_all_there(path, image, len(data))
    return image


def _require_all_there(path: Path, image: pefile.PE, size: int) -> None:
    if len(image.sections) < image.FILE_HEADER.NumberOfSections:
        raise UsageError(f"{path} is cut off in its section table", remedy="copy the file again")
    for section in image.sections:
        end = section.PointerToRawData + section.SizeOfRawData
        if end > size:
            raise UsageError(
                f"{path} is cut off: section {section_name(section)} goes up to byte {end}, the file has {size}",
                remedy="copy the file again",
            )


def section_name(section: pefile.SectionStructure) -> str:
    """The name in the section table, without its padding."""
    return bytes(section.Name).rstrip(b"\0").decode("latin-1")


def read_sections(image: pefile.PE) -> tuple[Section, ...]:
    """The section table."""
    return tuple(
        Section(
            name=section_name(section),
            virtual_size=section.Misc_VirtualSize,
            raw_size=section.SizeOfRawData,
            readable=bool(section.Characteristics & READ),
            writable=bool(section.Characteristics & WRITE),
            executable=bool(section.Characteristics & EXECUTE),
            discardable=bool(section.Characteristics & DISCARDABLE),
        )
        for section in image.sections
    )


def timestamp(image: pefile.PE) -> str:
    """When the image was linked; a reproducible build has a hash there instead of a time."""
    stamp = image.FILE_HEADER.TimeDateStamp
    debug = getattr(image, "DIRECTORY_ENTRY_DEBUG", [])
    if any(entry.struct.Type == REPRO_DEBUG_TYPE for entry in debug):
        return f"{stamp:#010x} (a hash: reproducible build)"
    return datetime.fromtimestamp(stamp, UTC).isoformat()


def check_image(image: pefile.PE, target: Target) -> list[Finding]:
    """Findings about the headers and sections."""
    return [
        _machine(image, target),
        _entry(image),
        _sections(image),
        _alignment(image),
        _relocations(image),
        _characteristics(image),
        _subsystem_version(image, target),
        _checksum(image),
    ]


def check_hvci(findings: list[Finding]) -> Finding:
    """Memory integrity: what can be told from the file. Which pool a driver asks for shows only when it runs."""
    wanted = {"sections", "section alignment", "relocations", "import images"}
    wrong = [f.check for f in findings if f.check in wanted and f.status is Status.FAIL]
    if wrong:
        return Finding(
            check="HVCI",
            status=Status.WARN,
            detail=f"memory integrity would refuse it: {', '.join(wrong)}",
            remedy="see those findings, or load it where memory integrity is off",
        )
    return Finding(
        check="HVCI", status=Status.OK, detail="nothing in the file speaks against memory integrity"
    )


def _machine(image: pefile.PE, target: Target) -> Finding:
    arch, name = MACHINES[image.FILE_HEADER.Machine]
    if target.arch is not None and arch is not target.arch:
        return Finding(
            check="machine",
            status=Status.FAIL,
            detail=f"the image is for {name}, the target is {target.arch}",
            remedy=f"build it for {target.arch}",
        )
    return Finding(check="machine", status=Status.OK, detail=f"{name}, subsystem native")


def _entry(image: pefile.PE) -> Finding:
    entry = image.OPTIONAL_HEADER.AddressOfEntryPoint
    section = image.get_section_by_rva(entry) if entry else None
    if not image.FILE_HEADER.Characteristics & EXECUTABLE_IMAGE:
        problem = "the header says that linking failed (no executable image)"
    elif not entry:
        problem = "there is no entry point: a kernel DLL, which no service can start"
    elif section is None or not section.Characteristics & EXECUTE:
        problem = f"the entry point {entry:#x} lies in no executable section"
    else:
        return Finding(
            check="entry", status=Status.OK, detail=f"{entry:#x} in section {section_name(section)}"
        )
    return Finding(check="entry", status=Status.FAIL, detail=problem, remedy="link with /entry:DriverEntry")


def _sections(image: pefile.PE) -> Finding:
    both = [
        section_name(section)
        for section in image.sections
        if section.Characteristics & WRITE and section.Characteristics & EXECUTE
    ]
    if both:
        return Finding(
            check="sections",
            status=Status.FAIL,
            detail=f"writable and executable at once: {', '.join(both)}",
            remedy="keep code and writable data in sections of their own",
        )
    return Finding(
        check="sections",
        status=Status.OK,
        detail=f"{len(image.sections)} sections, none writable and executable",
    )


def _alignment(image: pefile.PE) -> Finding:
    alignment = image.OPTIONAL_HEADER.SectionAlignment
    fine = alignment and alignment % PAGE == 0
    return Finding(
        check="section alignment",
        status=Status.OK if fine else Status.FAIL,
        detail=f"{alignment:#x}" + ("" if fine else ", not a multiple of a page"),
        remedy="" if fine else "link with /align:4096",
    )


def _relocations(image: pefile.PE) -> Finding:
    if getattr(image, "DIRECTORY_ENTRY_BASERELOC", None):
        return Finding(check="relocations", status=Status.OK, detail="the image can be loaded anywhere")
    return Finding(
        check="relocations",
        status=Status.FAIL,
        detail="there are none, and the kernel never loads a driver at its preferred address",
        remedy="link with /dynamicbase (not /fixed), and keep .reloc when stripping",
    )


def _characteristics(image: pefile.PE) -> Finding:
    flags = image.OPTIONAL_HEADER.DllCharacteristics
    names = {NX: "NX", DYNAMIC_BASE: "dynamic base", HIGH_ENTROPY: "high entropy"}
    missing = [name for flag, name in names.items() if not flags & flag]
    present = [
        name
        for flag, name in {**names, WDM: "WDM", FORCE_INTEGRITY: "force integrity"}.items()
        if flags & flag
    ]
    said = ", ".join(present) or "none set"
    if missing:
        return Finding(
            check="characteristics",
            status=Status.WARN,
            detail=f"{said}; missing: {', '.join(missing)}",
            remedy="link with /nxcompat /dynamicbase /highentropyva",
        )
    return Finding(check="characteristics", status=Status.OK, detail=said)


def _subsystem_version(image: pefile.PE, target: Target) -> Finding:
    header = image.OPTIONAL_HEADER
    wanted = (header.MajorSubsystemVersion, header.MinorSubsystemVersion)
    has = next((version for build, version in VERSIONS if target.build >= build), (5, 0))
    said = f"{wanted[0]}.{wanted[1]:02}"
    if wanted > has:
        return Finding(
            check="subsystem version",
            status=Status.FAIL,
            detail=f"asks for {said}, Windows build {target.build} is {has[0]}.{has[1]:02}",
            remedy=f"link with /subsystem:native,{has[0]}.{has[1]:02}",
        )
    return Finding(check="subsystem version", status=Status.OK, detail=said)


def _checksum(image: pefile.PE) -> Finding:
    has, wanted = image.OPTIONAL_HEADER.CheckSum, image.generate_checksum()
    if has == wanted:
        return Finding(check="checksum", status=Status.OK, detail=f"{has:#010x}")
    return Finding(
        check="checksum",
        status=Status.FAIL,
        detail=f"the header says {has:#010x}, the file has {wanted:#010x}; the kernel refuses that",
        remedy="link with /release, or sign the file again after changing it",
    )
