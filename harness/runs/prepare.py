"""Before the first cell starts: everything that the cells share is there, or is built once, with progress."""

from __future__ import annotations

from collections.abc import Sequence

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Cell
from harness.driver.deploy import build_for
from harness.host.tools import qemu_binary
from harness.imaging.machine import installed
from harness.imaging.store import find_guest
from harness.probe.accelerator import choose_accelerator
from harness.probe.build import build_probe


def prepare(cells: Sequence[Cell], *, say: Say) -> None:
    """Tools, guests (they must have been built), drivers, probes, the accelerators' proof. Raises what is missing."""
    for arch in sorted({cell.arch for cell in cells}):
        qemu_binary(arch)
    images = {name: find_guest(name) for name in sorted({cell.guest for cell in cells if cell.guest})}
    for cell in cells:
        if cell.guest:
            installed(load_guest(cell.guest), images[cell.guest], cell)
    for name in images:
        build_for(load_guest(name), say=say)
    for arch in sorted({cell.arch for cell in cells}):
        build_probe(arch, say=say)
    for accel, arch, machine in sorted({(cell.accel, cell.arch, cell.machine) for cell in cells}):
        choose_accelerator(accel, arch, machine, say=say)
