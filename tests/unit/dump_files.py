"""Dump files made byte by byte from the public formats, for tests."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

PAGE = 0x1000
LARGE_PAGE, LARGE_FRAME = 0x200000, 0x400
HEADER = 0x2000
NT, HAL, OURS = 0xFFFFF80001000000, 0xFFFFF80002000000, 0xFFFFF80003000000
MODULES = (("ntoskrnl.exe", NT, 0x100000), ("hal.dll", HAL, 0x8000), ("pmctest.sys", OURS, 0x6000))
FULL, TRIAGE, BITMAP_KERNEL = 1, 4, 6
Modules = tuple[tuple[str, int, int], ...]


def put(buffer: bytearray, at: int, layout: str, *values: int | bytes) -> None:
    struct.pack_into("<" + layout, buffer, at, *values)


def header(
    dump_type: int,
    *,
    code: int = 0xD1,
    parameters: tuple[int, int, int, int] = (0x10, 2, 0, OURS + 0x1234),
    machine: int = 0x8664,
    page_table: int = 0x1000,
    module_list: int = 0,
    exception: int = 0,
    runs: tuple[tuple[int, int], ...] = (),
) -> bytearray:
    """DUMP_HEADER64; what the kernel would leave unset is filled with "PAGE"."""
    h = bytearray(b"PAGE" * (HEADER // 4))
    put(h, 0, "8sII", b"PAGEDU64", 15, 20348)
    put(h, 0x10, "QQQQ", page_table, 0, module_list, 0)
    put(h, 0x30, "III", machine, 2, code)
    put(h, 0x40, "4Q", *parameters)
    put(h, 0x88, "IIQ", len(runs), 0, sum(count for _, count in runs))
    for index, run in enumerate(runs):
        put(h, 0x98 + 16 * index, "QQ", *run)
    put(h, 0xF00, "IIQQ", 0xC0000005 if exception else 0, 0, 0, exception)
    put(h, 0xF98, "I", dump_type)
    return h


@dataclass
class Memory:
    """A little machine: physical pages, mapped by page tables of four levels, with the kernel's module list."""

    pages: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(PAGE)})
    next_page: int = 2
    large: int = -1  # address of one large page of 2 MiB, which lies at physical page LARGE_FRAME

    def new_page(self) -> int:
        self.next_page += 1 if len(self.pages) % 4 else 3000  # holes: page numbers and file offsets differ
        number, self.next_page = self.next_page, self.next_page + 1
        self.pages[number] = bytearray(PAGE)
        return number

    def map(self, virtual: int) -> bytearray:
        """The physical page behind a virtual address, mapped when it is not yet."""
        table = 1
        for shift in (39, 30, 21, 12):
            slot = (virtual >> shift & 0x1FF) * 8
            if shift == 21 and virtual // LARGE_PAGE == self.large // LARGE_PAGE:
                struct.pack_into("<Q", self.pages[table], slot, LARGE_FRAME * PAGE | 0x80000000000000E3)
                return self.pages.setdefault(LARGE_FRAME + virtual % LARGE_PAGE // PAGE, bytearray(PAGE))
            (entry,) = struct.unpack_from("<Q", self.pages[table], slot)
            if not entry:
                entry = self.new_page() * PAGE | 0x8000000000000063
                struct.pack_into("<Q", self.pages[table], slot, entry)
            table = (entry & 0x000FFFFFFFFFF000) // PAGE
        return self.pages[table]

    def walk(self, virtual: int) -> list[tuple[int, int]]:
        """The page and the offset of the entries, one a level, that lead to a virtual address that is mapped."""
        table, found = 1, []
        for shift in (39, 30, 21, 12):
            slot = (virtual >> shift & 0x1FF) * 8
            found.append((table, slot))
            (entry,) = struct.unpack_from("<Q", self.pages[table], slot)
            table = (entry & 0x000FFFFFFFFFF000) // PAGE
        return found

    def write(self, virtual: int, data: bytes) -> None:
        for at, byte in enumerate(data, virtual):
            self.map(at)[at % PAGE] = byte

    def module_list(self, modules: Modules, head: int = NT + 0x9000) -> int:
        """PsLoadedModuleList: a ring of loader entries; each name lies across a page's end."""
        entries = [0xFFFFA00000000000 + n * 0x10000 for n in range(len(modules))]
        ring = [head, *entries, head]
        self.write(head, struct.pack("<QQ", ring[1], ring[-2]))
        for n, (name, base, size) in enumerate(modules):
            text = name.encode("utf-16-le")
            at = entries[n] + 0x2FF8
            self.map(at + PAGE)  # the name's second page comes first in physical memory
            self.write(at, text)
            entry = bytearray(0x88)
            put(entry, 0, "QQ", ring[n + 2], ring[n])
            put(entry, 0x30, "QQI", base, base + 0x1000, size)
            put(entry, 0x58, "HHIQ", len(text), len(text), 0, at)
            self.write(entries[n], bytes(entry))
        return head

    def full(self, **fields: int | tuple[int, int, int, int]) -> bytes:
        runs = tuple((number, 1) for number in sorted(self.pages))
        return bytes(_header(FULL, runs=runs, **fields)) + b"".join(self.pages[n] for n, _ in runs)

    def bitmap(self, **fields: int | tuple[int, int, int, int]) -> bytes:
        bits = max(self.pages) + 40000  # more bits than one step of a reader's running count
        bitmap = bytearray((bits + 7) // 8)
        for number in self.pages:
            bitmap[number // 8] |= 1 << number % 8
        first = HEADER + 0x38 + len(bitmap)
        first += -first % PAGE
        head = bytearray(first - HEADER)
        put(head, 0, "8s", b"SDMPDUMP")
        put(head, 0x20, "QQQ", first, len(self.pages), bits)
        head[0x38 : 0x38 + len(bitmap)] = bitmap
        data = b"".join(self.pages[n] for n in sorted(self.pages))
        return bytes(_header(BITMAP_KERNEL, **fields) + head) + data


def _header(dump_type: int, **fields: object) -> bytearray:
    return header(dump_type, **fields)  # type: ignore[arg-type]


def triage(
    modules: Modules = MODULES,
    *,
    unloaded: Modules = (),
    stride: int = 0x90,
    length_in_bytes: bool = False,
    **fields: object,
) -> bytes:
    """A triage dump: TRIAGE_DUMP64 behind the header, then unloaded drivers, drivers, names, the end mark."""
    body = bytearray(0x1000)
    unloaded_at = HEADER + len(body)
    body += struct.pack("<Q", len(unloaded))
    for name, base, size in unloaded:
        entry = bytearray(0x38)
        put(entry, 0x10, "24s", name.encode("utf-16-le")[:24])
        put(entry, 0x28, "QQ", base, base + size)
        body += entry
    drivers_at = HEADER + len(body)
    strings_at = drivers_at + stride * len(modules)
    pool = bytearray()
    for name, base, size in modules:
        text = name.encode("utf-16-le")
        entry = bytearray(stride)
        put(entry, 0, "I", strings_at + len(pool))
        put(entry, 8 + 0x30, "QQI", base, base + 0x1000, size)
        body += entry
        record = struct.pack("<I", len(text) if length_in_bytes else len(name)) + text + b"\0\0"
        pool += record + bytes(-len(record) % 8)
    body += pool
    mark_at = HEADER + len(body)
    body += b"TRGD"
    put(body, 0x04, "II", mark_at + 4, mark_at)
    put(body, 0x18, "I", unloaded_at)
    put(body, 0x30, "IIII", drivers_at, len(modules), strings_at, len(pool))
    return bytes(_header(TRIAGE, **fields) + body)


def elf(*, machine: int = 62, cpus: int = 2, memory: int = 2 * PAGE, kind: int = 4) -> bytes:
    """An ELF core: one note segment with a CPU's registers each, one of memory."""
    note = struct.pack("<III8s", 5, 336, 1, b"CORE") + bytes(336)
    other = struct.pack("<III8s", 5, 440, 0, b"QEMU") + bytes(440)
    notes = (note + other) * cpus
    start = 64 + 2 * 56
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 0, start, 0, 0, len(notes), len(notes), 0)
    head += struct.pack("<IIQQQQQQ", 1, 0, start + len(notes), 0, 0x4000, memory, memory, 0)
    return head + notes + bytes(memory)


def kdump(*, machine: bytes = b"x86_64", cpus: int = 2, pages: int = 512, flat: bool = True) -> bytes:
    """A kdump file; flattened, as QEMU writes it, or plain, as makedumpfile does."""
    head = bytearray(PAGE)
    put(head, 0, "8sI", b"KDUMP   ", 6)
    put(head, 12 + 4 * 65, "65s", machine)
    put(head, 424, "IIIIIIIIII", 1, PAGE, 5, 1, pages, 0, 0, 0, 0, cpus)
    if not flat:
        return bytes(head)
    start = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
    return b"".join((start, struct.pack(">qq", 0, len(head)), head, struct.pack(">qq", -1, -1)))
