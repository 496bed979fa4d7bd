"""The modules of a Windows dump: from a triage dump's own list, else from the kernel's list in memory.

Layouts: TRIAGE_DUMP64, DUMP_DRIVER_ENTRY64 and KLDR_DATA_TABLE_ENTRY as WinDbg's ntiodump.h and the public symbols
have them.
"""

from __future__ import annotations

from harness.dumps.header import SIZE as HEADER_SIZE
from harness.dumps.header import TRIAGE, UNSET64, Header
from harness.dumps.image import Image
from harness.dumps.memory import Absent, KernelMemory
from harness.dumps.models import Module
from harness.errors import DumpError

MAX_MODULES = 4096
KERNEL_START, PAGE_MASK, MAX_IMAGE = 0xFFFF_0000_0000_0000, 0xFFF, 1 << 30
MAX_NAME = 512
#: In KLDR_DATA_TABLE_ENTRY.
DLL_BASE, SIZE_OF_IMAGE, BASE_NAME = 0x30, 0x40, 0x58
#: In TRIAGE_DUMP64.
VALID, UNLOADED, DRIVERS, DRIVER_COUNT, STRINGS = 0x08, 0x18, 0x30, 0x34, 0x38
VALID_MARKS = (b"TRGD", b"DGRT")
#: DUMP_DRIVER_ENTRY64: the loader's entry comes after the name's offset; its own size depends on the build.
LOADER_ENTRY = 8
KNOWN_LAYOUT = "a driver list of a known layout"
MIN_STRIDE, MAX_STRIDE = 0x70, 0x400
#: DUMP_UNLOADED_DRIVERS64, after a count of 8 bytes; the kernel keeps 50.
UNLOADED_NAME, UNLOADED_START, UNLOADED_END, UNLOADED_STRIDE, MAX_UNLOADED = 0x10, 0x28, 0x30, 0x38, 50


def triage_modules(image: Image) -> tuple[Module, ...]:
    """The drivers that a triage dump lists, and the ones unloaded before.

    Raises DumpError when the file is cut short; Absent when the list's layout is not a known one: a wrong guess
    would name an innocent driver.
    """
    mark = image.u32(HEADER_SIZE + VALID)
    if image.bytes(mark, 4) not in VALID_MARKS:
        raise DumpError(f"{image.path}: damaged: its end mark is not where its header says")
    start, count, strings = (image.u32(HEADER_SIZE + at) for at in (DRIVERS, DRIVER_COUNT, STRINGS))
    if not count:
        return ()
    stride = (strings - start) // count
    if count > MAX_MODULES or not MIN_STRIDE <= stride <= MAX_STRIDE:
        raise Absent(KNOWN_LAYOUT)
    loaded = [_triage_module(image, start + n * stride) for n in range(count)]
    return (*loaded, *_unloaded(image))


def _triage_module(image: Image, entry: int) -> Module:
    base = image.u64(entry + LOADER_ENTRY + DLL_BASE)
    size = image.u32(entry + LOADER_ENTRY + SIZE_OF_IMAGE)
    if base < KERNEL_START or base & PAGE_MASK or not 0 < size <= MAX_IMAGE:
        raise Absent(KNOWN_LAYOUT)
    return Module(name=_dump_string(image, image.u32(entry)), base=base, size=size)


def _dump_string(image: Image, offset: int) -> str:
    """A DUMP_STRING: its length, UTF-16 text, a zero. Builds disagree whether the length counts units or bytes."""
    length = image.u32(offset) if offset <= len(image) - 4 else 0
    if not 0 < length <= MAX_NAME:
        raise Absent(KNOWN_LAYOUT)
    return _text(image.bytes(offset + 4, min(2 * length, len(image) - offset - 4)))


def _unloaded(image: Image) -> list[Module]:
    start = image.u32(HEADER_SIZE + UNLOADED)
    count = image.u64(start) if start else 0
    if count > MAX_UNLOADED:  # this list is optional, and not filled in by everyone
        return []
    found = []
    for entry in range(start + 8, start + 8 + count * UNLOADED_STRIDE, UNLOADED_STRIDE):
        low, high = image.u64(entry + UNLOADED_START), image.u64(entry + UNLOADED_END)
        name = _text(image.bytes(entry + UNLOADED_NAME, UNLOADED_START - UNLOADED_NAME))
        if low < high:
            found.append(Module(name=name, base=low, size=high - low, unloaded=True))
    return found


def kernel_modules(image: Image, header: Header) -> tuple[Module, ...]:
    """The modules on the kernel's own list (PsLoadedModuleList). Raises Absent, DumpError."""
    memory = KernelMemory(image, header.page_table)
    found: list[Module] = []
    entry = memory.u64(header.module_list)
    while entry != header.module_list:
        if len(found) == MAX_MODULES:
            raise DumpError(f"{image.path}: damaged: its list of modules does not end")
        length = int.from_bytes(memory.read(entry + BASE_NAME, 2), "little")
        size = int.from_bytes(memory.read(entry + SIZE_OF_IMAGE, 4), "little")
        name = _text(memory.read(memory.u64(entry + BASE_NAME + 8), min(length, 2 * MAX_NAME)))
        found.append(Module(name=name, base=memory.u64(entry + DLL_BASE), size=size))
        entry = memory.u64(entry)
    return tuple(found)


def modules(image: Image, header: Header) -> tuple[tuple[Module, ...], str]:
    """The modules, or the reason why there are none. Raises DumpError when the dump is broken."""
    try:
        if header.dump_type == TRIAGE:
            found = triage_modules(image)
            return found, "" if found else "this triage dump lists no modules"
        return _from_memory(image, header)
    except Absent as absent:
        return (), f"the module list cannot be read: {absent} is not in the dump"


def _from_memory(image: Image, header: Header) -> tuple[tuple[Module, ...], str]:
    if image.bytes(HEADER_SIZE, 8)[4:] == b"RDMP":
        return (), "a debugger wrote this dump; its pages are not read here"
    if header.machine != "x86_64":
        return (), f"page tables of {header.machine} are not read here"
    if header.module_list in (0, UNSET64):
        return (), "the dump does not say where its module list is"
    return kernel_modules(image, header), ""


def _text(utf16: bytes) -> str:
    """UTF-16 up to the first zero."""
    return utf16.decode("utf-16-le", "replace").partition("\0")[0]
