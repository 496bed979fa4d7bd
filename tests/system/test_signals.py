"""Harnesses that are interrupted, told to end or killed in every phase of a cell: nothing outlives them.

A script before QEMU holds the phase where it is, so that the signal arrives in it; see wrapped_qemu.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.contract.outcomes import Verdict
from harness.deadlines import FACTOR_VARIABLE, Deadline, wait_for
from harness.paths import project_root
from harness.report.summary import Summary, summarize
from harness.runs.record import ClauseRecord, PhaseRecord, Record
from harness.runs.record_file import FILE_NAME, read_records
from tests.system.conftest import HALPMC, cache_without_templates
from tests.system.wrapped_qemu import WrappedQemu, counting, holding

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

CELL = "include:\n  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg}\n"
PROBE_ONLY = "include:\n  - {id: probe, guest: none, arch: x86_64, cpu: max, pmu: off}\n"
SUITE = Path(__file__).with_name("shutdown_suite.py")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
#: A template may have to be made first, on a slow machine.
REACHED_S = 600.0


@dataclass(frozen=True)
class Harness:
    """A harness that runs one cell: its process, its folder, and where guests' writes would be left."""

    process: subprocess.Popen[bytes]
    home: Path
    qemu: WrappedQemu
    led: bool
    """Whether `halpmc run` leads: it lets running cells end at the first Ctrl-C, and stops at the second."""

    @property
    def output(self) -> str:
        """What it said so far."""
        return (self.home / "output").read_text(errors="replace")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        (folder,) = (self.home / "runs").glob("*/")
        return folder

    def wait_until(self, name: str, reached: Callable[[], bool]) -> None:
        """Wait for something to have happened in the run, which must not end before."""

        def attempt(deadline: Deadline) -> bool | None:
            deadline.last_seen = self.output[-500:]
            assert self.process.poll() is None, f"it ended before {name}: {deadline.last_seen}"
            return reached() or None

        wait_for(name, REACHED_S, attempt)

    def records(self) -> list[Record]:
        """The records so far."""
        files = list((self.home / "runs").glob(f"*/{FILE_NAME}"))
        return list(read_records(files[0].parent)) if files else []

    def phases(self) -> list[str]:
        """The phases of the cell that are over."""
        return [record.name for record in self.records() if isinstance(record, PhaseRecord)]

    def wait_for_start(self, number: int) -> None:
        """Wait for this start of those that the script before QEMU counts."""
        self.wait_until(f"start {number} of QEMU", lambda: self.qemu.matched >= number)

    def wait_for_clause(self) -> None:
        """Wait for the first clause that was judged."""
        self.wait_until("the first clause", lambda: any(isinstance(r, ClauseRecord) for r in self.records()))

    def left(self) -> list[str]:
        """Processes that have this run's folder in their arguments (which a zombie has no more)."""
        return [
            " ".join(process.info["cmdline"])[:200]
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.home) in argument for argument in process.info["cmdline"] or ())
        ]


@contextmanager
def started(
    home: Path,
    matrix: Path,
    qemu: WrappedQemu,
    *,
    shutdown: bool = False,
    options: str = "",
    **environment: str,
) -> Generator[Harness, None, None]:
    """`halpmc run` of the matrix, or pytest with the suite whose VM does not end. Killed at last, if it still runs."""
    overlays = home / "overlays"
    overlays.mkdir(exist_ok=True)
    plain = [
        sys.executable,
        "-m",
        "pytest",
        str(SUITE),
        "-q",
        "-p",
        "no:cacheprovider",
        f"--halpmc-matrix={matrix}",
    ]
    led = [*HALPMC, "run", str(matrix), *options.split()]
    runs = home / "runs"
    command = [*plain, f"--halpmc-runs-dir={runs}"] if shutdown else [*led, "--runs-dir", str(runs)]
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=project_root(),
            stdout=output,
            stderr=output,
            env=os.environ | {"PATH": qemu.path, "TMPDIR": str(overlays)} | environment,
        )
    try:
        yield Harness(process, home, qemu, led=not shutdown)
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def homes(tmp_path: Path) -> dict[signal.Signals, Path]:
    """A folder for the harness that gets each signal."""
    found = {number: tmp_path / number.name for number in SIGNALS}
    for home in found.values():
        home.mkdir()
    return found


