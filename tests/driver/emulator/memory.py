"""The emulated machine's memory: what is allocated ends where its page ends, and what is freed is gone."""

from __future__ import annotations

from typing import Any

import unicorn

from tests.driver.emulator.errors import Bugcheck

PAGE = 0x1000
MEMORY_BASE = 0x3_0000_0000
ARENA_BASE, ARENA_SIZE = 0x8_0000_0000, 64 << 20
UNINITIALIZED = 0xCD


class Memory:
    """Physical memory does not exist here: an address is mapped or it is not."""

    def __init__(self) -> None:
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.guarded = True
        """Switched off, allocations lie side by side: a thousand of them are too many mappings."""
        self._arena = 0
        self._next = MEMORY_BASE
        self._sizes: dict[int, int] = {}

    def read(self, address: int, size: int) -> bytes:
        try:
            return bytes(self.uc.mem_read(address, size))
        except unicorn.UcError:
            raise Bugcheck(f"PAGE_FAULT: {size} bytes read at {address:#x}") from None

    def write(self, address: int, data: bytes) -> None:
        try:
            self.uc.mem_write(address, data)
        except unicorn.UcError:
            raise Bugcheck(f"PAGE_FAULT: {len(data)} bytes written at {address:#x}") from None

    def read_int(self, address: int, size: int = 8) -> int:
        return int.from_bytes(self.read(address, size), "little")

    def write_int(self, address: int, value: int, size: int = 8) -> None:
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def allocate(self, size: int) -> int:
        """Memory whose end is the end of its last page, but for alignment to 16 bytes; what follows is not mapped."""
        if not self.guarded:
            return self._allocate_unguarded(size)
        pages = -(-max(size, 1) // PAGE) * PAGE
        self.uc.mem_map(self._next, pages, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.uc.mem_write(self._next, bytes([UNINITIALIZED]) * pages)
        address = self._next + pages - (-(-size // 16) * 16 if size else 16)
        self._next += pages + PAGE
        self._sizes[address] = size
        return address

    def _allocate_unguarded(self, size: int) -> int:
        if not self._arena:
            self.uc.mem_map(ARENA_BASE, ARENA_SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
            self._arena = ARENA_BASE
        address = self._arena
        self._arena += -(-max(size, 1) // 16) * 16
        self._sizes[address] = size
        return address

    def release(self, address: int) -> None:
        """Free; whoever touches the memory later faults."""
        if address not in self._sizes:
            raise Bugcheck(f"BAD_POOL_CALLER: {address:#x} is freed and is no allocation")
        size = self._sizes.pop(address)
        if ARENA_BASE <= address < ARENA_BASE + ARENA_SIZE:
            return
        page, end = address & -PAGE, -(-(address + max(size, 1)) // PAGE) * PAGE
        untouched = bytes([UNINITIALIZED])
        if self.read(page, address - page).strip(untouched) or self.read(
            address + size, end - address - size
        ).strip(untouched):
            raise Bugcheck(f"BAD_POOL_HEADER: written outside of the {size} bytes at {address:#x}")
        self.uc.mem_unmap(page, end - page)
