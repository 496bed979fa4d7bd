"""The embedded guest with the test drivers loaded, for tests that talk to the real driver: Wine, and our HAL."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from harness.config.load import load_guest
from harness.config.models import Accel, Cell, HalSettings
from harness.runs.guest import Guest, boot_guest

CELL = Cell(id="driver", guest="embedded", accel=Accel.TCG, cpu="Nehalem", pmu=False)


def no_phase(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@contextmanager
def driver_guest(
    folder: Path, hal: HalSettings | None = None, *, smp: int = 2
) -> Generator[Guest, None, None]:
    """A clone of the guest, on two CPUs without a PMU; gone when the context ends."""
    definition = load_guest("embedded")
    cell = CELL.model_copy(update={"hal": hal or HalSettings(), "smp": smp})
    model, *rest = cell.cpu_string.split(",")
    with boot_guest(
        cell,
        definition,
        accel=Accel.TCG,
        cpu_string=",".join([model, *definition.tcg_cpu_flags, *rest]),
        folder=folder,
        phase=no_phase,
        provenance=lambda _: None,
    ) as guest:
        yield guest
