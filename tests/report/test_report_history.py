"""The history: right from the records alone, made again when it is damaged, and flaky means flaky."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.errors import InfrastructureError, UsageError
from harness.report import history_store
from harness.report.history import LAST_SHOWN, durations, history_of, previous_run, read_history
from harness.report.history_store import FILE_NAME, open_store
from tests.report.synthetic import START, RunBuilder, demo, guest_cell, series

CELL = "embedded-max-pmu_off-shared-grant"


def _day(number: int) -> datetime:
    return START + timedelta(days=number)


def test_runs_and_their_verdicts_are_those_of_the_records(tmp_path: Path) -> None:
    series(tmp_path, 3, {1: {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL}}})
    history = read_history(tmp_path)
    assert [run.folder for run in history.runs] == ["000-demo", "001-demo", "002-demo"]
    assert [run.exit_code for run in history.runs] == [0, 1, 0]
    assert [run.verdicts.get(Verdict.BROKEN, 0) for run in history.runs] == [0, 4, 0]
    assert [run.counts[Outcome.FAIL] for run in history.runs] == [0, 4, 0]
    assert all(run.cells == 18 and run.finished for run in history.runs)
    assert {cell.cell for cell in history.cells} >= {CELL, "aarch64-probe-pmu_on"}


def test_a_result_that_comes_and_goes_on_the_same_ground_is_flaky(tmp_path: Path) -> None:
    defect = {CELL: {"ALLOC-6": Outcome.FAIL}}
    series(tmp_path, 6, {2: defect, 4: defect})
    [flaky] = read_history(tmp_path).flaky
    assert (flaky.cell, flaky.clause, flaky.changes, flaky.pairs) == (CELL, "ALLOC-6", 4, 5)
    assert flaky.rate == 0.8
    assert [outcome is Outcome.FAIL for outcome in flaky.last] == [False, False, True, False, True, False]


def test_a_change_with_another_driver_is_no_flake(tmp_path: Path) -> None:
    demo(tmp_path / "a", begin=_day(0))
    demo(
        tmp_path / "b",
        {CELL: {"ALLOC-6": Outcome.FAIL}},
        begin=_day(1),
        provenance={"driver_sha256": "9f" * 32},
    )
    assert read_history(tmp_path).flaky == ()


def test_only_pairs_on_the_same_ground_are_counted(tmp_path: Path) -> None:
    """The driver changed and the result with it; then the result changed alone: one change in one pair."""
    for number, (driver, outcome) in enumerate(
        (("1f", Outcome.PASS), ("9f", Outcome.FAIL), ("9f", Outcome.PASS))
    ):
        provenance = {"driver_sha256": driver * 32}
        demo(tmp_path / f"{number}", {CELL: {"ALLOC-6": outcome}}, begin=_day(number), provenance=provenance)
    [flaky] = read_history(tmp_path).flaky
    assert (flaky.changes, flaky.pairs) == (1, 1)


def test_a_skip_between_two_equal_results_is_no_change(tmp_path: Path) -> None:
    for number, outcome in enumerate((Outcome.PASS, Outcome.SKIPPED, Outcome.PASS)):
        run = RunBuilder(
            tmp_path / f"{number}", [guest_cell("one")], clauses={"one": ("FREE-1",)}, begin=_day(number)
        )
        run.cell("one", Verdict.PHANTOM, outcomes={"FREE-1": outcome})
        run.finish()
    assert read_history(tmp_path).flaky == ()


def test_clauses_that_come_later_do_not_move_the_others(tmp_path: Path) -> None:
    """A line of results has a letter per clause: another list of clauses must not shift them."""
    for number, clauses in enumerate((("FREE-1", "FREE-2"), ("PRES-1", "FREE-1", "FREE-2"))):
        run = RunBuilder(
            tmp_path / f"{number}", [guest_cell("one")], clauses={"one": clauses}, begin=_day(number)
        )
        run.cell("one", Verdict.PHANTOM, outcomes={"FREE-2": Outcome.FAIL if number else Outcome.ERROR})
        run.finish()
    [flaky] = read_history(tmp_path).flaky
    assert flaky.clause == "FREE-2"
    assert flaky.last == (Outcome.ERROR, Outcome.FAIL)


def test_as_many_clauses_of_other_names_are_other_clauses(tmp_path: Path) -> None:
    for number, clauses in enumerate((("FREE-1", "FREE-2"), ("FREE-2", "FREE-3"))):
        a_run(
            tmp_path / f"{number}",
            _day(number),
            dict.fromkeys(clauses, Outcome.PASS) | {clauses[0]: Outcome.FAIL},
        )
    [flaky] = read_history(tmp_path).flaky
    assert (flaky.clause, flaky.last) == ("FREE-2", (Outcome.PASS, Outcome.FAIL))


def test_the_same_clauses_in_another_order_are_the_same(tmp_path: Path) -> None:
    outcomes = {"FREE-1": Outcome.PASS, "FREE-2": Outcome.ERROR}
    a_run(tmp_path / "0", _day(0), outcomes)
    a_run(tmp_path / "1", _day(1), dict(reversed(outcomes.items())))
    assert read_history(tmp_path).flaky == ()


def a_run(
    folder: Path,
    begin: datetime,
    outcomes: dict[str, Outcome],
    *,
    finished: bool = True,
    partial: bool = False,
    seconds: float = 11.2,
    verdict: Verdict = Verdict.PHANTOM,
    driver: str = "2e",
) -> None:
    run = RunBuilder(
        folder, [guest_cell("one")], clauses={"one": tuple(outcomes)}, begin=begin, partial=partial,
        cell_s={"one": seconds}, provenance={"driver_sha256": driver * 32},
    )  # fmt: skip
    run.start("one")
    for clause, outcome in outcomes.items():
        run.clause("one", clause, outcome)
    run.end("one", verdict)
    if finished:
        run.finish()


PASSED = {"FREE-1": Outcome.PASS}


def test_the_last_runs_are_the_newest_and_up_to_a_time(tmp_path: Path) -> None:
    for number in range(5):
        a_run(tmp_path / f"{number}", _day(number), PASSED, seconds=10.0 + number)
    history = read_history(tmp_path, last=3)
    assert [run.folder for run in history.runs] == ["2", "3", "4"]
    [times] = history.cells
    assert (times.runs, times.min_s, times.median_s, times.max_s, times.last_s) == (3, 12.0, 13.0, 14.0, 14.0)
    with open_store(tmp_path / FILE_NAME) as store:
        past = history_of(store, str(tmp_path), last=2, until=_day(3).isoformat())
    assert [run.folder for run in past.runs] == ["2", "3"]


def test_the_last_twenty_results_are_shown(tmp_path: Path) -> None:
    for number in range(LAST_SHOWN + 2):
        a_run(tmp_path / f"{number:02}", _day(number), {"FREE-1": Outcome.PASS if number else Outcome.FAIL})
    [flaky] = read_history(tmp_path).flaky
    assert (flaky.changes, flaky.last) == (1, (Outcome.PASS,) * LAST_SHOWN)


def test_the_run_before_is_the_last_whole_one(tmp_path: Path) -> None:
    """Of the same matrix; a killed one, or one of some tests, is none to compare with."""
    a_run(tmp_path / "oldest", _day(0), PASSED)
    a_run(tmp_path / "older", _day(1), PASSED)
    a_run(tmp_path / "killed", _day(2), PASSED, finished=False)
    a_run(tmp_path / "partial", _day(3), PASSED, partial=True)
    demo(tmp_path / "other-matrix", begin=_day(4))
    a_run(tmp_path / "this", _day(5), PASSED)
    a_run(tmp_path / "later", _day(6), PASSED)
    with open_store(tmp_path / FILE_NAME) as store:
        store.sync(tmp_path, lambda _: None)
        assert previous_run(store, "this") == "older"
        assert previous_run(store, "oldest") is None


def test_durations_are_of_runs_on_the_same_ground_that_were_judged(tmp_path: Path) -> None:
    a_run(tmp_path / "0", _day(0), PASSED, seconds=1.0)
    a_run(tmp_path / "1", _day(1), PASSED, seconds=2.0, driver="9f")
    a_run(tmp_path / "2", _day(2), PASSED, seconds=3.0)
    a_run(tmp_path / "3", _day(3), PASSED, seconds=4.0, verdict=Verdict.UNKNOWN)
    a_run(tmp_path / "4", _day(4), PASSED, seconds=5.0)
    a_run(tmp_path / "5", _day(5), PASSED, seconds=6.0)

    def between(begin: str, last: int) -> list[float]:
        return durations(store, "synthetic", begin, _day(last).isoformat())["one"]

    with open_store(tmp_path / FILE_NAME) as store:
        store.sync(tmp_path, lambda _: None)
        assert between("", 4) == [5.0, 3.0, 1.0]
        assert between(_day(2).isoformat(), 5) == [6.0, 5.0], "what the other side has is not counted again"


def test_records_that_changed_and_are_as_long_as_before_are_read_again(tmp_path: Path) -> None:
    a_run(tmp_path / "0", _day(0), PASSED)
    assert read_history(tmp_path).runs[0].counts[Outcome.FAIL] == 0
    records = tmp_path / "0" / "records.jsonl"
    records.write_text(records.read_text().replace('"pass"', '"fail"'))
    assert read_history(tmp_path).runs[0].counts[Outcome.FAIL] == 1


def test_a_file_that_somebody_else_writes_to_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run(tmp_path / "0", _day(0), PASSED)
    read_history(tmp_path)
    monkeypatch.setattr(history_store, "WAIT_S", 0.1)
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("BEGIN EXCLUSIVE")
    said: list[str] = []
    with pytest.raises(InfrastructureError, match="database is locked"):
        read_history(tmp_path, say=said.append)
    assert said == []
    other.rollback()
    other.close()
    assert len(read_history(tmp_path).runs) == 1


def test_a_run_that_takes_the_place_of_one_that_is_gone(tmp_path: Path) -> None:
    """Nothing of the old one's results is left to stand in its way."""
    for number in range(2):
        a_run(tmp_path / f"{number}", _day(number), PASSED)
    read_history(tmp_path)
    shutil.rmtree(tmp_path / "1")
    read_history(tmp_path)
    a_run(tmp_path / "2", _day(2), {"FREE-1": Outcome.FAIL})
    history = read_history(tmp_path)
    assert [(run.folder, run.counts[Outcome.FAIL]) for run in history.runs] == [("0", 0), ("2", 1)]


