"""The kill matrix on real VMs: some of the catalogue, of each kind one; and a defect that nobody can notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.contract.outcomes import Outcome, Verdict
from harness.paths import project_root
from harness.report.summary import Summary

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

#: Defects in a generation, and clauses that have to notice.
PICKED = {
    ("null-not-written", "exclusive"): {"ALLOC-2", "ALLOC-3", "ALLOC-4"},
    ("race-window", "exclusive"): {"ALLOC-6"},
    ("only-its-thread-frees", "shared"): {"FREE-6"},  # by a record that differs from the sound HAL's
    ("double-free-hangs", "shared"): {"FREE-2"},
    ("list-partly-granted", "shared"): {"SHARE-6"},
}


def test_some_of_each_kind_are_noticed_and_the_sound_hal_conforms(run_matrix: RunMatrix) -> None:
    cells = [f"embedded-{generation}-defect_{defect}" for defect, generation in PICKED]
    sound = [f"embedded-{generation}-defect_none" for generation in ("exclusive", "shared")]
    options = [word for cell in (*cells, *sound) for word in ("--cell", cell)]
    code, summary, output = run_matrix(project_root() / "ci" / "matrices" / "defects.yaml", *options)
    seen = {(kill.defect, kill.generation): kill for kill in summary.defects}
    missed = {
        name: sorted(expected - set(seen[name].killed_by))
        for name, expected in PICKED.items()
        if not expected <= set(seen[name].killed_by)
    }
    assert missed == {}, output
    assert code == 0, output
    assert summary.recorded == summary.planned
    verdicts = {cell.id: cell.verdict for cell in summary.cells if cell.id in sound}
    assert verdicts == dict.fromkeys(sound, Verdict.PHANTOM)
    hang = next(cell for cell in summary.cells if "hangs" in cell.id)
    assert hang.clauses["FREE-2"] is Outcome.FAIL
    assert "did not return within" in hang.clause_reasons["FREE-2"]
    assert hang.clauses["FREE-6"] is Outcome.RECORDED, "the hang took nothing else along"
    assert "FREE-6" in seen["only-its-thread-frees", "shared"].changed
    assert "double-free-hangs (shared)" in output


def test_a_defect_that_nobody_can_notice_is_red(write_matrix: WriteMatrix, run_matrix: RunMatrix) -> None:
    """Where nothing is ever granted, nothing can be freed twice: the clause is skipped, and that is no green."""
    matrix = write_matrix(
        "expect: killed\ninclude:\n"
        "  - {id: blind, cpu: Nehalem, pmu: off, without_pmu: refuse, defect: double-free-accepted, suite: [basic]}\n"
    )
    code, summary, output = run_matrix(matrix)
    assert code == 3, output
    assert [(kill.survived, kill.judged) for kill in summary.defects] == [(True, False)]
    assert "ALIVE" in output and "could not be judged in the shared generation" in output
