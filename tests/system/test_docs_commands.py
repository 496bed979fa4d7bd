"""The commands of README.md and docs/ that need the folder of a run or boot a VM: one run serves all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.desk import Desk, execute, make_desk
from tests.documents.forms import Executed, Place
from tests.documents.rows import ROWS

(FIRST,) = (row for row in ROWS if isinstance(row, Executed) and row.at is Place.FIRST)
HERE = [row for row in ROWS if isinstance(row, Executed) and row.at is Place.RUN]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With two runs: runs/RUN of a probe and a guest, made by docs/first-run.md's command, and runs/NEW of a probe."""
    made = make_desk(tmp_path_factory.mktemp("desk"), own_cache=False)
    execute(FIRST, made)
    done = made.bash(
        "mv runs/*-demo RUN && rm -r runs && halpmc run MATRIX --runs-dir new && mv new/*-docs NEW"
    )
    assert done.returncode == 0, done.stdout
    done = made.bash("rm -r new && mkdir runs && mv RUN NEW runs/")
    assert done.returncode == 0, done.stdout
    return made


@pytest.mark.usefixtures("desk")
def test_the_first_run_is_as_its_page_says() -> None:
    """The fixture has executed it."""


@pytest.mark.parametrize("row", HERE, ids=lambda row: row.command)
def test_it_runs_beside_a_run_and_with_vms(row: Executed, desk: Desk, tmp_path: Path) -> None:
    execute(row, desk.copy(tmp_path / "desk"))
