"""What is tried again and how often, and that each try is told: templates that cannot be restored, clones, boots."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.load import load_guest, load_matrix
from harness.config.matrix import Matrix
from harness.contract.outcomes import Verdict
from harness.errors import DeadlineExceeded, QemuError
from harness.paths import project_root
from harness.report.findings import findings
from harness.report.summary import Summary, summarize
from harness.runs import cell as cells
from harness.runs import client_sessions
from harness.runs import start as starts
from harness.runs.cell import CellRun
from harness.runs.folder import cell_folder
from harness.runs.plan import plan_run
from harness.runs.record import ClauseRecord, IncidentRecord
from harness.runs.record_file import Recorder, read_records
from harness.runs.start import GuestStarter
from harness.vm.state import Mechanism
from harness.vm.template import MANIFEST, STREAM
from harness.vm.vm import Vm
from tests.system.conftest import cache_without_templates
from tests.system.wrapped_qemu import refusing

WriteMatrix = Callable[[str], Path]

CELL = "include:\n  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg}\n"
SUITE = Path(__file__).with_name("retry_suite.py")


class AtOnce(GuestStarter):
    """Its templates are of the embedded machine as it was switched on: nobody waits until it has booted."""

    def _ready(self, vm: Vm, folder: Path) -> None:
        vm.check()


@pytest.fixture
def matrix(write_matrix: WriteMatrix) -> Matrix:
    return load_matrix(write_matrix(CELL))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose templates are this test's own."""
    folder = cache_without_templates(tmp_path)
    monkeypatch.setenv("HALPMC_CACHE", str(folder))
    return folder


def starter(matrix: Matrix, devices: tuple[str, ...] = ()) -> GuestStarter:
    (cell,) = matrix.cells
    definition = load_guest("embedded")
    definition = definition.model_copy(update={"devices": (*definition.devices, *devices)})
    return AtOnce(cell, definition, accel=cell.accel)


def only_template(cache: Path) -> Path:
    (template,) = [path for path in (cache / "templates").iterdir() if path.is_dir()]
    return template


def spoil(template: Path) -> None:
    """Damage the state so that no look at the files tells: as a faulty disk, or a QEMU that cannot read its own."""
    stream, manifest = template / STREAM, template / MANIFEST
    stream.write_bytes(stream.read_bytes()[:1000] + b"garbage" * 100)
    told = json.loads(manifest.read_text())
    status, digest = stream.stat(), hashlib.sha256(stream.read_bytes()).hexdigest()
    told["files"][STREAM] = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest}
    manifest.write_text(json.dumps(told))


def test_a_template_that_cannot_be_restored_is_made_anew(cache: Path, matrix: Matrix, tmp_path: Path) -> None:
    starter(matrix).prepare(tmp_path)
    spoil(only_template(cache))
    second = starter(matrix)
    second.prepare(tmp_path)
    assert second.how == "clone"
    (incident,) = second.incidents
    assert "the template could not be restored: QEMU could not take up the saved state" in incident.message
    third = starter(matrix)
    third.prepare(tmp_path)
    assert (third.how, third.incidents) == ("clone", [])


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_template_is_made_anew(damage: str, cache: Path, matrix: Matrix, tmp_path: Path) -> None:
    starter(matrix).prepare(tmp_path)
    stream = only_template(cache) / STREAM
    if damage == "truncated":
        os.truncate(stream, 1000)
    else:
        stream.unlink()
    second = starter(matrix)
    second.prepare(tmp_path)
    assert second.how == "clone"
    (incident,) = second.incidents
    assert "template" in incident.message


