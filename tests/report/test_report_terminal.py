"""What a run says on a terminal and in a log."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from harness.config.models import Cell
from harness.contract.outcomes import Outcome, Verdict
from harness.probe.models import PmuVerdict
from harness.report.summary import summarize
from harness.report.terminal import LiveProgress, print_probe, print_summary
from harness.report.words import WINE_LABEL
from harness.runs.record_file import tail_records
from tests.report.synthetic import RunBuilder, demo, guest_cell, probe_answer, probe_cell


def log() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells_of(folder: Path) -> list[Cell]:
    return [Cell.model_validate(cell.config) for cell in summarize(folder).cells]


def test_the_table_in_a_log_is_plain_and_narrow_enough(tmp_path: Path) -> None:
    console = log()
    folder = demo(tmp_path, {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL}})
    print_summary(summarize(folder), folder, console)
    text = text_of(console)
    assert "\x1b" not in text
    table = text.split("FAIL")[0].splitlines()
    assert max(len(line) for line in table) <= 120
    row = next(line for line in table if line.startswith("embedded-nehalem+rdrand-pmu_off-shared-refuse "))
    assert row.split()[1:4] == ["refused", "realised", "absent"]
    assert re.search(
        r"^FAIL +FREE-2: FREE-2 was fail for a reason  \[embedded-max-pmu_on", text, re.MULTILINE
    )
    assert WINE_LABEL in text
    assert "exit code 1: contract violation" in text
    assert text.rstrip().endswith(f"report: {folder}/report.html")


def test_a_shortage_is_said(tmp_path: Path) -> None:
    console = log()
    run = RunBuilder(tmp_path, [guest_cell("one")])
    run.tear_last_line()
    print_summary(summarize(tmp_path), tmp_path, console)
    assert re.search(
        r"^SHORT the run ended before this cell did; none of \d+ clauses recorded  \[one\]$",
        text_of(console),
        re.M,
    )
    assert "exit code 3" in text_of(console)


def test_guest_made_text_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1",)})
    run.clause("one", "PRES-1", Outcome.FAIL, "two\nlines \x1b[2J\x9b31m[red]")
    run.end("one", Verdict.BROKEN)
    print_summary(summarize(tmp_path), tmp_path, console)
    assert "PRES-1: two lines \\x1b[2J\\x9b31m[red]  [one]" in text_of(console)
    assert not {"\x1b[2J", "\x9b"} & set(re.findall("\x1b\\[2J|\x9b", text_of(console)))


def test_a_log_has_one_line_per_event(tmp_path: Path) -> None:
    console = log()
    cells = [guest_cell("first"), guest_cell("second-longer")]
    run = RunBuilder(
        tmp_path, cells, clauses={"first": ("PRES-1", "ALLOC-1"), "second-longer": ("PRES-1", "ALLOC-1")}
    )
    with LiveProgress(cells, console) as progress:
        offset = 0

        def show() -> None:
            nonlocal offset
            records, offset = tail_records(tmp_path, offset)
            progress.update(records)

        show()
        run.probe("first")
        show()
        run.clause("first", "PRES-1")
        run.clause("first", "ALLOC-1", Outcome.SKIPPED)
        run.end("first", Verdict.PHANTOM)
        run.probe("second-longer")
        run.clause("second-longer", "PRES-1", Outcome.FAIL, "two\nlines \x1b[31m[red]")
        run.incident("second-longer", "QEMU died")
        run.end("second-longer", Verdict.BROKEN, not_realised=("pmu",))
        show()
    assert text_of(console).splitlines() == [
        "      first  started",
        "[1/2] first          phantom   (realised)  1 passed 1 skipped  11.2 s",
        "      second-longer  started",
        "      second-longer  PRES-1 fail: two lines \\x1b[31m[red]",
        "      second-longer  infrastructure: QEMU died",
        "[2/2] second-longer  broken    (not realised)  1 failed 1 not recorded  11.2 s",
    ]


def test_a_terminal_shows_running_cells_and_leaves_finished_lines(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    ticks: Iterator[float] = iter(range(1000))
    cells = [guest_cell("first"), guest_cell("second")]
    run = RunBuilder(tmp_path, cells)
    run.cell("first", Verdict.PHANTOM)
    run.probe("second")
    run.clause("second", "PRES-1")
    with LiveProgress(cells, console, clock=lambda: next(ticks)) as progress:
        progress.update(tail_records(tmp_path, 0)[0])
        shown = text_of(console)
    assert "[1/2] first   phantom" in shown
    assert "1 of 2 cells done, 1 running" in shown
    assert re.search(r"second +probe +1/\d+ +PRES-1 pass", shown)


def test_progress_of_a_whole_run_ends_with_all_cells(tmp_path: Path) -> None:
    folder = demo(tmp_path)
    console = log()
    with LiveProgress(cells_of(folder), console) as progress:
        progress.update(tail_records(folder, 0)[0])
    lines = text_of(console).splitlines()
    assert len(lines) == 36
    assert lines[-1].startswith("[18/18] ")
    assert not any("\x1b" in line for line in lines)


def test_a_probe_answer_in_words() -> None:
    console = log()
    cell = probe_cell("one")
    print_probe(probe_answer(cell, PmuVerdict.COUNTING), "KVM is not there", console)
    text = text_of(console)
    assert text.startswith("counting: ")
    assert "KVM is not there" in text
    assert re.search(r"cycle +0x11 +counting +4,912,345 in 1,000,000 iterations", text)
    assert "overflow interrupts: counted and overflowed are not the same: cycle" in text
    print_probe(probe_answer(cell, PmuVerdict.ABSENT), "", console)
    assert "absent: No PMU is advertised." in text_of(console)


def test_the_nearest_good_cell_is_told(tmp_path: Path) -> None:
    folder = demo(tmp_path, {"embedded-max-pmu_on-shared-grant": {"FREE-2": Outcome.FAIL}})
    console = log()
    print_summary(summarize(folder), folder, console)
    text = text_of(console)
    assert (
        "NEAR  embedded-max-pmu_on-shared-grant (broken): works in embedded-max-pmu_on-exclusive-grant, "
        "where hal.generation shared → exclusive\n"
    ) in text


def test_a_question_that_stopped_a_guest_is_a_finding(tmp_path: Path) -> None:
    """Also where no page says what must happen: nothing is violated, and somebody has to look."""
    console = log()
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1", "PARAM-4", "IRQL-2")})
    run.clause("one", "PRES-1")
    run.clause("one", "PARAM-4", Outcome.RECORDED, "NULL for CounterSetHandle: bugcheck (0x50 PAGE_FAULT)")
    run.clause("one", "IRQL-2", Outcome.RECORDED, "free at DISPATCH_LEVEL: documented error (STATUS_X)")
    run.end("one", Verdict.PHANTOM)
    summary = summarize(tmp_path)
    print_summary(summary, tmp_path, console)
    (line,) = (line for line in text_of(console).splitlines() if line.startswith("CRASH"))
    assert line == "CRASH PARAM-4: NULL for CounterSetHandle: bugcheck (0x50 PAGE_FAULT)  [one]"
    assert summary.exit_code == 0
