"""The embedded guest with the test drivers loaded, for tests that talk to the real driver: Wine, and our HAL."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.config.load import load_guest
from harness.config.models import Accel, Cell, HalSettings
from harness.runs.guest import Guest
from harness.runs.start import GuestStarter

CELL = Cell(id="driver", guest="embedded", accel=Accel.TCG, cpu="Nehalem", pmu=False)


@contextmanager
def driver_guest(
    folder: Path, hal: HalSettings | None = None, *, smp: int = 2
) -> Generator[Guest, None, None]:
    """A clone of the guest, on two CPUs without a PMU; gone when the context ends."""
    definition = load_guest("embedded")
    cell = CELL.model_copy(update={"hal": hal or HalSettings(), "smp": smp})
    starter = GuestStarter(cell, definition, accel=Accel.TCG)
    folder.mkdir(exist_ok=True)
    starter.prepare(folder)
    with starter.start(folder) as guest:
        yield guest