def end_by(harness: Harness, number: signal.Signals, *, interrupted: int = 130) -> Summary:
    """Send the signal; the harness ends as it should, and nothing is left of it but readable records, which are red."""
    harness.process.send_signal(number)
    if number is signal.SIGINT and harness.led:
        harness.wait_until("it knows of Ctrl-C", lambda: "Ctrl-C again stops now" in harness.output)
        harness.process.send_signal(number)
    assert harness.process.wait(120) == (-number if number is signal.SIGKILL else interrupted)

    def gone(deadline: Deadline) -> bool | None:
        left = harness.left()
        deadline.last_seen = "; ".join(left)
        return None if left else True

    wait_for(f"end of all processes after {number.name}", 20, gone)
    assert not list((harness.home / "overlays").iterdir())
    summary = summarize(harness.folder)
    assert summary.exit_code == 3
    assert summary.finished is (number is not signal.SIGKILL)
    return summary


@pytest.mark.parametrize(
    ("words", "start", "before"),
    [
        ("-kernel", 1, []),
        ("-incoming", 2, ["probe", "template"]),  # the first clone only proves the template
    ],
    ids=["probe", "start"],
)
def test_while_a_vm_starts(
    words: str,
    start: int,
    before: list[str],
    homes: dict[signal.Signals, Path],
    write_matrix: WriteMatrix,
) -> None:
    for number, home in homes.items():
        qemu = holding(home, words, at=start)
        with started(home, write_matrix(CELL), qemu) as harness:
            harness.wait_for_start(start)
            assert harness.phases() == before
            summary = end_by(harness, number)
            assert (summary.recorded, summary.cells[0].verdict) == (0, Verdict.UNKNOWN)


def test_while_a_template_is_made(homes: dict[signal.Signals, Path], write_matrix: WriteMatrix) -> None:
    for number, home in homes.items():
        cache, qemu = cache_without_templates(home), holding(home, "share=on", at=1)
        with started(home, write_matrix(CELL), qemu, HALPMC_CACHE=str(cache)) as harness:
            harness.wait_for_start(1)
            assert harness.phases() == ["probe"]
            end_by(harness, number)
        halves = [path for path in (cache / "templates").iterdir() if path.is_dir()]
        assert bool(halves) is (number is signal.SIGKILL), "only who is killed leaves something half-made"
    again = home / "again"
    again.mkdir()
    qemu = holding(again, "share=on", at=1)
    with started(again, write_matrix(CELL), qemu, HALPMC_CACHE=str(cache)) as harness:
        harness.wait_for_start(1)
        assert not halves[0].exists(), "its lock went with it, and the next one removes the half-made folder"
        end_by(harness, signal.SIGINT)
    assert not [path for path in (cache / "templates").iterdir() if path.is_dir()]


def test_while_the_contract_is_tried(
    homes: dict[signal.Signals, Path], write_matrix: WriteMatrix, run_matrix: RunMatrix
) -> None:
    for number, home in homes.items():
        with started(home, write_matrix(CELL), counting(home, "-incoming")) as harness:
            harness.wait_for_clause()
            summary = end_by(harness, number)
            assert 0 < summary.recorded < summary.planned
            assert summary.cells[0].missing
    done = subprocess.run(
        [*HALPMC, "report", str(harness.folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    code, after, output = run_matrix(write_matrix(PROBE_ONLY))
    assert (code, after.cells[0].verdict) == (0, Verdict.ABSENT), output


def test_while_a_vm_is_shut_down(homes: dict[signal.Signals, Path], write_matrix: WriteMatrix) -> None:
    """QEMU is stopped and hears nothing: the harness is on its way from `quit` over SIGTERM to SIGKILL."""
    for number, home in homes.items():
        qemu = counting(home, "-incoming")
        patient = {FACTOR_VARIABLE: "6"}
        with started(home, write_matrix(CELL), qemu, shutdown=True, **patient) as harness:
            harness.wait_for_clause()
            end_by(harness, number, interrupted=pytest.ExitCode.INTERRUPTED)
