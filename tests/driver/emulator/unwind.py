"""Exception handling on x64: unwind information (.pdata, .xdata) and the scope tables of __C_specific_handler.

Written from Microsoft's public page "x64 exception handling".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.driver.emulator.errors import NotModelled

Read = Callable[[int, int], bytes]
REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
PRESERVED = ("rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14", "r15")
PRESERVED_XMM = tuple(f"xmm{i}" for i in range(6, 16))
EXCEPTION_HANDLER, CHAINED = 1, 4


@dataclass
class Context:
    """Registers by name, and the instruction pointer."""

    registers: dict[str, int]
    rip: int

    def copy(self) -> Context:
        return Context(dict(self.registers), self.rip)


@dataclass(frozen=True)
class Scope:
    """One __try block: its code, its filter (1: always handle), and where its __except block starts (0: __finally)."""

    begin: int
    end: int
    filter: int
    target: int


@dataclass(frozen=True)
class Function:
    """An entry of .pdata with its unwind information; addresses are relative to the image."""

    begin: int
    end: int
    prolog: int
    frame_register: int
    frame_offset: int
    codes: tuple[tuple[int, int, int, tuple[int, ...]], ...]  # offset, operation, info, further slots
    handler: int = 0
    scopes: tuple[Scope, ...] = field(default=())


_SLOTS = {0: 1, 2: 1, 3: 1, 4: 2, 5: 3, 8: 2, 9: 3, 10: 1}


def _codes(data: bytes) -> tuple[tuple[int, int, int, tuple[int, ...]], ...]:
    codes = []
    at = 0
    while at < len(data):
        offset, packed = data[at], data[at + 1]
        operation, info = packed & 15, packed >> 4
        slots = 2 + info if operation == 1 else _SLOTS.get(operation)
        if slots is None:
            raise NotModelled(f"unwind operation {operation}")
        codes.append((offset, operation, info, struct.unpack_from(f"<{slots - 1}H", data, at + 2)))
        at += 2 * slots
    return tuple(codes)


def read_functions(image: bytes, pdata: int, size: int) -> list[Function]:
    """The functions of an image as it lies in memory."""
    functions = []
    for at in range(pdata, pdata + size, 12):
        begin, end, info = struct.unpack_from("<III", image, at)
        first, prolog, count, frame = image[info : info + 4]
        flags = first >> 3
        if flags & CHAINED:
            raise NotModelled("chained unwind information")
        after = info + 4 + 2 * (count + count % 2)
        handler, scopes = 0, []
        if flags & EXCEPTION_HANDLER:
            handler, number = struct.unpack_from("<II", image, after)
            scopes = [Scope(*struct.unpack_from("<IIII", image, after + 8 + 16 * i)) for i in range(number)]
        codes = _codes(image[info + 4 : info + 4 + 2 * count])
        functions.append(Function(begin, end, prolog, frame & 15, frame >> 4, codes, handler, tuple(scopes)))
    return functions


def unwind(function: Function | None, offset: int, context: Context, read: Read) -> int:
    """Change `context` to that of the caller; returns the establisher frame. `offset`: of the pc in the function."""
    registers = context.registers
    frame = registers["rsp"]
    if function is not None:
        done = [code for code in function.codes if code[0] <= offset]
        if function.frame_register and any(operation == 3 for _, operation, _, _ in done):
            frame = registers[REGISTERS[function.frame_register]] - 16 * function.frame_offset
            registers["rsp"] = frame
        for _, operation, info, slots in done:
            _undo(operation, info, slots, registers, frame, read)
    context.rip = int.from_bytes(read(registers["rsp"], 8), "little")
    registers["rsp"] += 8
    return frame


def _undo(
    operation: int, info: int, slots: tuple[int, ...], registers: dict[str, int], frame: int, read: Read
) -> None:
    wide = slots[0] | slots[1] << 16 if len(slots) == 2 else 0
    match operation:
        case 0:  # push
            registers[REGISTERS[info]] = int.from_bytes(read(registers["rsp"], 8), "little")
            registers["rsp"] += 8
        case 1:  # allocate large
            registers["rsp"] += wide if info else 8 * slots[0]
        case 2:  # allocate small
            registers["rsp"] += 8 * info + 8
        case 3:  # set frame pointer: done above
            pass
        case 4 | 5:  # save a register
            at = frame + (8 * slots[0] if operation == 4 else wide)
            registers[REGISTERS[info]] = int.from_bytes(read(at, 8), "little")
        case 8 | 9:  # save an XMM register
            at = frame + (16 * slots[0] if operation == 8 else wide)
            registers[f"xmm{info}"] = int.from_bytes(read(at, 16), "little")
        case _:
            raise NotModelled(f"unwind operation {operation}")
