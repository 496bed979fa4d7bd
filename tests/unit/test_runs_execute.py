"""The scheduler with real processes of this host: order, slots, how jobs end, draining, stopping, going on."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.config.matrix import Matrix
from harness.config.models import Accel, Cell
from harness.contract.clauses import PROBE_SUITE
from harness.contract.outcomes import Outcome, Verdict
from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.errors import NoSpace, UsageError
from harness.host.ledger import Reservation, ledger_folder, living
from harness.host.resources import read_resources
from harness.host.slots import capacity_mib
from harness.paths import project_root
from harness.report.live import LiveProgress
from harness.report.loading import load_run
from harness.report.summary import is_red, summarize
from harness.runs import local
from harness.runs.admission import WAIT_PHASE
from harness.runs.again import left_of, open_again, planned, rerun, unfinished
from harness.runs.costs import Costs
from harness.runs.execute import Execution, ctrl_c_drains
from harness.runs.executor import CellJob, JobResult, longest_first
from harness.runs.folder import leading
from harness.runs.local import LOG, LocalExecutor
from harness.runs.plan import jobs_of, plan_run
from harness.runs.planned import ExcludedCell, PlannedIssue, SkippedCell
from harness.runs.record import CellEndRecord, ClauseRecord, IncidentRecord, PhaseRecord, Record, ResumeRecord
from harness.runs.record_file import Recorder, read_records


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))


def cell(name: str, **settings: object) -> Cell:
    return Cell.model_validate(
        {"id": name, "guest": None, "accel": Accel.TCG, "smp": 1, "memory_mib": 64, **settings}
    )


# A cell's process: waits until its file says how it shall end; a cell that ends well writes its end itself.
PROCESS = f"""
import os, pathlib, signal, sys, time
home, name = pathlib.Path(sys.argv[1]), sys.argv[2]
if name == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"process {{os.getpid()}} of session {{os.getsid(0)}}", *range(40), sep="\\n", flush=True)
(home / f"began-{{name}}").touch()
end = time.monotonic() + {120 * timeout_factor()}
while not (home / f"end-{{name}}").exists():
    if time.monotonic() > end:
        sys.exit("no test told it to end")
    time.sleep(0.005)
sys.exit(int((home / f"end-{{name}}").read_text()))
"""


class Bench:
    """A run in a folder, with cells that end when the test says so."""

    def __init__(self, home: Path, slots: int) -> None:
        self.home = home
        self.folder = home / "run"
        self.folder.mkdir()
        self.recorder = Recorder(self.folder)
        self.shown: list[Record] = []
        self.said: list[str] = []
        self.executor = LocalExecutor(self.folder, self.recorder, slots, command=self._command)
        self.execution = Execution(self.folder, self.recorder, self.executor, self, say=self.said.append)
        self.hooks: list[Callable[[], None]] = []

    def _command(self, job: CellJob, run: Path) -> list[str]:
        assert run == self.folder
        return [sys.executable, "-c", PROCESS, str(self.home), job.cell.id]

    def update(self, records: Sequence[Record]) -> None:
        """Called by the scheduler at every turn: what it shows, and the test's own steps."""
        self.shown += records
        for hook in self.hooks:
            hook()

    def began(self) -> set[str]:
        return {path.name.removeprefix("began-") for path in self.home.glob("began-*")}

    def end(self, name: str, status: int = 0, *, recorded: bool = True) -> None:
        """Let a cell's process end."""
        path = self.home / f"end-{name}"
        if path.exists():
            return
        if recorded:
            self.recorder.write(
                CellEndRecord(cell=name, verdict=Verdict.ABSENT, reason="", realised=True, duration_s=0.1)
            )
        scratch = self.home / f"scratch-{name}"
        scratch.write_text(str(status))
        scratch.rename(path)

    def incidents(self) -> list[IncidentRecord]:
        return [record for record in read_records(self.folder) if isinstance(record, IncidentRecord)]


@pytest.fixture
def bench(tmp_path: Path) -> Generator[Bench, None, None]:
    yield Bench(tmp_path, slots=2)
    assert living(ledger_folder()) == [], "all memory was given back"