def test_what_grew_is_read_again_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    folders = series(tmp_path, 2, {})
    lines = (folders[1] / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folders[1] / "records.jsonl").write_bytes(b"".join(lines[:40]))
    assert [run.finished for run in read_history(tmp_path).runs] == [True, False]
    (folders[1] / "records.jsonl").write_bytes(b"".join(lines))
    assert [run.finished for run in read_history(tmp_path).runs] == [True, True]
    shutil.rmtree(folders[0])
    assert [run.folder for run in read_history(tmp_path).runs] == ["001-demo"]


@pytest.mark.parametrize("content", [b"no database" * 400, b"SQLite format 3\0" + b"\xff" * 4096, "format"])
def test_a_damaged_file_or_one_of_another_format_is_made_again(tmp_path: Path, content: bytes | str) -> None:
    series(tmp_path, 2, {})
    before = read_history(tmp_path)
    file = tmp_path / FILE_NAME
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        connection = sqlite3.connect(file)
        connection.execute("UPDATE meta SET format = 'of tomorrow'")
        connection.commit()
        connection.close()
    said: list[str] = []
    assert read_history(tmp_path, say=said.append) == before
    assert any("made again" in text for text in said)


def test_a_folder_that_is_no_run_is_told_and_passed_over(tmp_path: Path) -> None:
    series(tmp_path, 1, {})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "records.jsonl").write_text("{}\n")
    said: list[str] = []
    assert [run.folder for run in read_history(tmp_path, say=said.append).runs] == ["000-demo"]
    assert any("broken" in text for text in said)


def test_a_folder_that_is_not_there_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of runs"):
        read_history(tmp_path / "gone")
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(InfrastructureError, match="cannot be used"):
        read_history(tmp_path)


def test_processes_that_read_at_once_agree(tmp_path: Path) -> None:
    series(tmp_path, 4, {2: {CELL: {"ALLOC-6": Outcome.FAIL}}})
    command = [sys.executable, "-m", "harness.cli", "history", str(tmp_path), "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(3)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]["runs"]) == 4
    assert answers[0]["flaky"][0]["clause"] == "ALLOC-6"


def test_the_table_names_runs_and_what_comes_and_goes(tmp_path: Path) -> None:
    series(tmp_path, 3, {1: {CELL: {"ALLOC-6": Outcome.FAIL}}})
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "history", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for text in ("001-demo", "broken 1", "ALLOC-6", "2 in 2 (100%)", "Slowest cells"):
        assert text in done.stdout
