"""Admission in whole runs: a cell that no host has room for, and two runs that share one host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.contract.outcomes import Verdict
from harness.deadlines import Deadline, wait_for
from harness.host.ledger import Reservation, ledger_folder, living
from harness.host.resources import read_resources
from harness.host.slots import capacity_mib
from harness.paths import cache_dir
from harness.probe.build import build_probe
from harness.report.summary import Summary
from tests.system.conftest import HALPMC

RunMatrix = Callable[..., tuple[int, Summary, str]]
WriteMatrix = Callable[[str], Path]

PROBE = "  - {id: %s, guest: none, arch: x86_64, accel: tcg, cpu: max, pmu: off, memory_mib: %d}\n"


@pytest.mark.parametrize("option", [(), ("-j", "auto"), ("-j", "2")])
def test_a_cell_that_no_host_has_room_for_is_an_infrastructure_error_and_the_others_run(
    option: tuple[str, ...], write_matrix: WriteMatrix, run_matrix: RunMatrix
) -> None:
    matrix = write_matrix("include:\n" + PROBE % ("huge", 1 << 20) + PROBE % ("small", 64))
    code, summary, output = run_matrix(matrix, *option)
    assert code == 3, output
    huge, small = summary.cells
    assert small.verdict is Verdict.ABSENT
    assert huge.verdict is Verdict.UNKNOWN
    assert "cell huge cannot run on this host: it needs" in huge.incidents[0].message
    assert huge.incidents[0].branch == "infrastructure"
    assert "MiB of memory and this host has" in huge.reason


@pytest.fixture
def own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with a ledger of its own, so that nobody else waits for this test; the probe comes from the real one."""
    real, own = cache_dir(), tmp_path / "cache"
    build_probe(Arch.X86_64)
    own.mkdir()
    (own / "probe").symlink_to(real / "probe")
    monkeypatch.setenv("HALPMC_CACHE", str(own))


@pytest.mark.usefixtures("own_ledger")
def test_a_run_waits_for_memory_that_another_harness_holds(write_matrix: WriteMatrix, tmp_path: Path) -> None:
    matrix = write_matrix("include:\n" + PROBE % ("waiting", 64))
    everything = Reservation("all memory", capacity_mib(read_resources()))
    told = tmp_path / "told"
    assert everything.claim(lambda _: "") == ""
    try:
        with told.open("w") as output:
            process = subprocess.Popen(
                [*HALPMC, "run", str(matrix), "--runs-dir", str(tmp_path / "runs")],
                stdout=output,
                stderr=output,
            )

        def waiting(deadline: Deadline) -> bool | None:
            deadline.last_seen = told.read_text()
            assert process.poll() is None, deadline.last_seen
            return True if "cell waiting waits: it needs" in deadline.last_seen else None

        wait_for("the run saying that it waits", 60, waiting)
        assert any(
            entry.label == "cell waiting" and not entry.granted for _, entry in living(ledger_folder())
        )
    finally:
        everything.release()
    assert process.wait(120) == 0, told.read_text()
    assert "waiting for memory" in next((tmp_path / "runs").glob("*/records.jsonl")).read_text()