def test_longest_first_and_never_more_than_the_slots(bench: Bench) -> None:
    order: list[str] = []

    def step() -> None:
        now = bench.began() - set(order)
        order.extend(sorted(now))
        assert bench.executor.running <= 2
        entries = [entry for _, entry in living(ledger_folder())]
        assert all(entry.user for entry in entries), "what a process has taken is not counted twice"
        running = [name for name in order if not (bench.home / f"end-{name}").exists()]
        if len(running) == 2 or (running and len(order) == 5):
            bench.end(running[0])

    bench.hooks.append(step)
    jobs = longest_first(CellJob(cell(f"c{n}"), expected_s=n) for n in range(5))
    assert bench.execution.run(jobs)
    assert set(order[:2]) == {"c4", "c3"}
    assert order[2:] == ["c2", "c1", "c0"]
    assert bench.incidents() == []
    seconds = {r.cell: r.seconds for r in bench.shown if isinstance(r, PhaseRecord) and r.name == "process"}
    assert set(seconds) == set(order)
    assert min(seconds.values()) > 0


@pytest.mark.parametrize(
    ("status", "recorded", "message"),
    [
        (0, True, ""),
        (1, True, ""),
        (3, True, "the cell's process ended with status 3"),
        (0, False, "the cell's process ended with status 0 before the cell did"),
    ],
)
def test_a_process_that_ends_otherwise_than_its_records_say_is_an_incident(
    status: int, recorded: bool, message: str, bench: Bench
) -> None:
    bench.recorder.write(PhaseRecord(cell="a", name="probe", seconds=0.2))  # a sign of life is no end
    bench.hooks.append(lambda: bench.end("a", status, recorded=recorded) if "a" in bench.began() else None)
    assert bench.execution.run([CellJob(cell("a"))])
    assert [incident.message for incident in bench.incidents()] == ([message] if message else [])
    for incident in bench.incidents():
        assert (bench.folder / incident.evidence["log"]).is_file()
        assert incident.evidence["last lines"].splitlines() == [str(n) for n in range(10, 40)]


def test_what_was_recorded_before_is_neither_shown_nor_the_end_of_a_cell(tmp_path: Path) -> None:
    """A run that goes on: the cell had ended once, and this time its process dies."""
    first = Bench(tmp_path, slots=1)
    first.recorder.write(
        CellEndRecord(cell="a", verdict=Verdict.ABSENT, reason="", realised=True, duration_s=0.1)
    )
    executor = LocalExecutor(first.folder, first.recorder, 1, command=first._command)
    execution = Execution(first.folder, first.recorder, executor, first)
    first.hooks.append(lambda: first.end("a", 0, recorded=False) if "a" in first.began() else None)
    assert execution.run([CellJob(cell("a"))])
    assert [incident.message for incident in first.incidents()] == [
        "the cell's process ended with status 0 before the cell did"
    ]
    assert not any(isinstance(record, CellEndRecord) for record in first.shown)


def test_a_cell_that_no_host_has_room_for_does_not_keep_the_others(bench: Bench) -> None:
    bench.hooks.append(lambda: bench.end("small") if "small" in bench.began() else None)
    assert bench.execution.run([CellJob(cell("huge", memory_mib=1 << 20)), CellJob(cell("small"))])
    assert [(incident.cell, incident.branch) for incident in bench.incidents()] == [
        ("huge", "infrastructure")
    ]


def test_drained_the_running_cells_end_and_no_other_starts(bench: Bench) -> None:
    def step() -> None:
        if len(bench.began()) == 2:
            bench.execution.drain()
        if bench.said:
            bench.end("a")
        if bench.said and bench.executor.running == 1:  # a slot was free, and a cell still ran
            bench.end("b")

    bench.hooks.append(step)
    assert bench.execution.run([CellJob(cell(name)) for name in "abcd"]) is False
    assert bench.began() == {"a", "b"}
    assert bench.said == ["interrupted: 2 running cells end first, 2 are not started; Ctrl-C again stops now"]
    assert bench.incidents() == []


