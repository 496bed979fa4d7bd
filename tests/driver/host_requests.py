"""Sends requests to the driver's handlers, compiled for this host. A process of its own: a bad access ends it.

Arguments: library, seed, number of requests, destructive (0 or 1). Prints how often each NTSTATUS came, as JSON.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import random
import struct
import sys
from collections import Counter

from harness.paths import driver_sources
from tests.system.ioctl_rows import control_codes, raw_row, shaped_row

ANY_CPU = 0xFFFFFFFF


def request(
    library: ctypes.CDLL,
    code: int,
    data: bytes,
    room: int,
    answer: ctypes.Array[ctypes.c_char] | None = None,
    *,
    cancelled: bool = False,
) -> int:
    """The NTSTATUS of one request with `room` bytes for an answer, which goes into `answer`."""
    status: int = library.host_request(code, data, len(data), answer, room, cancelled) & 0xFFFFFFFF
    return status


def main(path: str, seed: str, calls: str, destructive: str) -> None:
    faulthandler.enable()
    library = ctypes.CDLL(path)
    library.host_end.restype = ctypes.c_uint64
    library.host_start(int(destructive))
    codes = control_codes(driver_sources() / "include" / "pmctest.h")
    generator = random.Random(int(seed, 16))  # noqa: S311 - a seed must give the same requests again
    seen: Counter[int] = Counter()
    while seen.total() < int(calls):
        make = shaped_row if generator.random() < 0.97 else raw_row
        row = make(generator.choice, codes, 0)
        for _ in range(row.repeat):
            data = bytes.fromhex(row.input) + generator.randbytes(row.random)
            sys.stderr.write(f"{row.code:#x} in {len(data)} out {row.output}\n")
            seen[request(library, row.code, data, row.output)] += 1
    plain = struct.pack("<6IQ", 0, 0, 0, 0, 0, ANY_CPU, 0)
    request(library, codes["ALLOCATE"], plain, len(plain))  # the handle closes while it holds
    assert library.host_end() == 0, "something is left of the driver's memory or holdings"
    print(json.dumps({hex(status): times for status, times in seen.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
