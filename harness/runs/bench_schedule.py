"""Benchmarks of planning and scheduling: how long ten thousand cells take to plan, how near a run comes to the bound.

The cells of the scheduling benchmark are simulated: processes that sleep. Everything around them is what runs real
cells: admission, processes, records, progress.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.config.load import load_matrix
from harness.config.models import Accel, Cell
from harness.errors import InfrastructureError, UsageError
from harness.host.tools import require_tool
from harness.runs.bench import Figures, clock
from harness.runs.costs import PROCESS_PHASE, Costs
from harness.runs.execute import Execution
from harness.runs.executor import CellJob, longest_first
from harness.runs.forecast import forecast
from harness.runs.local import LocalExecutor
from harness.runs.plan import plan_run
from harness.runs.record import PhaseRecord, Record, RunRecord
from harness.runs.record_file import Recorder, read_records
from harness.runs.schedule import lower_bound, makespan
from harness.runs.select import Choice, on_this_host, select

MEAN_S = 1.0
SPREAD = 0.8
"""Sigma of the logarithm: the longest of 200 cells takes about nine times as long as the usual one, as in real runs."""
GUESS = 0.25
"""How wrong the expected durations are: up to so much of the true one, either way."""


class _Silent:
    def update(self, records: Sequence[Record]) -> None:
        """Show nothing."""


def bench_schedule(cells: int, slots: int, seed: int) -> Figures:
    """Seconds that simulated cells take on so many slots, against the bound that no schedule beats."""
    chance = random.Random(seed)  # noqa: S311 - a benchmark
    seconds = {
        f"cell-{number:04}": MEAN_S * chance.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        for number in range(cells)
    }
    jobs = longest_first(
        CellJob(
            Cell(id=name, guest=None, accel=Accel.TCG, smp=1, memory_mib=64),
            expected_s=true * chance.uniform(1 - GUESS, 1 + GUESS),
        )
        for name, true in seconds.items()
    )
    sleep = str(require_tool("sleep"))
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as home:
        folder = Path(home)
        recorder = Recorder(folder)
        executor = LocalExecutor(
            folder, recorder, slots, command=lambda job, _: [sleep, f"{seconds[job.cell.id]:.4f}"]
        )
        begin = time.monotonic()
        Execution(folder, recorder, executor, _Silent()).run(jobs)
        took = time.monotonic() - begin
        recorder.close()
        if len(_process_seconds(list(read_records(folder)))) != cells:
            raise InfrastructureError("not every simulated cell ran")
    bound = lower_bound(list(seconds.values()), slots)
    by_id = makespan(seconds.values(), slots)
    return {
        "cells": cells,
        "slots": slots,
        "total_s": round(sum(seconds.values()), 2),
        "longest_s": round(max(seconds.values()), 2),
        "lower_bound_s": round(bound, 2),
        "makespan_s": round(took, 2),
        "makespan_per_bound": round(took / bound, 3),
        "by_id_per_bound": round(by_id / bound, 3),
    }


def bench_run(folder: Path, slots: int) -> Figures:
    """The same figures of a run that has been made with so many slots. Raises UsageError when it tells no durations."""
    records = list(read_records(folder))
    seconds = _process_seconds(records)
    if not seconds or not isinstance(records[0], RunRecord):
        raise UsageError(f"{folder} has no cell whose process was timed")
    last = max(r.time for r in records if isinstance(r, PhaseRecord) and r.name == PROCESS_PHASE)
    took = (last - records[0].time).total_seconds()
    bound = lower_bound(seconds, slots)
    return {
        "cells": len(seconds),
        "slots": slots,
        "total_s": round(sum(seconds), 2),
        "longest_s": round(max(seconds), 2),
        "lower_bound_s": round(bound, 2),
        "makespan_s": round(took, 2),
        "makespan_per_bound": round(took / bound, 3),
    }


def _process_seconds(records: Sequence[Record]) -> list[float]:
    return [r.seconds for r in records if isinstance(r, PhaseRecord) and r.name == PROCESS_PHASE]


def bench_plan(cells: int, rounds: int) -> Figures:
    """Seconds that planning so many cells takes, the whole command and its parts; the best of several rounds each.

    `command_cpu_s` is the CPU time of the command, which nobody else on the machine can stretch much.

    The best and not the median: what another process takes from this one is no cost of planning.
    """
    times: dict[str, list[float]] = {
        name: []
        for name in (
            *("command_s", "command_cpu_s", "imports_s"),
            *("load_s", "select_s", "forecast_s", "json_s", "records_plan_s"),
        )
    }
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as home:
        path = Path(home) / "matrix.yaml"
        path.write_text(matrix_of(cells))
        for _ in range(rounds):
            with clock(times, "load_s"):
                matrix = load_matrix(path)
            with clock(times, "select_s"):
                selection = on_this_host(matrix, select(matrix, Choice(expression="smp>0"), Costs()))
            with clock(times, "forecast_s"):
                planned = forecast(matrix, selection, Costs(), None)
            with clock(times, "json_s"):
                planned.model_dump_json()
            with clock(times, "records_plan_s"):
                plan_run(matrix, selection.cells).model_dump_json()
            command = [sys.executable, "-P", "-m", "harness.cli", "plan", str(path), "--runs-dir", home]
            before = _children_s()
            with clock(times, "command_s"):
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times["command_cpu_s"].append(_children_s() - before)
            with clock(times, "imports_s"):
                subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL)
    return {"cells": len(matrix.cells), **{name: round(min(found), 3) for name, found in times.items()}}


def _children_s() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def matrix_of(cells: int) -> str:
    """A matrix with about so many cells, of several axes, with an exclusion, an override and requirements."""
    models = ", ".join(f"model{number}" for number in range(max(1, round(cells / 200))))
    return f"""\
schema: 1
name: bench
axes:
  cpu: [{models}]
  pmu: [on, off]
  generation: [exclusive, shared]
  without_pmu: [grant, refuse]
  smp: [1, 2, 4, 8, 16]
  memory_mib: [512, 768, 1024, 2048, 4096]
exclude:
  - {{when: {{smp: 16, memory_mib: 512, pmu: on, generation: shared, without_pmu: grant}}, reason: too small}}
override:
  - {{when: {{smp: 16}}, tags: [large], requires: {{cpus: 1}}}}
known_issues:
  - {{id: bench-1, reason: none, cells: 'pmu=on and smp>4', clauses: [ALLOC-1], until: 2999-12-31}}
"""