@pytest.mark.usefixtures("cache")
def test_where_ram_cannot_be_a_file_the_state_is_a_snapshot(
    matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", refusing(tmp_path, "memory-backend-file").path)
    fallen_back = starter(matrix)
    fallen_back.prepare(tmp_path)
    why = "ram-file: QEMU refused the machine (exit status 1): qemu: refused for the test"
    assert fallen_back.how == f"clone (snapshot, since {why})"
    assert fallen_back.provenance()["start"] == fallen_back.how
    assert fallen_back.provenance()["isolation"] == "a pristine clone per test"
    assert len(fallen_back.incidents) == 1


@pytest.mark.usefixtures("cache")
def test_where_qemu_cannot_save_at_all_guests_boot_cold(matrix: Matrix, tmp_path: Path) -> None:
    """A device that no QEMU can save refuses both mechanisms."""
    cold = starter(matrix, devices=("nvme,serial=1",))
    cold.prepare(tmp_path)
    assert cold.how.startswith(f"cold ({Mechanism.SNAPSHOT}: QEMU cannot save this machine: ")
    assert "nvme" in cold.how
    assert [type(error) for error in cold.incidents] == [QemuError, QemuError]
    assert cold.provenance()["isolation"] == "one VM for all tests"


def test_the_record_of_a_cell_tells_every_try(
    cache: Path, matrix: Matrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template is made anew; then the guest never answers, which is tried twice and costs the cell its verdict."""
    starter(matrix).prepare(tmp_path)
    spoil(only_template(cache))
    monkeypatch.setattr(cells, "GuestStarter", AtOnce)
    monkeypatch.setattr(starts, "EVIDENCE_S", 1.0)
    monkeypatch.setattr(client_sessions, "LANE_S", 0.1)
    run = tmp_path / "run"
    run.mkdir()
    recorder = Recorder(run)
    recorder.write(plan_run(matrix, matrix.cells))
    running = CellRun(matrix.cells[0], cell_folder(run, "embedded"), recorder)
    running.probe()
    for test in ("one", "two"):  # the second one is told at once what became of the first
        with pytest.raises(DeadlineExceeded, match="hello"), running.guest(test):
            pass
    running.finish()
    recorder.close()
    incidents = [record for record in read_records(run) if isinstance(record, IncidentRecord)]
    assert [record.retried for record in incidents] == [True, True, False]
    assert "could not be restored" in incidents[0].message
    evidence = [record.evidence["evidence"] for record in incidents[1:]]
    assert evidence == ["cells/embedded/evidence/start", "cells/embedded/evidence/start-2"]
    assert all((run / folder / "index.json").exists() for folder in evidence)
    summary = summarize(run)
    assert (summary.cells[0].verdict, summary.exit_code) == (Verdict.UNKNOWN, 3)
    assert "hello" in summary.cells[0].reason
    assert "could not be restored" in " ".join(retried(summary))


def retried(summary: Summary) -> list[str]:
    return [finding.reason for finding in findings(summary) if finding.kind == "retried"]


def test_a_clone_that_does_not_start_is_tried_once_more(write_matrix: WriteMatrix, tmp_path: Path) -> None:
    """Starts 1 and 2 prove the template and ask for the cell's facts; then each test has a clone of its own."""
    qemu = refusing(tmp_path, "-incoming", at="[356]")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(SUITE), "-p", "no:cacheprovider", "-q"),
            *(f"--halpmc-matrix={write_matrix(CELL)}", f"--halpmc-runs-dir={tmp_path / 'runs'}"),
        ],
        cwd=project_root(),
        env=os.environ | {"PATH": qemu.path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    (folder,) = (tmp_path / "runs").glob("*/")
    reasons = {r.clause: r.reason for r in read_records(folder) if isinstance(r, ClauseRecord)}
    judged_nothing = "the test ended without judging anything"  # it came to its end: the guest was there
    assert reasons["ALLOC-1"] == reasons["ALLOC-3"] == judged_nothing
    assert "qemu: refused for the test" in reasons["ALLOC-2"]
    assert qemu.matched == 7, "two tries and no more"
    incidents = [record for record in read_records(folder) if isinstance(record, IncidentRecord)]
    assert [record.retried for record in incidents] == [True, True, False]
    assert {record.branch for record in incidents} == {"infrastructure"}
    summary = summarize(folder)
    assert summary.exit_code == 3
    assert "refused for the test" in " ".join(retried(summary))
    assert "RETRY QEMU refused the machine" in done.stdout
