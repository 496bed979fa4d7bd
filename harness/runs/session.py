"""One pytest session's part of a run: a run of its own, or one cell's share of a run that `halpmc run` leads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.runs.admission import admitted
from harness.runs.cell import CellRun
from harness.runs.folder import cell_folder, create_run_folder
from harness.runs.plan import plan_run
from harness.runs.planned import SkippedCell
from harness.runs.record import Record
from harness.runs.record_file import Recorder
from harness.runs.select import Shard


class RunSession:
    """Opens the records, runs cells one after another, and closes the run if it started it."""

    def __init__(self, folder: Path, *, leading: bool, admits: bool) -> None:
        self.folder = folder
        self.recorder = Recorder(folder)
        self.leading = leading
        self._admits = admits

    @classmethod
    def open(
        cls,
        matrix: Matrix,
        cells: Iterable[Cell],
        runs_dir: Path,
        run_dir: Path | None,
        chosen: Mapping[str, Collection[str]] | None = None,
        *,
        skipped: Iterable[SkippedCell] = (),
        selection: str = "",
        shard: Shard | None = None,
        shared: bool = False,
        on_record: Callable[[Record], None] = lambda _: None,
    ) -> RunSession:
        """Join the run in `run_dir`, or start a new one in `runs_dir`; the others as in `plan_run`.

        `shared`: nobody leads the run in `run_dir`. Whoever joins it first writes its plan, and cells wait for memory.
        """
        if run_dir is not None and not shared:
            session = cls(run_dir, leading=False, admits=False)
            session.recorder.on_record = on_record
            return session
        folder = run_dir or create_run_folder(runs_dir, matrix.name)
        session = cls(folder, leading=run_dir is None, admits=True)
        session.recorder.on_record = on_record
        session.recorder.write_first(
            plan_run(matrix, cells, chosen, skipped=skipped, selection=selection, shard=shard)
        )
        return session

    @contextmanager
    def cell(self, cell: Cell) -> Generator[CellRun, None, None]:
        """One cell: whatever happens inside, its VM is gone and its verdict is recorded afterwards.

        Raises NoSpace, DeadlineExceeded when the host has no memory for it; `halpmc run` sees to that for its cells.
        """
        with admitted(cell, self.recorder) if self._admits else nullcontext():
            running = CellRun(cell, cell_folder(self.folder, cell.id), self.recorder)
            try:
                yield running
            finally:
                running.finish()

    def close(self) -> None:
        """Close the records."""
        self.recorder.close()
