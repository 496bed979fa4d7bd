"""What the user sees when something dies, hangs or lies: rows of docs/faults.md, with real VMs inside a real cell."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.contract.outcomes import Outcome
from harness.paths import project_root
from harness.runs.record import ClauseRecord
from harness.runs.record_file import read_records

SUITE = Path(__file__).with_name("fault_suite.py")


@dataclass(frozen=True)
class Row:
    """What is expected of a test of the suite: outcome, words of its reason, and of the triage if there is evidence."""

    outcome: Outcome
    words: str
    triage: str = ""


ROWS = {
    "test_qemu_killed_while_idle": Row(Outcome.ERROR, "QEMU died (killed by SIGKILL)", "QEMU is gone"),
    "test_qemu_killed_in_the_middle_of_a_command": Row(
        Outcome.ERROR, "QEMU died (killed by SIGKILL)", "QEMU is gone"
    ),
    "test_qemu_stopped_by_a_signal": Row(Outcome.ERROR, "no answer within 3.0 s", "QEMU"),
    "test_the_guests_kernel_panics": Row(Outcome.FAIL, "the guest's kernel panicked", "panic"),
    "test_the_guest_freezes": Row(Outcome.ERROR, "no answer within 3.0 s", "the guest hangs"),
    "test_a_service_is_marked_for_deletion": Row(
        Outcome.ERROR, "CreateService failed with win32 error 1072", "guest"
    ),
    "test_the_client_is_gone": Row(Outcome.ERROR, "no answer within 3.0 s", "guest"),
    "test_the_drivers_file_is_missing": Row(
        Outcome.ERROR, "StartService failed with win32 error 1114", "guest"
    ),
    "test_a_service_of_that_name_is_there": Row(
        Outcome.ERROR, "CreateService failed with win32 error 1073", "guest"
    ),
    "test_the_guest_shuts_itself_down": Row(Outcome.ERROR, "the guest shut itself down", "guest"),
    "test_qemu_pauses_the_guest": Row(Outcome.ERROR, "QEMU stopped the guest: paused", "paused"),
    "test_that_judges_nothing": Row(Outcome.ERROR, "without judging anything"),
    "test_with_a_mistake_of_its_own": Row(Outcome.ERROR, "ZeroDivisionError: a mistake"),
}


@dataclass(frozen=True)
class Ended:
    """The run of the suite: its folder, its records by test, what pytest printed, and the processes it left."""

    folder: Path
    records: dict[str, ClauseRecord]
    output: str
    status: int
    left: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    home = tmp_path_factory.mktemp("faults")
    matrix = home / "matrix.yaml"
    matrix.write_text(
        "schema: 1\nname: faults\ninclude:\n  - {id: faults, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg}\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(SUITE), "-p", "no:cacheprovider", "-q"),
            *(f"--halpmc-matrix={matrix}", f"--halpmc-runs-dir={home / 'runs'}"),
        ],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    (folder,) = (home / "runs").glob("*/")
    records = {
        record.test.rpartition("::")[2]: record
        for record in read_records(folder)
        if isinstance(record, ClauseRecord)
    }
    left = [
        " ".join(process.info["cmdline"])[:200]
        for process in psutil.process_iter(["cmdline"])
        if any(str(home) in argument for argument in process.info["cmdline"] or ())
    ]
    return Ended(folder, records, done.stdout + done.stderr, done.returncode, left)


@pytest.mark.parametrize("test", ROWS)
def test_the_user_sees(test: str, ended: Ended) -> None:
    row = ROWS[test]
    record = ended.records[test]
    assert record.outcome is row.outcome, record.reason
    assert row.words in record.reason
    evidence = ended.folder / "cells" / "faults" / "evidence" / test
    if not row.triage:
        assert not evidence.exists(), "there is nothing to be learned from the machine"
        return
    index = json.loads((evidence / "index.json").read_text())
    assert row.triage in index["triage"]
    assert index["triage"] in record.reason
    assert index["seconds"] <= index["budget_s"]
    assert all((evidence / file["name"]).stat().st_size == file["size"] for file in index["files"])
    assert str(evidence.relative_to(ended.folder)) in ended.output


def test_every_fault_of_the_suite_has_its_row(ended: Ended) -> None:
    assert set(ended.records) == set(ROWS)


def test_a_guest_that_crashed_was_booted_again(ended: Ended) -> None:
    """To fetch what it kept of the crash: Linux's own panic leaves no dump, and the index says so."""
    evidence = ended.folder / "cells" / "faults" / "evidence" / "test_the_guests_kernel_panics"
    notes = {note["step"]: note["why"] for note in json.loads((evidence / "index.json").read_text())["notes"]}
    assert notes[r"C:\windows\Minidump"].startswith("nothing newer than ")


def test_nothing_is_left_and_the_run_is_red(ended: Ended) -> None:
    assert ended.left == []
    assert ended.status == 1
    summary = json.loads((ended.folder / "summary.json").read_text())
    assert summary["exit_code"] == 1
    assert summary["finished"]
    assert summary["recorded"] == summary["planned"] == len(ROWS)


def test_each_fault_had_a_vm_of_its_own(ended: Ended) -> None:
    """A fault in one test is none in the next: the first test's dead VM is not the second one's."""
    folders = {path.name for path in (ended.folder / "cells" / "faults" / "tests").iterdir()}
    assert folders == set(ROWS)
