"""The catalogue of defects: in form, and as the matrix and the documents have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.defects import DEFECTS, Defect
from harness.config.load import load_matrix
from harness.config.models import Expect, Generation
from harness.contract.clauses import CLAUSES, suite_for
from harness.errors import ConfigError
from harness.paths import project_root

KILLS = project_root() / "ci" / "matrices" / "defects.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "matrix.yaml"
    path.write_text(f"schema: 1\nname: t\n{text}")
    return path


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=list(DEFECTS))
def test_who_promises_can_notice(defect: Defect) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", defect.name)
    assert re.fullmatch(r"[A-Z].*\.", defect.does)
    assert defect.promises and defect.generations
    for generation in defect.generations:
        assert any(generation in CLAUSES[clause].generations for clause in defect.promises), generation
    for cell in load_matrix(KILLS).cells:
        if cell.hal.defect == defect.name:
            assert set(defect.promises) <= set(suite_for(cell))


def test_the_kill_matrix_has_every_defect_in_every_generation_and_the_sound_hal() -> None:
    matrix = load_matrix(KILLS)
    assert matrix.expect is Expect.KILLED
    cells = {(cell.hal.defect, cell.hal.generation) for cell in matrix.cells}
    wanted = {(name, generation) for name, defect in DEFECTS.items() for generation in defect.generations}
    assert len(DEFECTS) >= 30
    assert cells == wanted | {(None, generation) for generation in Generation}
    assert len(matrix.cells) == len(cells), "no cell twice"
    assert {reason.split()[2] for _, reason in matrix.excluded if "does not show" in reason} == {
        name for name, defect in DEFECTS.items() if len(defect.generations) == 1
    }


def test_a_matrix_expects_conformity_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert load_matrix(write(tmp_path, "axes: {cpu: [max]}\n")).expect is Expect.CONFORM
    with pytest.raises(ConfigError, match="3:9: expect"):
        load_matrix(write(tmp_path, "expect: dead\naxes: {cpu: [max]}\n"))


def test_an_unknown_defect_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no defect 'double-gant' — did you mean 'double-grant'"):
        load_matrix(write(tmp_path, "axes: {defect: [null, double-gant]}\n"))
    with pytest.raises(ConfigError, match=r":4:\d+: there is no defect 'nothing'"):
        load_matrix(write(tmp_path, "include:\n  - {id: a, defect: nothing}\n"))


def test_none_is_the_sound_hal_as_ids_and_expressions_call_it(tmp_path: Path) -> None:
    matrix = load_matrix(
        write(tmp_path, "axes: {defect: [none, double-grant]}\ninclude:\n  - {id: a, defect: none}\n")
    )
    assert [cell.hal.defect for cell in matrix.cells if cell.id == "a"] == [None]
    assert {cell.id: cell.hal.defect for cell in matrix.cells if "none" in cell.id} == {
        "embedded-defect_none": None
    }


def test_a_defect_that_would_not_show_is_excluded_or_refused(tmp_path: Path) -> None:
    matrix = load_matrix(
        write(tmp_path, "axes: {generation: [exclusive, shared], defect: [first-of-list]}\n")
    )
    assert [cell.hal.generation for cell in matrix.cells] == [Generation.SHARED]
    ((_, reason),) = matrix.excluded
    assert reason == "the defect first-of-list does not show in the exclusive generation"
    with pytest.raises(ConfigError, match="does not show in the exclusive generation"):
        load_matrix(write(tmp_path, "include: [{id: a, defect: first-of-list, generation: exclusive}]\n"))


def test_the_document_has_the_catalogue() -> None:
    text = (project_root() / "docs" / "defects.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    words = {frozenset(Generation): "both"} | {frozenset({g}): str(g) for g in Generation}
    assert rows == [
        (defect.name, words[defect.generations], ", ".join(defect.promises), defect.does)
        for defect in DEFECTS.values()
    ], "the table is what `python -m harness.config.defects` prints"
