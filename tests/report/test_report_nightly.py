"""A night as mail: its subject says what is new, its JSON follows the schema, and silence never passes for success."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import InfrastructureError
from harness.report.nightly import Nightly, nightly_of
from harness.report.schemas import json_schema
from harness.report.summary import summarize
from harness.runs.retention import only_one, prune
from tests.report.synthetic import START, RunBuilder, demo, guest_cell
from tests.unit.test_cli import halpmc

FREE_2 = {"embedded-max-pmu_on-exclusive-grant": {"FREE-2": Outcome.FAIL}}
ERRORS = {"embedded-max-pmu_on-exclusive-grant": {"FREE-2": Outcome.ERROR}}
MATRIX = Path("ci/matrices/demo.yaml")
UNMET = """\
schema: 1
name: unmet
requires: {qemu: "999"}
include: [{id: one, guest: none, arch: aarch64}]
"""


def night(runs: Path, *defects: dict[str, dict[str, Outcome]]) -> Nightly:
    """The last of some runs of the demo, a day apart."""
    for number, defect in enumerate(defects):
        folder = demo(runs / f"{number}-demo", defect, begin=START + timedelta(days=number))
    found = nightly_of(folder, MATRIX, summarize(folder).exit_code)
    jsonschema.validate(json.loads(found.model_dump_json()), json_schema("nightly"))
    return found


def test_the_first_night_has_nothing_to_compare_with(tmp_path: Path) -> None:
    found = night(tmp_path, {})
    assert found.subject == "halpmc demo: passed: all conform (18 cells)"
    assert (found.exit_code, found.changes, found.compared_with) == (0, None, "")
    assert "first finished run" in found.not_compared
    assert found.run is not None
    assert sum(found.run.verdicts.values()) == 18
    assert found.run.planned == found.run.recorded
    assert str(tmp_path / "0-demo" / "report.html") == found.run.report
    assert "not Windows" in found.text


def test_a_new_violation_is_in_the_subject_and_then_is_as_before(tmp_path: Path) -> None:
    found = night(tmp_path, {}, FREE_2)
    assert found.subject == "halpmc demo: FAILED: newly violated: FREE-2 (18 cells)"
    assert found.exit_code == 1
    assert found.compared_with == "0-demo"
    assert "### Newly violated" in found.text
    assert "| ✗ broken | 1 (1 had another) |" in found.text
    again = night(tmp_path / "again", {}, FREE_2, FREE_2)
    assert again.subject == "halpmc demo: FAILED: contract violation, as before (18 cells)"
    back = night(tmp_path / "back", FREE_2, {})
    assert back.subject == "halpmc demo: passed: fixed: FREE-2 (18 cells)"


def test_what_cannot_be_judged_any_more_is_no_success(tmp_path: Path) -> None:
    found = night(tmp_path, {}, ERRORS)
    assert found.subject == "halpmc demo: NOT JUDGED: 1 result no longer judged (18 cells)"
    assert found.exit_code == 3


def test_a_fixed_run_to_compare_with_and_a_link(tmp_path: Path) -> None:
    night(tmp_path, FREE_2, {}, {})
    found = nightly_of(
        tmp_path / "2-demo", MATRIX, 0, baseline=tmp_path / "0-demo", url="https://ci.example/r/"
    )
    assert found.compared_with == "0-demo"
    assert found.run is not None
    assert found.run.report == "https://ci.example/r/2-demo/report.html"
    assert "fixed: FREE-2" in found.subject


def test_nothing_that_a_guest_says_ends_the_header_of_a_mail(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path / "a", [guest_cell("one")], name="evil", clauses={"one": ("FREE-1",)}, begin=START
    )
    run.cell(
        "one", Verdict.BROKEN, outcomes={"FREE-1": Outcome.FAIL}, reason="x\r\nBcc: all@example.org\n\n# é"
    )
    folder = run.finish(1)
    found = nightly_of(folder, MATRIX, 1, error="broke\r\nBcc: x" + "ä" * 500)
    assert found.subject.isascii()
    assert found.subject.isprintable()
    assert len(found.subject) <= 150
    assert "\nBcc" not in found.text


def test_old_runs_go_only_as_asked_and_never_one_that_goes_on(tmp_path: Path) -> None:
    for number in range(5):
        demo(tmp_path / f"{number}-demo", begin=START + timedelta(days=number))
    other = RunBuilder(tmp_path / "0-other", [guest_cell("one")], name="other")
    other.finish()
    (tmp_path / "notes").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "1-demo")
    said: list[str] = []
    handle = os.open(tmp_path / "1-demo", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        gone = prune(tmp_path, "demo", 2, [tmp_path / "0-demo"], say=said.append)
    finally:
        os.close(handle)
    assert gone == ("2-demo",)
    assert "1-demo still goes on" in said[0]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("0-demo", "1-demo", "3-demo", "4-demo"),
        *("0-other", "notes", "link"),
    }
    assert prune(tmp_path, "demo", 2) == ("1-demo", "0-demo")


def test_two_nights_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "runs", "nightly"),
        pytest.raises(InfrastructureError, match=f"process {os.getpid()} since"),
        only_one(tmp_path / "runs", "nightly"),
    ):
        pytest.fail("both have it")
    with only_one(tmp_path / "runs", "nightly"):
        pass


def matrix_in(folder: Path) -> Path:
    path = folder / "unmet.yaml"
    path.write_text(UNMET)
    return path


def test_the_command_writes_what_it_prints_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    """On a host that cannot run the only cell: nothing was judged, and that is red, every night."""
    runs = tmp_path / "runs"
    command = ("nightly", str(matrix_in(tmp_path)), "--runs-dir", str(runs))
    first = halpmc(*command, "--json")
    assert first.returncode == 3, first.stderr
    found = json.loads(first.stdout)
    jsonschema.validate(found, json_schema("nightly"))
    [folder] = runs.glob("*-unmet")
    assert json.loads((folder / "nightly.json").read_text()) == found
    assert found["exit_code"] == 3
    assert found["run"]["folder"] == folder.name
    assert found["run"]["skipped"] == 1
    assert found["subject"].startswith("halpmc unmet: NOT JUDGED:")
    second = halpmc(*command, "--keep", "2")
    assert second.returncode == 3
    assert second.stdout.startswith("# halpmc unmet: NOT JUDGED:")
    assert f"What changed since {folder.name}" in second.stdout.replace("\\", "")
    assert len(list(runs.glob("*-unmet"))) == 2
    third = json.loads(halpmc(*command, "--keep", "2", "--json").stdout)
    assert third["pruned"] == [folder.name]
    assert not folder.exists()


def test_a_night_draws_a_thousand_sequences_with_the_date_as_their_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as HALPMC_SEQUENCES says, and as --sequences says before that."""
    told: list[tuple[int | None, int | None]] = []
    monkeypatch.setattr("harness.commands.nightly.search_in_cells", lambda *numbers: told.append(numbers))
    command = ["nightly", str(matrix_in(tmp_path)), "--runs-dir", str(tmp_path / "runs")]

    def night(*options: str, **environment: str) -> tuple[int | None, int | None]:
        assert CliRunner().invoke(app, [*command, *options], env=environment).exit_code == 3
        return told[-1]

    today = {int(f"{datetime.now(UTC):%Y%m%d}")}
    sequences, seed = night()
    assert sequences == 1000
    assert seed in today | {int(f"{datetime.now(UTC):%Y%m%d}")}
    assert night(HALPMC_SEQUENCES="5", HALPMC_SEED="8") == (5, 8)
    assert night("--sequences", "6", "--seed", "0", HALPMC_SEQUENCES="5") == (6, 0)


def test_a_night_in_which_nothing_could_run_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("schema: 1\nname: broken\n")
    done = halpmc("nightly", str(broken), "--runs-dir", str(tmp_path / "runs"), "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    jsonschema.validate(found, json_schema("nightly"))
    assert found["run"] is None
    assert found["subject"].startswith("halpmc broken: did not run: ")
    assert "broken.yaml:1:" in done.stderr
    with only_one(tmp_path / "runs", "nightly"):
        busy = halpmc("nightly", str(matrix_in(tmp_path)), "--runs-dir", str(tmp_path / "runs"))
    assert busy.returncode == 3
    assert "still goes on" in busy.stdout
    wrong = halpmc("nightly", str(matrix_in(tmp_path)), "--baseline", str(tmp_path / "nope"))
    assert wrong.returncode == 2
