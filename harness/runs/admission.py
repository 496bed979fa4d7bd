"""When a cell may start: as soon as the host has the memory, the CPUs and the counters for its VM."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.caching import Say
from harness.config.models import Accel, Arch, Cell, Icount
from harness.contract.outcomes import Verdict
from harness.deadlines import Deadline, wait_for
from harness.errors import InfrastructureError, NoSpace
from harness.host.ledger import Reservation
from harness.host.resources import HostResources, read_resources
from harness.host.slots import Needs, memory_short, never_fits, processors_short, vm_needs
from harness.probe.accelerator import accelerator_for
from harness.runs.record import CellEndRecord, IncidentRecord, PhaseRecord
from harness.runs.record_file import Recorder

#: VMs of others may take this long. It counts only while this run has no cell running.
MEMORY_WAIT_S = 3600.0
TICK_S = 0.2
WAIT_PHASE = "waiting for memory"

#: Reads the host's resources as they are now.
Read = Callable[[], HostResources]


@dataclass
class _Waiting:
    """A cell that wants memory, its place in the queue, since when, and for how much longer."""

    cell: Cell
    reservation: Reservation
    since: float
    patience: Deadline
    said: bool = False


@dataclass(frozen=True)
class Admitted:
    """Memory for a cell, and the seconds that it had to wait for it: 0 when it did not wait."""

    reservation: Reservation
    waited_s: float


class Admission:
    """Admits the cells of one run, in the order in which they are asked for. Of other runs it sees the memory alone.

    With `slots` there are at most so many cells at a time, whatever CPUs they take; without, the CPUs decide.
    """

    def __init__(self, slots: int | None, *, say: Say = lambda _: None, read: Read = read_resources) -> None:
        self._slots = slots
        self._say = say
        self._read = read
        self._waiting: _Waiting | None = None
        self._accelerators: dict[tuple[Accel, Arch, str, Icount], Accel] = {}

    def admit(self, cell: Cell, running: Sequence[Cell]) -> Admitted | None:
        """The cell's memory, or None while it has to wait; then ask again.

        Raises NoSpace when this host can never run the cell, DeadlineExceeded when it had no memory for too long.
        """
        if self._slots is not None and len(running) >= self._slots:
            return None
        need, host = self._needs(cell), self._read()
        if short := never_fits(host, need.memory_mib):
            raise NoSpace(
                f"cell {cell.id} cannot run on this host: {short}",
                remedy="lower the cell's memory_mib, or use a host with more memory",
            )
        if self._slots is None and processors_short(host, [self._needs(other) for other in running], need):
            return None
        waiting = self._place(cell, need)
        short = waiting.reservation.claim(lambda held: memory_short(host, held, need.memory_mib))
        if not short:
            self._waiting = None
            return Admitted(waiting.reservation, time.monotonic() - waiting.since if waiting.said else 0.0)
        if not waiting.said:
            waiting.said = True
            self._say(f"cell {cell.id} waits: {short}")
        if running:  # which give their memory back in a while
            waiting.patience = _patience(cell)
        else:
            waiting.patience.last_seen = short
            waiting.patience.check()
        return None

    def close(self) -> None:
        """Leave the queue for memory. Idempotent."""
        if self._waiting is not None:
            self._waiting.reservation.release()
            self._waiting = None

    def _needs(self, cell: Cell) -> Needs:
        """What the cell's VM needs with the accelerator that it gets, which is decided once for all cells alike."""
        key = (cell.accel, cell.arch, cell.machine, cell.icount)
        if key not in self._accelerators:
            try:
                self._accelerators[key] = accelerator_for(cell).accel
            except InfrastructureError:  # the cell meets the same, and records it with its clauses
                self._accelerators[key] = cell.accel
        return vm_needs(cell.memory_mib, cell.smp, self._accelerators[key], cell.pmu)

    def _place(self, cell: Cell, need: Needs) -> _Waiting:
        if self._waiting is None or self._waiting.cell != cell:
            self.close()
            reservation = Reservation(f"cell {cell.id}", need.memory_mib)
            self._waiting = _Waiting(cell, reservation, time.monotonic(), _patience(cell))
        return self._waiting


@contextmanager
def admitted(cell: Cell, recorder: Recorder) -> Generator[None, None, None]:
    """The memory of a cell that this process runs itself. Raises as `Admission.admit` does, which is recorded."""
    admission = Admission(slots=1)
    try:
        granted = wait_for(
            f"memory for cell {cell.id}", MEMORY_WAIT_S, lambda _: admission.admit(cell, ()), interval=TICK_S
        )
    except InfrastructureError as error:
        record_refusal(recorder, cell, error)
        raise
    finally:
        admission.close()
    record_wait(recorder, cell, granted)
    try:
        yield
    finally:
        granted.reservation.release()


def record_wait(recorder: Recorder, cell: Cell, granted: Admitted) -> None:
    """A cell that had to wait shows it in its phases."""
    if granted.waited_s:
        recorder.write(PhaseRecord(cell=cell.id, name=WAIT_PHASE, seconds=round(granted.waited_s, 3)))


def record_refusal(recorder: Recorder, cell: Cell, error: InfrastructureError) -> None:
    """A cell that could not start has an incident, and an end without a verdict."""
    recorder.write(
        IncidentRecord(cell=cell.id, branch=error.branch, message=str(error), evidence=error.evidence)
    )
    recorder.write(
        CellEndRecord(
            cell=cell.id, verdict=Verdict.UNKNOWN, reason=error.message, realised=False, duration_s=0.0
        )
    )


def _patience(cell: Cell) -> Deadline:
    return Deadline(f"memory for cell {cell.id}", MEMORY_WAIT_S)
