"""The driver's request handlers, compiled for this host, with every buffer ending at a page that cannot be touched.

What a real kernel's memory may swallow ends the process here. The same requests as in the guest, from a seed; replay
them by HALPMC_FUZZ_SEED=0x….
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.deadlines import Deadline
from harness.host.tools import host_arch
from harness.paths import driver_sources, project_root
from harness.toolchain import zig
from tests.driver.host_requests import ANY_CPU, request
from tests.system.ioctl_rows import control_codes

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="x86 code, run on the host's own CPU")

CALLS = 100_000
CANCELLED, NOT_SUPPORTED = 0xC0000120, 0xC00000BB
FEW_CALLS = 40_000
SEED = os.environ.get("HALPMC_FUZZ_SEED", "0x48414c504d43")
HANDLERS = (
    *("dispatch", "holdings", "allocate", "free", "calls", "cpu", "cycles", "race", "count", "info"),
    *("overflow", "overflow_log", "pool"),
)
SHIM = Path(__file__).parent / "host_kernel"
#: What the handlers may say; nothing else can come out of a correct one.
EXPECTED = {
    "0x0", "0xc000000d", "0xc0000010", "0xc0000022", "0xc0000023", "0xc0000017", "0xc0000044",
}  # fmt: skip


def compile_handlers(sources: Path, folder: Path) -> Path:
    """A shared library of the handlers in this copy of the sources."""
    library = folder / "handlers.so"
    shutil.copyfile(SHIM / "nt.h", sources / "include" / "nt.h")  # in the place of the real one
    files = [sources / "driver" / f"{name}.c" for name in HANDLERS]
    files += [
        sources / "pmu" / "pmu_core.c",
        sources / "pmu" / "pmu_interrupt.c",
        sources / "pmu" / "pmu_x86.c",
        SHIM / "host_kernel.c",
    ]
    includes = [f"-I{sources / name}" for name in ("include", "pmu", "driver")]
    flags = [
        "-std=gnu11",
        "-O1",
        "-g",
        "-fPIC",
        "-shared",
        "-pthread",
        "-fno-sanitize=all",
        "-Wall",
        "-Wextra",
    ]
    defines = [
        "-DPMU_CPUID_SUPPLIED",
        '-DHALPMC_VERSION="test"',
        "-Wno-unused-value",
        "-Wno-multichar",
        "-Werror",
    ]
    arguments = ["cc", "-target", "x86_64-linux-gnu", *flags, *defines, *includes, *map(str, files)]
    zig([*arguments, "-o", str(library)], Deadline("compiling the handlers for the host", 300.0))
    return library


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(driver_sources(), tmp_path / "guest_driver"))


def send(library: Path, calls: int, *, destructive: bool = False) -> subprocess.CompletedProcess[str]:
    print(f"HALPMC_FUZZ_SEED={SEED}")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.driver.host_requests",
            str(library),
            SEED,
            str(calls),
            str(int(destructive)),
        ],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("destructive", [False, True])
def test_no_request_reads_or_writes_beyond_its_buffers(destructive: bool, copy: Path, tmp_path: Path) -> None:
    done = send(compile_handlers(copy, tmp_path), CALLS, destructive=destructive)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    print(seen)
    assert sum(seen.values()) >= CALLS
    assert set(seen) <= EXPECTED
    assert seen["0x0"] > CALLS / 100


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        pytest.param(
            "dispatch.c",
            "sizeof(struct pmctest_count), sizeof(struct pmctest_count_result), request_count,",
            "sizeof(struct pmctest_count), 0, request_count,",
            id="an-answer-longer-than-its-buffer",
        ),
        pytest.param(
            "dispatch.c", "request->in < requests[i].in", "request->file == 0", id="a-request-cut-short"
        ),
        pytest.param(
            "allocate.c", "if (in != expected)", "if (in > expected)", id="lists-that-are-not-there"
        ),
        pytest.param(
            "holdings.c",
            "		holding_discard(instance, holding);\n	}\n}",
            "	}\n}",
            id="memory-that-is-never-returned",
        ),
    ],
)
def test_a_mistake_is_found(file: str, before: str, after: str, copy: Path, tmp_path: Path) -> None:
    path = copy / "driver" / file
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))
    assert send(compile_handlers(copy, tmp_path), FEW_CALLS).returncode != 0


class Handlers:
    """The handlers in this process, for requests that are known to be harmless."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.codes = control_codes(driver_sources() / "include" / "pmctest.h")
        self.library.host_end.restype = ctypes.c_uint64
        self.library.host_start(0)

    def ask(self, name: str, *fields: int, room: int = 8192, cancelled: bool = False) -> tuple[int, bytes]:
        """NTSTATUS and answer; the fields are 32-bit numbers."""
        answer = ctypes.create_string_buffer(room)
        data = struct.pack(f"<{len(fields)}I", *fields)
        status = request(self.library, self.codes[name], data, room, answer, cancelled=cancelled)
        return status, answer.raw

    def allocate(self) -> None:
        """The plain request."""
        status, answer = self.ask("ALLOCATE", 0, 0, 0, 0, 0, ANY_CPU, 0, 0)
        assert (status, struct.unpack_from("<I", answer, 8)[0]) == (0, 0)


@pytest.fixture
def handlers(copy: Path, tmp_path: Path) -> Generator[Handlers, None, None]:
    handlers = Handlers(compile_handlers(copy, tmp_path))
    yield handlers
    assert handlers.library.host_end() == 0


@pytest.mark.parametrize(
    ("name", "fields", "room"),
    [("CYCLES", (10_000, 0), 40), ("RACE", (4, 2_000), 1 << 20), ("COUNT_ALL", (100_000, ANY_CPU), 8192)],
)
def test_long_work_ends_when_nobody_waits_for_it(
    name: str, fields: tuple[int, ...], room: int, handlers: Handlers
) -> None:
    """Wine brings its driver one request at a time, so that none can be cancelled there while it is under way."""
    assert handlers.ask(name, *fields, room=room, cancelled=True)[0] == CANCELLED
    handlers.allocate()  # and whatever it held is free again


@pytest.mark.parametrize(("version", "status"), [(2, 0), (5, 0), (6, NOT_SUPPORTED)])
def test_a_pmu_that_is_not_understood_is_not_written(version: int, status: int, handlers: Handlers) -> None:
    ctypes.c_uint32.in_dll(handlers.library, "host_pmu_version").value = version
    writes = ctypes.c_uint32.in_dll(handlers.library, "host_pmu_writes")
    handlers.allocate()
    transport, answer = handlers.ask("COUNT", 10, 0)
    assert (transport, struct.unpack_from("<I", answer)[0]) == (0, status)
    assert (writes.value > 0) is (status == 0)
    _, info = handlers.ask("INFO")
    assert struct.unpack_from("<BB", info, 28) == (0, status == 0)  # destructive, understood
