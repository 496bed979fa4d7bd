"""What the views of results cost, with made-up runs of the size that they have to bear (docs/performance.md)."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from harness.caching import Say
from harness.config.models import Arch, Cell, Generation, HalSettings, WithoutPmu
from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import ToolMissing
from harness.host.tools import require_tool
from harness.report.history import history_of, read_history
from harness.report.history_store import FILE_NAME as HISTORY
from harness.report.history_store import ResultRow, RunRow, open_store
from harness.report.html import FILE_NAME as REPORT
from harness.report.words import LETTERS
from harness.report.write import write_reports
from harness.runs.planned import PlannedCell
from harness.runs.record import CellEndRecord, CellRecord, ClauseRecord, PhaseRecord, RunEndRecord, RunRecord
from harness.runs.record_file import Recorder

CELLS, CLAUSE_COUNT, RUNS = 500, 60, 100
ROUNDS = 7
_START = datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC)
_USUAL = (Outcome.PASS,) * 12 + (Outcome.RECORDED,) * 4 + (Outcome.SKIPPED,) * 3


def clause_names() -> tuple[str, ...]:
    """The contract's clauses, and as many more as it takes."""
    more = (f"MORE-{number}" for number in range(1, CLAUSE_COUNT + 1))
    return (*CLAUSES, *more)[:CLAUSE_COUNT]


def bench_report(*, say: Say) -> dict[str, float]:
    """Write the report of a run of 500 cells and 60 clauses, open it in Chromium, and filter it.

    Raises ToolMissing without Chromium, or without playwright, which comes with the extra `dev`.
    """
    if find_spec("playwright") is None:
        raise ToolMissing("playwright", "halpmc[dev] (from a checkout: ci/bootstrap)")
    chromium = require_tool("chromium")
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as scratch:
        folder = Path(scratch) / "bench"
        say(f"bench: {CELLS} cells, {CLAUSE_COUNT} clauses")
        write_run(folder)
        began = time.perf_counter()
        write_reports(folder)
        figures = {
            "records_mib": (folder / "records.jsonl").stat().st_size / (1 << 20),
            "write_s": time.perf_counter() - began,
            "page_mib": (folder / REPORT).stat().st_size / (1 << 20),
        }
        return {**figures, **_in_chromium(str(chromium), (folder / REPORT).as_uri())}


def _in_chromium(chromium: str, url: str) -> dict[str, float]:
    """Medians until the page is drawn, until the matrix is, and until a filter has been drawn.

    `…_cpu_…` is CPU time of the page's main thread: what the same takes on a machine that does nothing else.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only here, and only with the extra

    figures: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, address in (("open", "#/"), ("open_matrix", "#/matrix")):
            opened, busy = [], []
            for _ in range(3):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                spent = _cpu_seconds(page)
                began = time.perf_counter()
                page.goto(url + address)
                page.evaluate(_DRAWN)
                opened.append(time.perf_counter() - began)
                busy.append(spent())
                page.close()
            figures |= {f"{name}_s": median(opened), f"{name}_cpu_s": median(busy)}
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        spent = _cpu_seconds(page)
        acts = (("overview", "#/", _FILTER), ("matrix", "#/matrix", _FILTER), ("matrix", "#/matrix", _GROUP))
        for view, address, act in acts:
            name = f"{'filter' if act is _FILTER else 'group'}_{view}"
            page.goto(url + address)
            page.evaluate(_DRAWN)
            before = spent()
            times = page.evaluate(act, [f"#filter-{view}", ROUNDS])
            figures |= {
                f"{name}_ms": median(times),
                f"{name}_worst_ms": max(times),
                f"{name}_cpu_ms": 1000 * (spent() - before) / ROUNDS,
            }
        browser.close()
    return figures


def _cpu_seconds(page: Any) -> Callable[[], float]:
    """What gives the CPU time that the page's main thread has spent in tasks so far, in seconds."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    return spent


_DRAWN = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
_MEASURED = """
  const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const took = async (act) => {
    const began = performance.now();
    act();
    await drawn();
    return performance.now() - began;
  };
"""
_FILTER = (
    "async ([box, rounds]) => {"
    + _MEASURED
    + """
  const input = document.querySelector(box);
  const words = ["pmu_on", "phantom", "-cpu7", "", "cpu1", "nothing", "shared -pmu_on"];
  const times = [];
  for (let round = 0; round < rounds; round++) times.push(await took(() => {
    input.value = words[round % words.length];
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }));
  return times;
}"""
)
_GROUP = (
    "async ([, rounds]) => {"
    + _MEASURED
    + """
  const times = [];
  const labels = [...document.querySelectorAll("label.pick")];
  const picks = labels.find((one) => one.textContent.startsWith("Group by")).querySelector("select");
  for (let round = 0; round < rounds; round++) times.push(await took(() => {
    picks.selectedIndex = (round + 2) % picks.options.length;
    picks.dispatchEvent(new Event("change", { bubbles: true }));
  }));
  return times;
}"""
)


