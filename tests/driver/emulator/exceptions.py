"""What the kernel does with an exception: walk the frames, ask their handlers, go on in the block that takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.driver.emulator.errors import Bugcheck, NotModelled
from tests.driver.emulator.unwind import PRESERVED_XMM, REGISTERS, Context, unwind

if TYPE_CHECKING:
    from tests.driver.emulator.machine import Machine


def raise_exception(machine: Machine, code: int) -> None:
    """Find the __except block that takes the exception, and go on there. Raises Bugcheck when none does."""
    context = Context({name: machine.get(name) for name in (*REGISTERS, *PRESERVED_XMM)}, machine.get("rip"))
    pointers = _exception_pointers(machine, code, context)
    while context.rip != machine.end:
        offset = context.rip - machine.base
        function = next((f for f in machine.functions if f.begin <= offset < f.end), None)
        here = context.copy()
        frame = unwind(function, offset - function.begin if function else 0, context, machine.read)
        if function is None or not function.handler:
            continue
        _require_c_handler(machine, function.handler)
        for scope in function.scopes:
            if not scope.begin <= offset < scope.end:
                continue
            if scope.target == 0:
                raise NotModelled("a __finally block")
            if scope.filter == 1 or _filter(machine, machine.base + scope.filter, pointers, frame) > 0:
                for name, value in here.registers.items():
                    machine.set(name, value)
                machine.set("rax", code)
                machine.set("rip", machine.base + scope.target)
                return
    raise Bugcheck(f"KMODE_EXCEPTION_NOT_HANDLED: {code:#x}")


def _exception_pointers(machine: Machine, code: int, context: Context) -> int:
    at = (context.registers["rsp"] - 0x800) & -16
    record, pointers = at + 0x100, at
    machine.write(record, code.to_bytes(4, "little") + bytes(0x94))
    machine.write_int(record + 0x10, context.rip)
    machine.write_int(pointers, record)
    machine.write_int(pointers + 8, 0xDEAD_0000_0000)  # no context record: a filter here has no use for it
    return pointers


def _require_c_handler(machine: Machine, handler: int) -> None:
    """The handler is a jump through the import table."""
    if machine.image[handler : handler + 2] != b"\xff\x25":
        raise NotModelled("an exception handler of the driver's own")
    slot = handler + 6 + int.from_bytes(machine.image[handler + 2 : handler + 6], "little", signed=True)
    target = int.from_bytes(machine.image[slot : slot + 8], "little")
    if target != machine.api_address("__C_specific_handler"):
        raise NotModelled("an exception handler that is not __C_specific_handler")


def _filter(machine: Machine, function: int, pointers: int, frame: int) -> int:
    """Run a filter on the faulting thread's stack; above 0 it takes the exception."""
    faulting = machine.uc.context_save()
    rsp = (pointers - 0x400) & -16
    machine.set("rcx", pointers)
    machine.set("rdx", frame)
    machine.set("rsp", rsp - 8)
    machine.write_int(rsp - 8, machine.end)
    machine.set("rip", function)
    preempt, machine.preempt = machine.preempt, False
    machine.go()
    machine.preempt = preempt
    if machine.get("rip") != machine.end:
        raise NotModelled(f"a filter that calls {machine.api_name(machine.get('rip'))}")
    answer = machine.get("rax") & 0xFFFFFFFF
    machine.uc.context_restore(faulting)
    if answer >> 31:
        raise NotModelled("a filter that continues where the fault was")
    return answer
