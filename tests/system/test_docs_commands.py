"""The commands of README.md and docs/ that need the folder of a run or boot a VM: one run serves all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.paths import cache_dir
from tests.documents.desk import Desk, execute, make_desk
from tests.documents.forms import Executed, Place
from tests.documents.rows import ROWS

HERE = [row for row in ROWS if isinstance(row, Executed) and row.at is Place.RUN]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With two runs: runs/RUN of a probe and a guest, and runs/NEW of the probe alone."""
    made = make_desk(tmp_path_factory.mktemp("desk"), own_cache=False)
    for name, options in (("RUN", ""), ("NEW", " --cell probe")):
        done = made.bash(
            f"halpmc run docs.yaml{options} --runs-dir new && mv new/*-docs runs/{name} && rm -r new"
        )
        assert done.returncode == 0, done.stdout
    assert "HALPMC_CACHE" not in made.environment, f"{cache_dir()} is the one in use"
    return made


@pytest.mark.parametrize("row", HERE, ids=lambda row: row.command)
def test_it_runs_beside_a_run_and_with_vms(row: Executed, desk: Desk, tmp_path: Path) -> None:
    execute(row, desk.copy(tmp_path / "desk"))
