"""Memory inside a full or bitmap dump: physical pages, and the kernel's addresses through its page tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

from harness.dumps.header import SIZE as HEADER_SIZE
from harness.dumps.header import UNSET
from harness.dumps.image import Image
from harness.errors import DumpError

PAGE = 0x1000
MAX_RUNS = 42  # what fits into the header's 700 bytes
CHUNK = 512  # bytes of the bitmap per step of the running count
FRAME = 0x000F_FFFF_FFFF_F000
PRESENT, LARGE = 1, 1 << 7

#: File offset of a physical page by its number, or None when the dump has it not.
PageOffset = Callable[[int], int | None]


class Absent(Exception):
    """The dump does not have this address."""


def pages(image: Image) -> PageOffset:
    """Where a dump's physical pages are. Raises DumpError when the dump is broken or truncated."""
    if image.bytes(HEADER_SIZE, 8) in (b"SDMPDUMP", b"FDMPDUMP"):
        return _bitmap_pages(image)
    return _run_pages(image)


def _run_pages(image: Image) -> PageOffset:
    """A full dump: the pages of the header's runs (PHYSICAL_MEMORY_DESCRIPTOR64), one after the other."""
    count = image.u32(0x88)
    if count == UNSET or count > MAX_RUNS:
        raise DumpError(f"{image.path}: damaged: its list of memory runs is not filled in")
    runs, offset = [], HEADER_SIZE
    for index in range(count):
        base, length = image.u64(0x98 + 16 * index), image.u64(0xA0 + 16 * index)
        runs.append((base, length, offset))
        offset += length * PAGE
    image.bytes(offset, 0)

    def find(number: int) -> int | None:
        for base, length, start in runs:
            if base <= number < base + length:
                return start + (number - base) * PAGE
        return None

    return find


def _bitmap_pages(image: Image) -> PageOffset:
    """A bitmap dump (BMP_HEADER64): one bit per page of the machine, then the pages whose bit is set."""
    first, present, bits = (image.u64(HEADER_SIZE + at) for at in (0x20, 0x28, 0x30))
    bitmap = image.bytes(HEADER_SIZE + 0x38, (bits + 7) // 8)
    image.bytes(first + present * PAGE, 0)
    chunks = (bitmap[at : at + CHUNK] for at in range(0, len(bitmap), CHUNK))
    before = [0, *accumulate(int.from_bytes(chunk, "little").bit_count() for chunk in chunks)]

    def find(number: int) -> int | None:
        byte, bit = divmod(number, 8)
        if number >= bits or not bitmap[byte] >> bit & 1:
            return None
        start = byte // CHUNK * CHUNK
        mask = (1 << 8 * (byte - start) + bit) - 1
        partial = int.from_bytes(bitmap[start : byte + 1], "little") & mask
        return first + (before[byte // CHUNK] + partial.bit_count()) * PAGE

    return find


class KernelMemory:
    """The kernel's virtual memory of an x86-64 machine, through its four levels of page tables.

    Every read raises Absent for what the dump has not: a page that was not written, or was paged out.
    """

    def __init__(self, image: Image, page_table: int) -> None:
        self._image = image
        self._page_table = page_table & FRAME
        self._find = pages(image)
        self._translate = lru_cache(maxsize=4096)(self._walk)

    def read(self, address: int, count: int) -> bytes:
        """`count` bytes at a virtual address."""
        parts = []
        while count > 0:
            step = min(count, PAGE - address % PAGE)
            page = self._translate(address // PAGE)
            parts.append(self._image.bytes(self._offset(page) + address % PAGE, step))
            address, count = address + step, count - step
        return b"".join(parts)

    def u64(self, address: int) -> int:
        """The 64-bit unsigned integer at a virtual address."""
        return int.from_bytes(self.read(address, 8), "little")

    def _offset(self, physical: int) -> int:
        offset = self._find(physical // PAGE)
        if offset is None:
            raise Absent(f"physical page 0x{physical:x}")
        return offset + physical % PAGE

    def _walk(self, page: int) -> int:
        """Physical address of a virtual page (Intel SDM volume 3, 4-level paging)."""
        address = page * PAGE
        entry = self._page_table
        for shift in (39, 30, 21, 12):
            slot = (entry & FRAME) + (address >> shift & 0x1FF) * 8
            entry = self._image.u64(self._offset(slot))
            if not entry & PRESENT:
                raise Absent(f"virtual page 0x{address:x}")
            if shift in (30, 21) and entry & LARGE:
                inside = (1 << shift) - 1
                return (entry & FRAME & ~inside) | (address & inside)
        return entry & FRAME
