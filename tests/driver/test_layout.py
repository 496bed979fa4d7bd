"""The structures' layouts are checked by the compiler; here: that it does check, and what mingw-w64's header has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.deadlines import Deadline
from harness.errors import BuildError
from harness.toolchain import zig, zig_program

DDK = Path("lib/libc/include/any-windows-any/ddk")


def check(source: str, folder: Path, *includes: Path) -> None:
    """Compile for Windows on x86-64. Raises BuildError."""
    file = folder / "check.c"
    file.write_text(source)
    flags = ["-target", "x86_64-windows-gnu", "-std=gnu11", "-Werror", "-fms-extensions"]
    paths = [flag for include in includes for flag in ("-I", str(include))]
    ddk = ["-isystem", str(zig_program().parent / DDK)]
    output = ["-c", str(file), "-o", str(folder / "check.obj")]
    zig(["cc", *flags, *paths, *ddk, *output], Deadline("compiling", 120.0))


def test_wire_and_counter_structures(tmp_path: Path, sources: Path) -> None:
    check('#include "pmctest.h"\n', tmp_path, sources / "include")


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
    tmp_path: Path, sources: Path, header: str, before: str, after: str
) -> None:
    for folder in ("include", "pmu"):
        shutil.copytree(sources / folder, tmp_path / folder)
    text = (tmp_path / header).read_text()
    assert text.count(before) == 1
    (tmp_path / header).write_text(text.replace(before, after))
    with pytest.raises(BuildError, match="static assertion failed"):
        check('#include "pmctest.h"\n', tmp_path, tmp_path / "include")


def test_the_compilers_header_has_the_old_layout(tmp_path: Path, sources: Path) -> None:
    """Why the structures are defined here: when this fails, mingw-w64 has learned the layout of 1903."""
    source = """
        #include "nt.h"
        #include "counter_abi.h"
        _Static_assert(sizeof(PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR) == sizeof(struct counter_descriptor_v1), "size");
        _Static_assert(FIELD_OFFSET(PHYSICAL_COUNTER_RESOURCE_LIST, Descriptors) == 4, "offset");
        _Static_assert(ResourceTypeMax == 4, "types");
        _Static_assert(sizeof(GROUP_AFFINITY) == sizeof(struct counter_affinity), "affinity");
    """
    check(source, tmp_path, sources / "include")