def test_the_first_ctrl_c_drains_and_the_second_stops(bench: Bench) -> None:
    """Real signals to this process, as a terminal sends them. The cells' processes get SIGTERM, and are gone."""
    others = set(psutil.Process().children())  # of tests before this one
    before = signal.getsignal(signal.SIGINT)

    sent: list[int] = []

    def step() -> None:
        if (not sent and len(bench.began()) == 2) or (len(sent) == 1 and bench.said):
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    bench.hooks.append(step)
    with pytest.raises(KeyboardInterrupt), ctrl_c_drains(bench.execution):
        bench.execution.run([CellJob(cell(name)) for name in "abc"])
    assert len(bench.said) == 1
    assert bench.began() == {"a", "b"}
    assert {incident.message for incident in bench.incidents()} == {
        f"the cell's process ended with status {-signal.SIGTERM} before the cell did"
    }
    assert signal.getsignal(signal.SIGINT) is before
    assert not set(psutil.Process().children()) - others
    # A terminal sends its Ctrl-C to all processes of its session.
    assert all(session_of(bench.home, name) != os.getsid(0) for name in "ab")


def session_of(home: Path, name: str) -> int:
    return int((home / "run" / "cells" / name / LOG).read_text().split()[4])


def test_a_process_that_does_not_end_when_it_is_asked_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STOP_S", 0.3)

    def stop() -> None:
        if "deaf" in bench.began():
            bench.hooks.clear()
            raise KeyboardInterrupt

    bench.hooks.append(stop)
    with pytest.raises(KeyboardInterrupt):
        bench.execution.run([CellJob(cell("deaf"))])
    [incident] = bench.incidents()
    assert incident.message == f"the cell's process ended with status {-signal.SIGKILL} before the cell did"


def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    words = (
        "from pathlib import Path; import sys; from tests.unit.test_runs_execute import Bench, CellJob, cell"
    )
    run = f"{words}; Bench(Path(sys.argv[1]), 1).execution.run([CellJob(cell('deaf'))])"
    leader = subprocess.Popen([sys.executable, "-c", run, str(tmp_path)], cwd=project_root())
    try:
        began = tmp_path / "began-deaf"
        wait_for("the cell's process", 60, lambda _: began.exists() or None)
        process = psutil.Process(int((tmp_path / "run" / "cells" / "deaf" / LOG).read_text().split()[1]))
    finally:
        leader.kill()
        leader.wait(60)

    def gone(_: Deadline) -> bool | None:
        return None if process.is_running() and process.status() != psutil.STATUS_ZOMBIE else True

    try:
        wait_for("the cell's process to end with its run", 20, gone)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_cell_waits_for_memory_that_another_run_has_and_says_so(bench: Bench) -> None:
    other = Reservation("another run's", capacity_mib(read_resources()))
    assert other.claim(lambda _: "") == ""
    turns = iter(range(3))

    def step() -> None:
        if next(turns, None) is None:
            other.release()
        else:
            assert bench.executor.running == 0
        if bench.began():
            bench.end("a")

    bench.hooks.append(step)
    assert bench.execution.run([CellJob(cell("a"))])
    [waited] = [r for r in bench.shown if isinstance(r, PhaseRecord) and r.name == WAIT_PHASE]
    assert (waited.cell, waited.seconds > 0) == ("a", True)


def test_a_job_that_is_refused_by_the_executor_is_recorded(tmp_path: Path) -> None:
    """The seam alone: an executor of another kind, which takes one job at a time and refuses one for good."""

    class Other:
        in_order = True

        def __init__(self) -> None:
            self.taken: list[CellJob] = []
            self.closed = False

        @property
        def running(self) -> int:
            return len(self.taken)

        def submit(self, job: CellJob) -> bool:
            if job.cell.id == "never":
                raise NoSpace("no worker has that much memory")
            if self.taken:
                return False
            self.taken.append(job)
            return True

        def wait(self, timeout_s: float) -> Sequence[JobResult]:
            jobs, self.taken = self.taken, []
            for job in jobs:
                recorder.write(
                    CellEndRecord(
                        cell=job.cell.id, verdict=Verdict.ABSENT, reason="", realised=True, duration_s=1
                    )
                )
            return [JobResult(job, 0, 1.5, "log", "") for job in jobs]

        def stop(self) -> Sequence[JobResult]:
            return []

        def close(self) -> None:
            self.closed = True

    recorder, other = Recorder(tmp_path), Other()

    class Silent:
        def update(self, records: Sequence[Record]) -> None: ...

    assert Execution(tmp_path, recorder, other, Silent()).run([CellJob(cell(n)) for n in ("a", "never", "b")])
    assert other.closed
    ended = [r.cell for r in read_records(tmp_path) if isinstance(r, CellEndRecord)]
    assert sorted(ended) == ["a", "b", "never"]


