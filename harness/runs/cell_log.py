"""What is recorded of a cell beside its clauses: what it runs on, how long its phases took, its trouble."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from harness.errors import HalpmcError
from harness.runs.record import CellRecord, IncidentRecord, PhaseRecord
from harness.runs.record_file import Recorder


class CellLog:
    """The log of one cell. `accelerator` stands in every line about what it runs on.

    `first_trouble` is the message of the first error that no other try followed, else empty.
    """

    def __init__(self, cell: str, recorder: Recorder) -> None:
        self.accelerator = "undecided"
        self.first_trouble = ""
        self._cell = cell
        self._recorder = recorder

    def provenance(self, provenance: Mapping[str, str]) -> None:
        """Record what it runs on."""
        self._recorder.write(
            CellRecord(cell=self._cell, provenance={"accelerator": self.accelerator, **provenance})
        )

    @contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Measure one phase; only a finished phase is recorded."""
        start = time.monotonic()
        yield
        self.took(name, time.monotonic() - start)

    def took(self, name: str, seconds: float) -> None:
        """Record how long a phase took."""
        self._recorder.write(PhaseRecord(cell=self._cell, name=name, seconds=round(seconds, 3)))

    @contextmanager
    def noting_errors(self) -> Generator[None, None, None]:
        """Record the error that ends this context, which goes on from there."""
        try:
            yield
        except HalpmcError as error:
            self.trouble(error)
            raise

    def trouble(self, error: HalpmcError, *, retried: bool = False) -> None:
        """Record trouble; `retried` when another try followed it."""
        if not retried:
            self.first_trouble = self.first_trouble or error.message
        self._recorder.write(
            IncidentRecord(
                cell=self._cell,
                branch=error.branch,
                message=str(error),
                evidence=error.evidence,
                retried=retried,
            )
        )
