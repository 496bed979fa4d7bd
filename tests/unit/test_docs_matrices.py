"""docs/matrices.md: every matrix in it loads and is what the text says; every command in it does what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest

from harness.config.document import read_document
from harness.config.load import load_matrix, matrix_json_schema
from harness.config.matrix import Matrix
from harness.config.requirements import Requirements
from harness.contract.clauses import CLAUSES
from harness.paths import project_root
from tests.unit.test_cli import halpmc

TEXT = (project_root() / "docs" / "matrices.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
NAMES = [re.search(r"^name: (\w+)", example, re.MULTILINE) for example in EXAMPLES]
BY_NAME = {name[1]: example for name, example in zip(NAMES, EXAMPLES, strict=True) if name}
COMMANDS = [
    line.partition("#")[0].strip() for line in re.findall(r"^ {4}(halpmc plan .*)$", TEXT, re.MULTILINE)
]


@pytest.fixture
def load(tmp_path: Path) -> dict[str, Matrix]:
    (tmp_path / "ci").symlink_to(project_root() / "ci")
    (tmp_path / "mine").mkdir()
    loaded = {}
    for name, text in BY_NAME.items():
        path = tmp_path / "mine" / f"{name}.yaml"
        path.write_text(text)
        loaded[name] = load_matrix(path, clauses=CLAUSES)
    return loaded


def test_every_example_is_found() -> None:
    assert len(BY_NAME) == len(EXAMPLES) == TEXT.count("```yaml") == 6
    assert len(COMMANDS) == 7


def test_every_example_loads_and_is_what_the_text_says(load: dict[str, Matrix]) -> None:
    assert [cell.id for cell in load["first"].cells] == [
        "embedded-max-pmu_off",
        "embedded-nehalem-pmu_off",
        "embedded-nehalem-pmu_on",
        "probe",
    ]
    windows = {cell.id: cell for cell in load["windows"].cells}
    assert len(windows) == 6
    assert (windows["groups"].group_size, windows["starved"].starve_pmu) == (2, True)
    lab = {cell.id: cell for cell in load["lab"].cells}
    assert lab["probe-host-pmu_on"].memory_mib == 128
    traits = load["lab"].traits_of(lab["embedded-host-pmu_on"])
    assert traits.requires == Requirements.model_validate(
        {"kvm": True, "vpmu": True, "cpu_vendor": "intel", "memory_mib": 2048, "guest": "present"}
    )
    assert load["lab"].traits_of(lab["probe-host-pmu_off"]).tags == ("nightly", "quick")
    assert load["pairs"].strategy.endswith("of 72 combinations (seed 7)")
    assert 9 <= len(load["pairs"].cells) <= 12
    assert load["known"].known_issues[0].clauses == ("FREE-2",)
    assert {
        cell.memory_mib for cell in load["mine"].cells if not cell.id.startswith(("arm64", "aarch64"))
    } == {768}
    assert all(load["mine"].traits_of(cell).tags == ("mine",) for cell in load["mine"].cells)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_example_is_valid_for_editors(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(BY_NAME[name])
    jsonschema.validate(read_document(path).data, matrix_json_schema())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_plan_in_the_text_works_and_touches_nothing(command: str, tmp_path: Path) -> None:
    """Without QEMU, without a cache: nothing is there that a VM would need. git alone is, for --since."""
    _, *words = shlex.split(command)
    words = [str(project_root() / word) if word.startswith("ci/") else word for word in words]
    cache = tmp_path / "cache"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to("/usr/bin/git")
    done = halpmc(
        *words, "--runs-dir", str(tmp_path / "runs"), PATH=str(tmp_path / "bin"), HALPMC_CACHE=str(cache)
    )
    assert done.returncode == 0, done.stderr
    assert "expected" in done.stdout
    assert not cache.exists()
    assert not (tmp_path / "runs").exists()
    if "--json" in words:
        assert json.loads(done.stdout)["selection"].startswith("shard 1 of 3 of the partition ")
