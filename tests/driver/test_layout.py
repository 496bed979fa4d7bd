"""The structures' layouts are checked by the compiler; here: that it does check, and what mingw-w64's header has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.deadlines import Deadline
from harness.errors import BuildError
from harness.toolchain import zig, zig_program

DDK = Path("lib/libc/include/any-windows-any/ddk")


def check(source: str, folder: Path, arch: Arch, *includes: Path) -> None:
    """Compile for Windows on this architecture. Raises BuildError."""
    file = folder / "check.c"
    file.write_text(source)
    flags = ["-target", f"{arch}-windows-gnu", "-std=gnu11", "-Werror", "-fms-extensions"]
    paths = [flag for include in includes for flag in ("-I", str(include))]
    ddk = ["-isystem", str(zig_program().parent / DDK)]
    output = ["-c", str(file), "-o", str(folder / "check.obj")]
    zig(["cc", *flags, *paths, *ddk, *output], Deadline("compiling", 120.0))


def test_wire_and_counter_structures(tmp_path: Path, sources: Path, arch: Arch) -> None:
    check('#include "pmctest.h"\n', tmp_path, arch, sources / "include")


@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        ("include/counter_abi.h", "uint16_t reserved[3]; /* zero */", "uint16_t reserved[5];"),
        (
            "include/counter_abi.h",
            "counter_overflow_handler *overflow_handler;",
            "uint32_t overflow_handler[5];",
        ),
        ("include/counter_abi.h", "\tuint32_t custom_entry_size; /* zero */\n", ""),
        ("include/pmctest.h", "\tuint8_t irql_before;\n", "\tuint32_t irql_before;\n"),
        ("pmu/pmu.h", "uint64_t count; /*", "uint32_t count; /*"),
    ],
)
def test_a_changed_layout_does_not_compile(
    tmp_path: Path, sources: Path, arch: Arch, header: str, before: str, after: str
) -> None:
    for folder in ("include", "pmu"):
        shutil.copytree(sources / folder, tmp_path / folder)
    text = (tmp_path / header).read_text()
    assert text.count(before) == 1
    (tmp_path / header).write_text(text.replace(before, after))
    with pytest.raises(BuildError, match="static assertion failed"):
        check('#include "pmctest.h"\n', tmp_path, arch, tmp_path / "include")


def test_the_compilers_header_has_the_old_layout(tmp_path: Path, sources: Path, arch: Arch) -> None:
    """Why the structures are defined here: when this fails, mingw-w64 has learned the layout of 1903."""
    source = """
        #include "nt.h"
        #include "counter_abi.h"
        _Static_assert(sizeof(PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR) == sizeof(struct counter_descriptor_v1), "size");
        _Static_assert(FIELD_OFFSET(PHYSICAL_COUNTER_RESOURCE_LIST, Descriptors) == 4, "offset");
        _Static_assert(ResourceTypeMax == 4, "types");
        _Static_assert(sizeof(GROUP_AFFINITY) == sizeof(struct counter_affinity), "affinity");
    """
    check(source, tmp_path, arch, sources / "include", sources / "include" / arch)


IO_STACK_LOCATION = """
    _Static_assert(sizeof(IO_STACK_LOCATION) == 0x48, "size");
    _Static_assert(FIELD_OFFSET(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18, "code");
"""


def test_requests_are_where_the_kernel_puts_them(tmp_path: Path, sources: Path, arch: Arch) -> None:
    check(
        f'#include "nt.h"\n{IO_STACK_LOCATION}',
        tmp_path,
        arch,
        sources / "include",
        sources / "include" / arch,
    )


def test_the_compilers_header_packs_requests_wrongly_for_arm(tmp_path: Path, sources: Path) -> None:
    """Why nt.h leads the header: without it parameters would silently be read from other offsets."""
    plain = f"#include <excpt.h>\n#include <ntdef.h>\n#define _M_ARM\n#include <ntddk.h>\n{IO_STACK_LOCATION}"
    with pytest.raises(BuildError, match="static assertion failed"):
        check(plain, tmp_path, Arch.AARCH64, sources / "include" / "aarch64")