# -- going on ------------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run of four cells that was killed: one done, one ended short, one in its middle, one never begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    cells = tuple(cell(name) for name in ("done", "middle", "never", "short"))
    recorder = Recorder(folder)
    recorder.write(plan_run(Matrix(name="t", path=folder, sha256="", cells=cells, excluded=()), cells))
    for name in ("done", "short"):
        if name == "done":
            judge(recorder, name)
        recorder.write(
            CellEndRecord(cell=name, verdict=Verdict.ABSENT, reason="", realised=True, duration_s=1)
        )
    recorder.write(IncidentRecord(cell="middle", branch="infrastructure", message="killed in this"))
    (folder / "cells" / "middle").mkdir(parents=True)
    (folder / "cells" / "middle" / "log").write_text("first try")
    recorder.close()
    with recorder.path.open("ab") as file:
        file.write(b'{"type":"clause","cell":"mid')
    return folder


def judge(recorder: Recorder, name: str, outcome: Outcome = Outcome.PASS) -> None:
    for clause in PROBE_SUITE:
        recorder.write(ClauseRecord(cell=name, clause=clause, test="t", outcome=outcome, reason="r"))


def finish(recorder: Recorder, *names: str) -> None:
    for name in names:
        judge(recorder, name)
        recorder.write(
            CellEndRecord(cell=name, verdict=Verdict.ABSENT, reason="", realised=True, duration_s=1)
        )


def test_a_run_goes_on_with_what_did_not_end(interrupted: Path) -> None:
    plan = left_of(interrupted)
    assert [job.cell.id for job in jobs_of(plan, Costs())] == ["middle", "never", "short"]
    recorder = open_again(interrupted, plan)
    assert (interrupted / "cells" / "middle~1" / "log").read_text() == "first try"
    assert unfinished(interrupted) == ("middle", "never", "short")
    finish(recorder, "middle", "never", "short")
    view, summary = load_run(interrupted), summarize(interrupted)
    assert view.damage == ()
    assert (summary.recorded, summary.planned, summary.exit_code) == (8, 8, 0)
    (retry,) = view.cells["middle"].retries
    assert "ran again from its beginning" in retry.message
    assert retry.evidence == {"folder": "cells/middle~1"}
    assert view.cells["never"].retries == [], "it had not begun"
    assert len(view.cells["short"].retries) == 1, "its records are void"
    with pytest.raises(UsageError, match="nothing to resume"):
        left_of(interrupted)


def test_a_cell_that_was_cut_off_before_its_first_record_is_shown_too(interrupted: Path) -> None:
    (interrupted / "cells" / "never").mkdir()
    finish(open_again(interrupted, left_of(interrupted)), "middle", "never", "short")
    (retry,) = load_run(interrupted).cells["never"].retries
    assert retry.evidence == {"folder": "cells/never~1"}


def test_a_run_can_be_interrupted_and_resumed_more_than_once(interrupted: Path) -> None:
    finish(open_again(interrupted, left_of(interrupted)), "never")
    recorder = open_again(interrupted, left_of(interrupted))
    resumed = [r.cells for r in read_records(interrupted) if isinstance(r, ResumeRecord)]
    assert resumed == [("middle", "never", "short"), ("middle", "short")]
    assert summarize(interrupted).exit_code == 3, "two cells are missing still"
    judge(recorder, "short")
    assert "short" in unfinished(interrupted), "its end of the first time is void"
    finish(recorder, "middle", "short")
    assert summarize(interrupted).exit_code == 0


def test_what_a_cell_recorded_before_it_ran_again_does_not_count(interrupted: Path) -> None:
    recorder = open_again(interrupted, left_of(interrupted))
    judge(recorder, "middle")  # all its clauses, but no end
    recorder.close()
    recorder = open_again(interrupted, left_of(interrupted))
    recorder.write(
        CellEndRecord(cell="middle", verdict=Verdict.ABSENT, reason="", realised=True, duration_s=1)
    )
    recorder.close()
    assert "middle" in unfinished(interrupted)


