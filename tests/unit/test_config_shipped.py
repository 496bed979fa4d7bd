"""Matrices by name: a file counts first, then what comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.load import load_matrix
from harness.config.shipped import find_matrix, first_words, shipped_names, shipped_path
from harness.errors import ConfigError, UsageError
from harness.paths import project_root

DEMO = project_root() / "ci" / "matrices" / "demo.yaml"
HEAD = "schema: 1\nname: mine\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_the_shipped_matrix() -> None:
    assert find_matrix(Path("demo")) == shipped_path("demo") == DEMO
    assert "demo" in shipped_names()


def test_a_file_of_that_name_counts_first_and_a_folder_does_not(elsewhere: Path) -> None:
    (elsewhere / "demo").mkdir()
    assert find_matrix(Path("demo")) == DEMO
    (elsewhere / "demo").rmdir()
    (elsewhere / "demo").write_text(HEAD)
    assert find_matrix(Path("demo")) == Path("demo")


@pytest.mark.parametrize("given", ["demo.yaml", "./here/demo", "ci/matrices/demo.yaml", "..", "/demo"])
def test_a_path_is_no_name(given: str) -> None:
    assert find_matrix(Path(given)) == Path(given)


@pytest.mark.parametrize(
    ("given", "remedy"), [("dmo", "did you mean 'demo'?"), ("qq", "shipped matrices: aarch64, defects, demo")]
)
def test_an_unknown_name_hints_at_what_there_is(given: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_matrix(Path(given))
    assert str(caught.value) == f"there is neither a file nor a shipped matrix {given!r} — {remedy}"


def test_a_matrix_extends_a_shipped_one_by_its_name(elsewhere: Path) -> None:
    path = elsewhere / "mine.yaml"
    path.write_text(f"{HEAD}extends: demo\ndefaults: {{memory_mib: 640}}\n")
    mine, demo = load_matrix(path).cells, load_matrix(DEMO).cells
    assert [cell.id for cell in mine] == [cell.id for cell in demo]
    assert mine != demo


def test_a_file_beside_it_counts_before_the_shipped_one(elsewhere: Path) -> None:
    (elsewhere / "there").mkdir()
    (elsewhere / "there" / "demo").write_text(f"{HEAD}include: [{{id: a, guest: none}}]\n")
    (elsewhere / "there" / "m.yaml").write_text(f"{HEAD}extends: demo\n")
    assert [cell.id for cell in load_matrix(Path("there/m.yaml")).cells] == ["a"]


def test_an_unknown_name_to_extend_is_told_with_its_place(elsewhere: Path) -> None:
    (elsewhere / "m.yaml").write_text(f"{HEAD}extends: dmo\n")
    with pytest.raises(ConfigError, match=r"m\.yaml:3:10: .*shipped matrix 'dmo' — did you mean 'demo'"):
        load_matrix(elsewhere / "m.yaml")


def test_what_it_is_about(elsewhere: Path) -> None:
    assert first_words(DEMO).startswith("The demo: with and without a virtual PMU")
    (elsewhere / "m.yaml").write_text(HEAD)
    assert first_words(elsewhere / "m.yaml") == ""
