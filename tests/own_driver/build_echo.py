"""Builds the example driver with the project's toolchain: compile, import library, link."""

from __future__ import annotations

from pathlib import Path

from harness.deadlines import Deadline
from harness.paths import driver_sources
from harness.toolchain import zig, zig_program

SOURCE = Path(__file__).with_name("echo.c")
IMPORTS = (
    "IoCreateDevice",
    "IoCreateSymbolicLink",
    "IoDeleteDevice",
    "IoDeleteSymbolicLink",
    "IofCompleteRequest",
    "RtlInitUnicodeString",
    "KeDoWhatNoKernelDoes",
)


def build_echo(folder: Path, *defines: str, name: str = "echo") -> Path:
    """The linked driver; `defines` choose a defect (see echo.c)."""
    ddk = zig_program().parent / "lib/libc/include/any-windows-any/ddk"
    objects, library, definition = folder / f"{name}.obj", folder / "ntoskrnl.lib", folder / "ntoskrnl.def"
    driver = folder / f"{name}.sys"
    definition.write_text("LIBRARY ntoskrnl.exe\nEXPORTS\n" + "\n".join(IMPORTS) + "\n")
    deadline = Deadline("building the example driver", 300.0)
    zig(
        ["cc", "-target", "x86_64-windows-gnu", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
         "-fms-extensions", "-fno-stack-protector", "-fno-sanitize=all", "-mno-stack-arg-probe",
         *(f"-D{define}" for define in defines), f"-I{driver_sources() / 'include'}", "-isystem", str(ddk),
         "-c", str(SOURCE), "-o", str(objects)],
        deadline,
    )  # fmt: skip
    zig(["dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(library)], deadline)
    zig(
        ["lld-link", "/nologo", "/nodefaultlib", "/brepro", "/release", "/dynamicbase", "/nxcompat",
         "/filealign:4096", "/driver", "/subsystem:native,6.01", "/entry:DriverEntry",
         str(objects), str(library), f"/out:{driver}"],
        deadline,
    )  # fmt: skip
    return driver
