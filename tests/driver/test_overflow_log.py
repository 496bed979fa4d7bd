"""The part of the overflow handler that counts, compiled for the host and called from many threads at once."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.deadlines import Deadline
from harness.toolchain import zig

OWNERS = 16
CALLS = 2_000


class Owner(ctypes.Structure):
    """One entry of struct pmctest_overflows."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("handle", "calls", "bits")]
    handle: int
    calls: int
    bits: int


class Overflows(ctypes.Structure):
    """struct pmctest_overflows."""

    _fields_ = [("calls", ctypes.c_uint64), ("lost", ctypes.c_uint64), ("owner", Owner * OWNERS)]
    calls: int
    lost: int


@pytest.fixture
def log(tmp_path: Path, sources: Path) -> ctypes.CDLL:
    """A log of its own for each test: it counts from the load on."""
    library = tmp_path / "overflow.so"
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", f"-I{sources / 'include'}"]
    file = str(sources / "driver" / "overflow_log.c")
    zig(["cc", *flags, file, "-o", str(library)], Deadline("compiling the overflow log", 300.0))
    loaded = ctypes.CDLL(str(library))
    loaded.overflow_note.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    return loaded


def read(log: ctypes.CDLL) -> tuple[int, int, dict[int, tuple[int, int]]]:
    """Calls, lost calls, and for each owner its calls and bits."""
    result = Overflows()
    log.overflow_read(ctypes.byref(result))
    owners = {o.handle: (o.calls, o.bits) for o in result.owner if o.calls}
    return result.calls, result.lost, owners


def test_nothing_before_the_first_call(log: ctypes.CDLL) -> None:
    assert read(log) == (0, 0, {})


def test_no_call_is_lost_between_threads(log: ctypes.CDLL) -> None:
    threads = 8

    def call(thread: int) -> None:
        for i in range(CALLS):
            log.overflow_note(1 << thread, 0x100 * (i % 4 + 1))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(threads)))
    expected = {0x100 * n: (threads * CALLS // 4, (1 << threads) - 1) for n in range(1, 5)}
    assert read(log) == (threads * CALLS, 0, expected)


def test_owners_beyond_the_table_are_counted_as_lost(log: ctypes.CDLL) -> None:
    for owner in range(1, OWNERS + 4):
        log.overflow_note(1, owner)
    calls, lost, owners = read(log)
    assert (calls, lost, len(owners)) == (OWNERS + 3, 3, OWNERS)


def test_a_null_owner_is_seen(log: ctypes.CDLL) -> None:
    log.overflow_note(4, 0)
    log.overflow_note(8, 0)
    assert read(log) == (2, 0, {2**64 - 1: (2, 12)})
