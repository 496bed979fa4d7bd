"""What a cell's tests say of its clauses: from an observation and a judgement to the records and what counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from harness.contract.judgement import Judgement
from harness.contract.outcomes import Outcome, worst_outcome
from harness.errors import ContractViolation, GuestPanicked, HalpmcError
from harness.runs.record import ClauseRecord
from harness.runs.record_file import Recorder


class ClauseResults:
    """The results of one cell. `observations` are those of the test that is running."""

    def __init__(self, cell: str, recorder: Recorder) -> None:
        self.observations: list[tuple[str, Any]] = []
        self._cell = cell
        self._recorder = recorder
        self._judgement: Judgement | None = None
        self._outcomes: dict[str, list[tuple[Outcome, str]]] = {}
        self._triage: dict[str, str] = {}

    def observe(self, title: str, value: Any) -> None:
        """Keep what was seen, for the record of the test that is running."""
        self.observations.append((title, value))

    def settle(self, judgement: Judgement) -> None:
        """End the running test the way the judgement says. Raises ContractViolation, or skips with the reason."""
        self._judgement = judgement
        if judgement.outcome is Outcome.FAIL:
            because = f" [{'; '.join(judgement.because)}]" if judgement.because else ""
            raise ContractViolation(f"{judgement.reason}{because}")
        if judgement.outcome is Outcome.SKIPPED:
            pytest.skip(judgement.reason)

    def record(
        self,
        clauses: Iterable[str],
        test: str,
        when: str,
        result: str,
        error: BaseException | None,
        duration_s: float,
    ) -> Outcome:
        """Write one record for each clause of a test that pytest has just reported. Returns its outcome."""
        outcome, reason = self._outcome(when, result, error)
        for name in clauses:
            self._outcomes.setdefault(name, []).append((outcome, reason))
            self._recorder.write(
                ClauseRecord(
                    cell=self._cell,
                    clause=name,
                    test=test.split("[", maxsplit=1)[0],
                    outcome=outcome,
                    reason=reason,
                    observations=tuple(self.observations),
                    duration_s=round(duration_s, 4),
                )
            )
        self._judgement = None
        self.observations.clear()
        return outcome

    def _outcome(self, when: str, result: str, error: BaseException | None) -> tuple[Outcome, str]:
        """The outcome of a finished test and the reason in one line."""
        if result == "passed":
            if self._judgement is None:
                return Outcome.ERROR, "the test ended without judging anything"
            recorded = self._judgement.outcome is Outcome.RECORDED
            return (Outcome.RECORDED, self._judgement.reason) if recorded else (Outcome.PASS, "")
        message = (str(error).splitlines() or [type(error).__name__])[0] if error else result
        if isinstance(error, HalpmcError) and error.message in self._triage:
            message = f"{message} [{self._triage[error.message]}]"
        if result == "skipped":
            return Outcome.SKIPPED, message.removeprefix("Skipped: ")
        if when == "call" and isinstance(error, ContractViolation):
            return Outcome.FAIL, message
        if when == "call" and isinstance(error, GuestPanicked):
            return Outcome.FAIL, f"the guest's kernel died in this test: {message}"
        return Outcome.ERROR, message if isinstance(
            error, HalpmcError
        ) else f"{type(error).__name__}: {message}"

    def explain(self, error: HalpmcError, triage: str) -> None:
        """A line about what was found behind an error: it stands in the reason of the test that this error ends."""
        self._triage[error.message] = triage

    def of_clauses(self) -> dict[str, tuple[Outcome, str]]:
        """The outcome that counts for each clause that tests judged, with its reason."""
        return {name: _counting(results) for name, results in self._outcomes.items()}


def _counting(results: list[tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """Of several tests of one clause."""
    counts = worst_outcome(outcome for outcome, _ in results)
    return next(result for result in results if result[0] is counts)
