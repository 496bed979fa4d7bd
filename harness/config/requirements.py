"""What a cell may ask of the host that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from harness.config.models import Arch, Model


class CpuVendor(StrEnum):
    """Whose CPU a host has."""

    INTEL = "intel"
    AMD = "amd"
    ARM = "arm"


class Requirements(Model):
    """What a cell needs of its host; None: it does not care. Numbers and versions are the least that will do.

    `guest`: the image of the cell's guest has to be there; without it, a run ends before its first cell.
    """

    kvm: bool | None = None
    vpmu: bool | None = None
    arch: Arch | None = None
    cpu_vendor: CpuVendor | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    guest: Literal["present"] | None = None
    qemu: str | None = None


@dataclass(frozen=True)
class Unmet:
    """A condition of a cell that a host does not meet, and what the host has instead."""

    condition: str
    has: str

    def __str__(self) -> str:
        return f"{self.condition}: {self.has}"


ANY_HOST = Requirements()
"""Asks nothing."""