def bench_history(*, say: Say) -> dict[str, float]:
    """Ask the history of 100 runs of 500 cells and 60 clauses, and read one such run from its records."""
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as scratch:
        runs = Path(scratch)
        figures: dict[str, float] = {}
        say(f"bench: {RUNS} runs of {CELLS} cells and {CLAUSE_COUNT} clauses")
        with open_store(runs / HISTORY) as store:
            with _timed(figures, "insert_s"):
                for run, results in _rows():
                    store.add(run, "", results)
            times, busy = [], []
            for _ in range(3):
                began, cpu = time.perf_counter(), time.process_time()
                history = history_of(store, str(runs))
                times.append(time.perf_counter() - began)
                busy.append(time.process_time() - cpu)
        figures |= {"query_s": median(times), "query_cpu_s": median(busy)}
        figures["flaky"] = float(len(history.flaky))
        figures["file_mib"] = (runs / HISTORY).stat().st_size / (1 << 20)
        alone = runs / "alone"
        write_run(alone / "bench")
        with _timed(figures, "import_one_run_s"):
            read_history(alone)
        return figures


@contextmanager
def _timed(figures: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    figures[name] = time.perf_counter() - began


def _cells() -> list[Cell]:
    return [
        Cell(
            id=f"embedded-cpu{n % 25}-pmu_{'on' if n % 2 else 'off'}-{generation}-{n}",
            cpu=f"cpu{n % 25}",
            pmu=bool(n % 2),
            arch=Arch.AARCH64 if n % 5 == 0 else Arch.X86_64,
            smp=1 + n % 4,
            hal=HalSettings(generation=generation, without_pmu=list(WithoutPmu)[n % 2]),
        )
        for n in range(CELLS)
        for generation in [list(Generation)[n // 2 % 2]]
    ]


def write_run(folder: Path) -> None:
    """Records of a made-up run: each result with observations as long as real ones."""
    folder.mkdir(parents=True)
    chance = random.Random(1)  # noqa: S311 - made-up results
    names, cells = clause_names(), _cells()
    recorder = Recorder(folder)
    planned = tuple(PlannedCell(id=c.id, config=c.model_dump(mode="json"), clauses=names) for c in cells)
    common: dict[str, Any] = {"matrix": "bench.yaml", "matrix_sha256": "0" * 64, "versions": {"halpmc": "0"}}
    recorder.write(RunRecord(time=_START, name="bench", cells=planned, host={"kernel": "Linux"}, **common))
    for cell in cells:
        told = {"accelerator": "tcg", "guest_kind": "wine", "driver_sha256": "2e" * 32}
        recorder.write(CellRecord(time=_START, cell=cell.id, provenance=told))
        for phase in ("probe", "vm", "client", "contract"):
            recorder.write(PhaseRecord(time=_START, cell=cell.id, name=phase, seconds=1.5))
        for clause in names:
            recorder.write(_result(cell.id, clause, _outcome(chance)))
        recorder.write(
            CellEndRecord(
                time=_START + timedelta(seconds=9),
                cell=cell.id,
                verdict=Verdict.PHANTOM if cell.pmu else Verdict.REFUSED,
                reason="granted, but the PMU probe found no PMU: the warning of the Allocate page",
                realised=not cell.pmu,
                not_realised=("pmu=on was asked for, the PMU probe found no PMU",) if cell.pmu else (),
                duration_s=9.0,
            )
        )
    recorder.write(RunEndRecord(time=_START + timedelta(minutes=9), exit_code=1))
    recorder.close()


def _outcome(chance: random.Random) -> Outcome:
    if chance.random() < 0.01:
        return chance.choice((Outcome.FAIL, Outcome.ERROR))
    return chance.choice(_USUAL)


def _result(cell: str, clause: str, outcome: Outcome) -> ClauseRecord:
    call = {"status": 3221225626, "handle": 0, "written": True, "irql_before": 0, "irql_after": 0, "cpu": 1}
    names = ("plain", "empty mask", "unknown group", "reserved fields")
    seen = (("first request", {**call, "handle": 328}), ("answers", dict.fromkeys(names, call)))
    reason = "" if outcome in (Outcome.PASS, Outcome.RECORDED) else f"{clause} is {outcome} in this cell"
    return ClauseRecord(
        time=_START,
        cell=cell,
        clause=clause,
        test=f"tests/contract/test_contract.py::test_{clause.lower().replace('-', '_')}",
        outcome=outcome,
        reason=reason,
        observations=seen,
        duration_s=0.05,
    )


def _rows() -> Iterator[tuple[RunRow, list[ResultRow]]]:
    """Runs in which a few results come and go, as rows of the history."""
    chance = random.Random(2)  # noqa: S311 - made-up results
    names, cells = clause_names(), [cell.id for cell in _cells()]
    usual = {cell: [LETTERS[chance.choice(_USUAL)] for _ in names] for cell in cells}
    for number in range(RUNS):
        started = (_START + timedelta(days=number)).isoformat()
        run = RunRow(f"{number:03d}-bench", "bench", started, 600.0, True, False, 0, names)
        results = []
        for cell in cells:
            letters = list(usual[cell])
            if chance.random() < 0.2:
                letters[chance.randrange(len(names))] = LETTERS[Outcome.FAIL]
            ground = f'{{"driver": "{number // 40}"}}'
            results.append(ResultRow(cell, "phantom", 9 + chance.random(), 0, ground, "".join(letters)))
        yield run, results