def test_each_try_is_kept_under_a_name_of_its_own(interrupted: Path) -> None:
    for number, text in ((1, "first try"), (2, "second try")):
        open_again(interrupted, left_of(interrupted)).close()
        kept = interrupted / "cells" / f"middle~{number}" / "log"
        assert kept.read_text() == text
        (interrupted / "cells" / "middle").mkdir()
        (interrupted / "cells" / "middle" / "log").write_text("second try")


def test_a_run_of_which_nothing_is_left_is_not_resumed(interrupted: Path) -> None:
    finish(open_again(interrupted, left_of(interrupted)), "middle", "never", "short")
    with pytest.raises(UsageError, match="there is nothing to resume"):
        left_of(interrupted)


def test_what_a_cell_recorded_before_it_began_again_is_void(tmp_path: Path) -> None:
    """A worker was lost under it: what its first try saw, a violation and all, says nothing any more."""
    cells = (cell("a"),)
    recorder = Recorder(tmp_path)
    recorder.write(plan_run(Matrix(name="t", path=tmp_path, sha256="", cells=cells, excluded=()), cells))
    judge(recorder, "a", Outcome.FAIL)
    recorder.write(IncidentRecord(cell="a", branch="infrastructure", message="tried again", retried=True))
    recorder.write(CellEndRecord(cell="a", verdict=Verdict.BROKEN, reason="", realised=True, duration_s=1))
    assert unfinished(tmp_path) == ()
    lost = IncidentRecord(
        cell="a", branch="infrastructure", message="worker w was lost", retried=True, restarted=True
    )
    recorder.write(lost)
    assert unfinished(tmp_path) == ("a",)
    assert summarize(tmp_path).exit_code == 3, "it has not ended"
    shown = io.StringIO()
    with LiveProgress(cells, Console(file=shown, width=200)) as progress:
        progress.update(list(read_records(tmp_path)))
        finish(recorder, "a")
        progress.update(list(read_records(tmp_path))[-len(PROBE_SUITE) - 1 :])
    assert shown.getvalue().count("[1/1] a") == 2, shown.getvalue()
    assert "worker w was lost" in shown.getvalue()
    assert unfinished(tmp_path) == ()
    summary = summarize(tmp_path)
    assert (summary.exit_code, summary.recorded) == (0, summary.planned)
    assert [retry.message for retry in summary.cells[0].retries] == ["tried again", "worker w was lost"]
    assert summary.cells[0].incidents == ()


def test_a_run_that_goes_on_is_not_resumed_beside_it(interrupted: Path, tmp_path: Path) -> None:
    with leading(interrupted), pytest.raises(UsageError, match="still goes on"), leading(interrupted):
        pass
    with leading(interrupted):
        pass
    with pytest.raises(UsageError, match="is not the folder of a run"), leading(tmp_path / "none"):
        pass


def test_the_red_cells_of_a_run_again(interrupted: Path) -> None:
    recorder = open_again(interrupted, left_of(interrupted))
    finish(recorder, "middle", "never")
    judge(recorder, "short", Outcome.FAIL)
    recorder.write(
        CellEndRecord(cell="short", verdict=Verdict.BROKEN, reason="", realised=True, duration_s=1)
    )
    red = [found.id for found in summarize(interrupted).cells if is_red(found)]
    assert red == ["short"]
    old = planned(interrupted)
    lines = recorder.path.read_text().splitlines()
    issue = PlannedIssue(
        id="BUG-7", reason="r", cells=("middle", "short"), clauses=("PROBE-1",), until="2999-12-31"
    )
    about = old.model_copy(
        update={
            "known_issues": (issue,),
            "excluded": (ExcludedCell(id="x", reason="r"),),
            "skipped": (SkippedCell(id="y", config={}, reason="r"),),
        }
    )
    recorder.path.write_text("\n".join([about.model_dump_json(), *lines[1:], ""]))
    plan = rerun(interrupted, red)
    assert plan.time > old.time
    assert (plan.excluded, plan.skipped) == ((), ()), "what the first run left out was no matter of this one"
    assert [known.cells for known in plan.known_issues] == [("short",)]
    assert [one.id for one in plan.cells] == ["short"]
    assert plan.selection == "1 cells that failed in run"
