"""Runs that are interrupted once, or killed, and go on; and runs of what failed. Real processes, real probe VMs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.contract.outcomes import Verdict
from harness.deadlines import Deadline, wait_for
from harness.report.summary import Summary, summarize
from harness.runs.record import CellEndRecord, PhaseRecord, RunRecord
from harness.runs.record_file import read_records
from tests.system.conftest import HALPMC
from tests.system.test_signals import started
from tests.system.wrapped_qemu import gated

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

NAMES = ("one", "two", "three")
CELLS = "include:\n" + "".join(
    f"  - {{id: {name}, guest: none, arch: x86_64, accel: tcg, cpu: max, pmu: off, memory_mib: 64}}\n"
    for name in NAMES
)


def halpmc(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HALPMC, *map(str, words)], capture_output=True, text=True, timeout=300, check=False
    )


def verdicts(summary: Summary) -> dict[str, Verdict]:
    return {cell.id: cell.verdict for cell in summary.cells}


def test_ctrl_c_once_lets_the_running_cell_end_and_the_run_goes_on_later(
    write_matrix: WriteMatrix, tmp_path: Path
) -> None:
    qemu = gated(tmp_path, "-kernel", at=1)
    with started(tmp_path, write_matrix(CELLS), qemu, options="-j 1") as harness:
        harness.wait_for_start(1)
        harness.process.send_signal(signal.SIGINT)
        harness.wait_until("it knows of Ctrl-C", lambda: "Ctrl-C again stops now" in harness.output)
        assert "1 running cells end first, 2 are not started" in harness.output
        (tmp_path / "gate").touch()
        assert harness.process.wait(120) == 130, harness.output
        folder = harness.folder
        assert f"to go on: halpmc run --resume {folder}" in harness.output
    summary = summarize(folder)
    assert summary.exit_code == 3
    (ended,) = [record.cell for record in read_records(folder) if isinstance(record, CellEndRecord)]
    assert ended == "one", "the one that ran came to its end; costs are alike, hence the order of the ids"
    assert verdicts(summary) == {"one": Verdict.ABSENT, "three": Verdict.UNKNOWN, "two": Verdict.UNKNOWN}

    done = halpmc("run", "--resume", folder, "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summarize(folder)
    assert set(verdicts(summary).values()) == {Verdict.ABSENT}
    assert (summary.recorded, summary.planned, summary.finished) == (6, 6, True)
    assert not any(cell.retries for cell in summary.cells), "no cell was cut off"
    assert len([r for r in read_records(folder) if isinstance(r, RunRecord)]) == 1
    timed = [r.cell for r in read_records(folder) if isinstance(r, PhaseRecord) and r.name == "process"]
    assert sorted(timed) == sorted(NAMES), "each cell ran once"
    done = halpmc("run", "--resume", folder)
    assert (done.returncode, "nothing to resume" in done.stderr) == (2, True)


def test_a_killed_run_goes_on_and_shows_which_cell_ran_again(
    write_matrix: WriteMatrix, tmp_path: Path
) -> None:
    qemu = gated(tmp_path, "-kernel", at=2)
    with started(tmp_path, write_matrix(CELLS), qemu, options="-j 1") as harness:
        harness.wait_for_start(2)
        beside = halpmc("run", "--resume", harness.folder)
        assert (beside.returncode, "still goes on" in beside.stderr) == (2, True)
        harness.process.kill()
        harness.process.wait(30)
        folder = harness.folder

        def gone(deadline: Deadline) -> bool | None:
            deadline.last_seen = "; ".join(harness.left())
            return not deadline.last_seen or None

        wait_for("end of all processes", 20, gone)
    done = halpmc("run", "--resume", folder, "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = {cell.id: cell for cell in summarize(folder).cells}
    assert {cell.verdict for cell in cells.values()} == {Verdict.ABSENT}
    (retry,) = cells["three"].retries
    assert "it ran again from its beginning" in retry.message
    assert (folder / retry.evidence["folder"] / "config.json").is_file()
    assert not cells["one"].retries
    assert "RETRY" in done.stdout


def test_the_cells_that_failed_run_again_in_a_run_of_their_own(
    write_matrix: WriteMatrix, run_matrix: RunMatrix, tmp_path: Path
) -> None:
    huge = "  - {id: huge, guest: none, arch: x86_64, accel: tcg, memory_mib: 1048576}\n"
    code, _, output = run_matrix(write_matrix(CELLS + huge), "--cells", "id=huge or id=two")
    assert code == 3, output
    (folder,) = (tmp_path / "runs").glob("*/")
    again = tmp_path / "again"
    done = halpmc("run", "--rerun-failed", folder, "--runs-dir", again)
    assert done.returncode == 3, done.stdout + done.stderr
    (second,) = again.glob("*/")
    assert list(verdicts(summarize(second))) == ["huge"]
    assert summarize(second).selection == f"1 cells that failed in {folder.name}"
    code, _, output = run_matrix(write_matrix(CELLS), "--cell", "one")
    assert code == 0, output
    good = max((tmp_path / "runs").glob("*/"))
    done = halpmc("run", "--rerun-failed", good)
    assert (done.returncode, "failed" in done.stderr) == (2, True)


def test_some_clauses_of_a_cell_are_a_partial_plan_and_nothing_else_is_recorded(
    write_matrix: WriteMatrix, tmp_path: Path
) -> None:
    """--since in a checkout of its own, whose rules concern the probe's clause alone."""
    folder = tmp_path / "checkout"
    (folder / "ci").mkdir(parents=True)
    (folder / "ci" / "changes.yaml").write_text(
        "schema: 1\nrules:\n  - {files: [a.txt], cells: id=two}\n  - {files: ['**'], concerns: nothing}\n"
    )
    (folder / "m.yaml").write_text(write_matrix(CELLS).read_text())
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)
    command = ("run", folder / "m.yaml", "--since", "HEAD", "--runs-dir", tmp_path / "since")
    done = halpmc(*command)
    assert (done.returncode, done.stdout.startswith("nothing to run: 0 changed files")) == (0, True)
    (folder / "a.txt").write_text("new")
    done = halpmc(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "since").glob("*/")
    assert verdicts(summarize(run)) == {"two": Verdict.ABSENT}
    assert "1 of 3 cells (--since HEAD)" in done.stdout
