"""What a memory dump says, as frozen models."""

from __future__ import annotations

from typing import Literal

from harness.config.models import Model
from harness.dumps.bugchecks import Bugcheck, Hex


class Module(Model):
    """An image in the kernel's address space; an unloaded one is still of interest to whoever calls into it."""

    name: str
    base: Hex
    size: Hex
    unloaded: bool = False

    def holds(self, address: int) -> bool:
        """Whether the address is inside the image."""
        return self.base <= address < self.base + self.size


class WindowsDump(Model):
    """A 64-bit kernel dump of Windows.

    `modules_missing` says why there is no module list, and is empty when there is one. `exception_address` is
    where the exception happened that led to the bug check, or 0.
    """

    kind: Literal["windows"] = "windows"
    dump_type: str
    machine: str
    os_build: int
    cpus: int
    bugcheck: Bugcheck
    exception_address: Hex = 0
    modules: tuple[Module, ...] = ()
    modules_missing: str = ""


class VmCore(Model):
    """A guest's memory as QEMU wrote it: an ELF core, or the kdump format that crash and makedumpfile read.

    `physical_end` is where physical memory ends; there may be holes below.
    """

    kind: Literal["vmcore"] = "vmcore"
    dump_type: Literal["elf", "kdump"]
    machine: str
    cpus: int
    physical_end: Hex


Dump = WindowsDump | VmCore
