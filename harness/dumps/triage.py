"""The one sentence that a reader wants first: what happened, and whether a module of ours had a part in it."""

from __future__ import annotations

from collections.abc import Collection

from harness.dumps.bugchecks import table
from harness.dumps.models import Dump, Module, WindowsDump

OURS = ("pmctest.sys",)


def triage(dump: Dump, ours: Collection[str] = OURS) -> str:
    """One sentence about a dump. `ours` are file names of modules that the reader answers for."""
    if isinstance(dump, WindowsDump):
        return f"Windows build {dump.os_build}, {dump.bugcheck}: {_implication(dump, ours)}"
    return (
        f"memory of a guest ({dump.machine} machine, {dump.cpus} CPUs, physical memory up to "
        f"{dump.physical_end >> 20} MiB) as QEMU wrote it; it names no bugcheck"
    )


def _implication(dump: WindowsDump, ours: Collection[str]) -> str:
    if not dump.modules:
        return f"whether a module of ours is implicated cannot be said, because {dump.modules_missing}"
    wanted = {name.lower() for name in ours}
    hits = [(what, address, module) for what, address in _addresses(dump) for module in _at(dump, address)]
    for what, address, module in hits:
        if module.name.lower() in wanted:
            gone = ", which was unloaded before" if module.unloaded else ""
            return f"{module.name} is implicated: {what} is {_place(module, address)}{gone}"
    if hits:
        what, address, module = hits[0]
        return f"no module of ours is implicated: {what} is {_place(module, address)}"
    return "no module of ours is implicated: no parameter points into a module"


def _addresses(dump: WindowsDump) -> list[tuple[str, int]]:
    """What may point at the code at fault, the surest first."""
    known = table().get(dump.bugcheck.code)
    at_fault = known.code_parameter if known else 0
    found = [("the exception's address", dump.exception_address)]
    for number, value in enumerate(dump.bugcheck.parameters, 1):
        if number == at_fault:
            found.insert(0, (f"parameter {number}, the code at fault,", value))
        else:
            found.append((f"parameter {number}", value))
    return found


def _at(dump: WindowsDump, address: int) -> list[Module]:
    """The modules at an address; a loaded one counts before one that was there earlier."""
    return sorted((module for module in dump.modules if module.holds(address)), key=lambda m: m.unloaded)[:1]


def _place(module: Module, address: int) -> str:
    return f"{module.name}+0x{address - module.base:x}"
