"""I/O control requests for fuzzing the test driver: shaped like its structures but wrong somewhere, or bytes of a seed.

Whoever picks decides: a seeded generator (bulk, replayed by its seed) or Hypothesis (small cases, shrunk).
Device types below 0x8000 stay out: there Wine's own client side answers, and no driver is asked.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harness.driver.protocol import RawRow

T = TypeVar("T")
Pick = Callable[[Sequence[T]], T]

U32 = (0, 1, 2, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
ITEMS = (0, 0, 0, 1, 1, 2, 65536, 65537, 0x10000000, 0xFFFFFFFF)
CPU = (0, 1, 2, 64, 0xFFFFFFFF, 0xFFFFFFFF)
# Valid values stay small here: what is tested is how requests are taken, not how long the work lasts.
LOOP = (0, 1, 10, 100_001, 0xFFFFFFFF)
HANDLE = (0, 1, 0x48, 0x148, 0x248, 0x149, 0xAAAAAAAAAAAAAAAA, 0xFFFFFFFFFFFFFFFF)

#: The fields of each request's fixed part (u: 32 bits, Q: 64 bits) with values worth trying, and its answer's size.
SHAPES: dict[str, tuple[tuple[tuple[str, Sequence[int]], ...], int]] = {
    "INFO": ((), 80),
    "ALLOCATE": (
        (
            ("I", (0, 0, 0, 1, 2, 3, 4, 5, 7, 8, 16, 24, 32, 0xFFFFFFFF)),
            ("I", ITEMS),
            ("I", ITEMS),
            ("I", ITEMS),
            ("I", ITEMS),
            ("I", CPU),
            ("Q", HANDLE),
        ),
        24,
    ),
    "FREE": ((("Q", HANDLE), ("I", CPU), ("I", (0, 1, 2, 3, 4, 0xFFFFFFFF))), 24),
    "CYCLES": ((("I", (0, 1, 3, 10_001, 0xFFFFFFFF)), ("I", U32)), 40),
    "RACE": ((("I", (0, 1, 2, 9, 0xFFFFFFFF)), ("I", (0, 1, 2001, 0x40000000, 0xFFFFFFFF))), 24),
    "COUNT": ((("I", LOOP), ("I", CPU)), 2352),
    "COUNT_ALL": ((("I", LOOP), ("I", CPU)), 8 + 2 * 2352),
    "HOLDINGS": ((), 8),
    "OVERFLOWS": ((), 400),
    "INTERRUPT": (
        (("I", LOOP), ("I", CPU), ("I", (0, 1, 3, 31, 32, U32[-1])), ("I", (0, 0, 0, 1, U32[-1]))),
        2352,
    ),
    "GUARD": ((("I", (0, 1, 2, 0xFFFFFFFF)), ("I", U32)), 8),
}
AFFINITY = struct.Struct("<QHHHH")
RESOURCE = struct.Struct("<IIII")


def control_codes(header: Path) -> dict[str, int]:
    """The driver's codes by name, from its own header."""
    access = {"PMCTEST_READS": 1, "PMCTEST_CHANGES": 3}
    found = re.findall(r"#define PMCTEST_(\w+) PMCTEST_CODE\((0x\w+)u, (\w+)\)", header.read_text())
    return {name: 0x8000 << 16 | access[word] << 14 | int(number, 16) << 2 for name, number, word in found}


def _code(pick: Pick[int], code: int) -> int:
    """Mostly the code itself; else another method, access, number or device type."""
    bit = pick((*[None] * 10, 0, 1, 2, 5, 14, 15, 16, 24))  # type: ignore[arg-type]
    return code if bit is None else (code ^ 1 << bit) | 1 << 31


def _lists(pick: Pick[int], affinities: int, resources: int) -> bytes:
    """The lists behind an allocate: well-formed but for single values; none for counts that no one could send."""
    if affinities > 8 or resources > 8:
        return b""
    data = b""
    for _ in range(affinities):
        data += AFFINITY.pack(pick((0, 1, 2, 3, 1 << 63)), pick((0, 0, 1, 0xFFFF)), pick((0, 0, 1)), 0, 0)
    for _ in range(resources):
        data += RESOURCE.pack(
            pick((0, 0, 1, 2, 3, 4, 5, 6, 0xFFFFFFFF)), pick((0, 0, 1)), pick(U32), pick(U32)
        )
    return data


def shaped_row(pick: Pick[int], codes: dict[str, int], seed: int) -> RawRow:
    """A request of one of the driver's shapes, with a wrong length, value or code here and there."""
    names = (*sorted(SHAPES), "ALLOCATE", "ALLOCATE")  # it has by far the most to get wrong
    name = names[pick(range(len(names)))]
    fields, answer = SHAPES[name]
    values = [pick(choices) for _, choices in fields]
    data = struct.pack("<" + "".join(kind for kind, _ in fields), *values)
    if name == "ALLOCATE":
        data += _lists(pick, values[3], values[4])
    # What is cut off: a byte, a field, an entry of a list, all lists, everything.
    fixed = struct.calcsize("<" + "".join(kind for kind, _ in fields))
    cut = pick((0, 0, 0, 0, 0, 0, 1, 4, min(16, len(data)), len(data) - fixed, len(data)))
    return RawRow(
        code=_code(pick, codes[name]),
        input=data[: len(data) - cut].hex(),
        random=pick((0, 0, 0, 0, 0, 1, 16, 4096)),
        seed=seed,
        repeat=pick((1, 2, 3)),
        output=pick(
            (answer, answer, answer, answer + 1, answer + 4096, max(0, answer - 1), 0, 65536, 1 << 20)
        ),
    )


def raw_row(pick: Pick[int], codes: dict[str, int], seed: int) -> RawRow:
    """Bytes of the seed to one of the driver's codes, or to some code."""
    known = sorted(codes.values())
    return RawRow(
        code=pick((*known, *known, *known, 0x80000000 | pick(range(1 << 31)))),
        random=pick((0, 1, 7, 8, 15, 16, 31, 32, 33, 63, 64, 256, 4096)),
        seed=seed,
        repeat=pick((10, 20, 30)),
        output=pick((0, 8, 24, 40, 80, 400, 2352, 8192, 65536)),
    )
