"""A lab as docs/lab.md has it: dask's own scheduler, `halpmc worker` processes, `halpmc run`, and VMs in the cells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.contract.outcomes import Verdict
from harness.deadlines import Deadline, wait_for
from harness.driver.build import build_driver
from harness.imaging.store import find_guest
from harness.paths import cache_dir
from harness.probe.build import build_probe
from harness.report.loading import load_run
from harness.report.summary import summarize
from harness.runs.record import CellEndRecord, CellRecord, IncidentRecord
from harness.runs.record_file import tail_records
from tests.system.conftest import HALPMC

WriteMatrix = Callable[[str], Path]
STEP_S = 120.0
RUN_S = 600.0

PROBES = "include:\n" + "".join(f"  - {{id: probe{n}, guest: none, accel: tcg}}\n" for n in range(4))
PICKY = """include:
  - {id: anywhere, guest: none, accel: tcg}
  - {id: elsewhere, guest: none, accel: tcg, requires: {cpus: 5000}}
"""
EMBEDDED = (
    "include:\n  - {id: embedded, guest: embedded, accel: tcg, cpu: Nehalem, pmu: off, suite: [basic]}\n"
)


class Lab:
    """Processes of a lab on this host, and of one run on it."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self._stack = stack
        file = home / "scheduler.json"
        self.start(
            "scheduler",
            *(sys.executable, "-m", "dask", "scheduler", "--host", "tcp://127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(file)),
        )
        self.address = wait_for("scheduler", STEP_S, lambda _: _address(file))

    def start(
        self, name: str, *argv: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.home / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._stack.callback(process.wait, STEP_S)
        self._stack.callback(process.kill)
        return process

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def worker(self, name: str, *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        argv = [*HALPMC, "worker", self.address, "--name", name, "--slots", "1"]
        return self.start(name, *argv, environment=environment)

    def ready(self, *names: str) -> None:
        def look(deadline: Deadline) -> bool | None:
            deadline.last_seen = "; ".join(self.log(name) for name in names)
            return True if all("is ready" in self.log(name) for name in names) else None

        wait_for("workers", STEP_S, look)

    def run(self, matrix: Path, *more: str) -> subprocess.Popen[bytes]:
        options = ["--executor", "dask", "--scheduler", self.address, "--runs-dir", str(self.home / "runs")]
        return self.start("run", *HALPMC, "run", str(matrix), *options, *more)

    @property
    def folder(self) -> Path | None:
        """The run's folder, as soon as it has records."""
        return next((path.parent for path in (self.home / "runs").glob("*/records.jsonl")), None)


def _address(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return None


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Lab, None, None]:
    with ExitStack() as stack:
        yield Lab(tmp_path, stack)


def running_on(folder: Path | None, worker: str) -> str | None:
    """A cell that has begun on that worker and has not ended."""
    records = tail_records(folder, 0)[0] if folder else []
    ended = {record.cell for record in records if isinstance(record, CellEndRecord)}
    placed = (
        record.cell
        for record in records
        if isinstance(record, CellRecord) and record.provenance.get("worker") == worker
    )
    return next((cell for cell in placed if cell not in ended), None)


def test_a_run_on_two_workers_of_which_one_is_killed_is_complete_and_shows_it(
    lab: Lab, write_matrix: WriteMatrix
) -> None:
    first = lab.worker("first")
    lab.worker("second")
    lab.ready("first", "second")
    run = lab.run(write_matrix(PROBES))
    cell = wait_for("a cell on the first worker", RUN_S, lambda _: running_on(lab.folder, "first"))
    first.send_signal(signal.SIGKILL)
    assert run.wait(RUN_S) == 0, lab.log("run")
    folder = lab.folder
    assert folder is not None
    view, summary = load_run(folder), summarize(folder)
    assert view.damage == ()
    assert summary.recorded == summary.planned == 8
    assert {found.verdict for found in summary.cells} == {Verdict.ABSENT}
    assert [found.id for found in summary.cells if found.retries] == [cell]
    (retry,) = view.cells[cell].retries
    assert (retry.branch, retry.restarted) == ("infrastructure", True)
    assert "worker first (tcp://127.0.0.1:" in retry.message
    assert view.cells[cell].provenance["worker"] == "second"
    assert {found.provenance["worker"] for found in summary.cells} <= {"first", "second"}
    for found in summary.cells:
        left = folder / "cells" / found.id
        assert "passed" in (left / "pytest.log").read_text()
        assert json.loads((left / "config.json").read_text())["id"] == found.id
    for report in ("report.html", "report.md"):
        assert "was lost while it ran this cell" in (folder / report).read_text(), report
    assert "RETRY" in lab.log("run")
    assert "worker first" in lab.log("run")


def test_a_cell_that_neither_of_two_workers_can_run_is_skipped_with_what_each_has(
    lab: Lab, write_matrix: WriteMatrix
) -> None:
    """The second worker comes after the run has begun to wait: the cells are judged by both."""
    lab.worker("first")
    lab.ready("first")
    run = lab.run(write_matrix(PICKY), "--workers", "2")
    wait_for("the run's word", STEP_S, lambda _: "waiting for 2 workers" in lab.log("run") or None)
    lab.worker("second")
    assert run.wait(RUN_S) == 0, lab.log("run")
    folder = lab.folder
    assert folder is not None
    view, summary = load_run(folder), summarize(folder)
    assert view.damage == ()
    [left] = summary.skipped
    assert left.id == "elsewhere"
    reason = r"requires cpus 5000: first \(the host has \d+\), second \(the host has \d+\)"
    assert re.fullmatch(reason, left.reason)
    assert [(found.id, found.verdict, found.incidents) for found in summary.cells] == [
        ("anywhere", Verdict.ABSENT, ())
    ]
    assert summary.recorded == summary.planned == 2
    for report in ("report.html", "report.md"):
        assert "requires cpus 5000: first (" in (folder / report).read_text(), report
    assert "SKIP" in lab.log("run")


def test_a_guest_boots_from_an_image_that_was_fetched(lab: Lab, write_matrix: WriteMatrix) -> None:
    """The worker has drivers and probe, but no guest: as a new host of a lab after its first cell without one."""
    image = find_guest("embedded")
    build_driver(Arch.X86_64)
    build_probe(Arch.X86_64)
    cache = lab.home / "cache"
    cache.mkdir()
    for kind in ("driver", "probe", "host", "zig"):
        if (cache_dir() / kind).exists():
            (cache / kind).symlink_to(cache_dir() / kind)
    lab.worker("new", environment={"HALPMC_CACHE": str(cache), "HALPMC_GUESTS": str(lab.home / "guests")})
    lab.ready("new")
    run = lab.run(write_matrix(EMBEDDED))
    assert run.wait(RUN_S) == 0, lab.log("run") + lab.log("new")
    folder = lab.folder
    assert folder is not None
    (cell,) = summarize(folder).cells
    assert cell.verdict is Verdict.PHANTOM
    assert cell.provenance["image_sha256"] == image.manifest.disk_sha256
    assert cell.incidents == cell.retries == ()
    assert [path.name for path in (cache / "fetched").iterdir() if path.is_dir()] != []
    assert not (cache / "guests").exists()
    assert lab.log("new").count("fetching guest embedded") == 1
    assert (folder / "cells" / "embedded" / "run.sh").is_file()


def test_without_a_scheduler_the_lab_is_this_host(write_matrix: WriteMatrix, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(*HALPMC, "run", str(write_matrix(PROBES)), "--executor", "dask", "--jobs", "2"),
            *("--cell", "probe0", "--cell", "probe1", "--runs-dir", str(tmp_path / "runs")),
        ],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").glob("*/")
    summary = summarize(folder)
    assert (summary.recorded, summary.planned) == (4, 4)
    assert all(found.provenance["host"] for found in summary.cells)
    assert not [record for record in tail_records(folder, 0)[0] if isinstance(record, IncidentRecord)]
