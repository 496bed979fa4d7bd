"""Two runs side by side: each kind of change is found, named once, and told so that one could send it round."""

from __future__ import annotations

import itertools
import json
import random
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from harness.contract.clauses import CLAUSES
from harness.contract.outcomes import Outcome, Verdict
from harness.errors import UsageError
from harness.report import compare_text
from harness.report.compare import compare_folders
from harness.report.comparison import Comparison
from harness.report.schemas import json_schema
from harness.report.speed import greater, slower
from harness.runs.record import CellRecord
from tests.report.synthetic import START, RunBuilder, demo, guest_cell
from tests.unit.test_cli import halpmc

CELLS = tuple(f"embedded-max-pmu_on-{g}-{w}" for g in ("exclusive", "shared") for w in ("grant", "refuse"))
FREE_2 = {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL}}
LATER = START + timedelta(days=1)


def test_two_like_runs_differ_in_nothing(tmp_path: Path) -> None:
    found = compare_folders(demo(tmp_path / "a"), demo(tmp_path / "b", begin=LATER))
    assert compare_text.parts_of(found) == []
    assert found.gate == 0
    assert compare_text.opening(found) == (
        "Nothing is newly violated. Every cell shows what it showed before. "
        "Both runs stand on the same: guest, driver, QEMU, kernel."
    )


def test_a_new_failure_is_one_line_with_its_cells_and_closes_the_gate(tmp_path: Path) -> None:
    found = compare_folders(demo(tmp_path / "a"), demo(tmp_path / "b", FREE_2, begin=LATER))
    [change] = found.new_failures
    assert (change.clause, set(change.cells), change.new) == ("FREE-2", set(CELLS), "fail")
    assert found.gate == 1
    text = compare_text.plain(found)
    assert f"Newly violated: FREE-2 in 4 of {found.new.cells} cells." in text
    assert "Freeing a handle twice is an invalid parameter." in text
    back = compare_folders(tmp_path / "b", tmp_path / "a")
    assert [change.clause for change in back.fixed] == ["FREE-2"]
    assert back.gate == 0
    again = compare_folders(tmp_path / "b", demo(tmp_path / "c", FREE_2, begin=LATER + timedelta(days=1)))
    assert [change.clause for change in again.still_failing] == ["FREE-2"]
    assert (again.new_failures, again.gate) == ((), 0)


def test_what_is_not_judged_any_more_is_no_pass(tmp_path: Path) -> None:
    """A gate that only counts failures would open for a run in which nothing could be judged."""
    errors = {"embedded-max-pmu_on": {"FREE-2": Outcome.ERROR}}
    found = compare_folders(demo(tmp_path / "a", FREE_2), demo(tmp_path / "b", errors, begin=LATER))
    assert found.fixed == ()
    assert [(change.clause, change.old, change.new) for change in found.lost] == [("FREE-2", "fail", "error")]
    assert found.gate == 3
    back = compare_folders(tmp_path / "b", demo(tmp_path / "c", begin=LATER))
    assert [change.clause for change in back.regained] == ["FREE-2"]


def small(folder: Path, outcomes: dict[str, Outcome], *, planned: tuple[str, ...] = ()) -> Path:
    """A run of one cell with these outcomes; `planned` are clauses that were not recorded."""
    run = RunBuilder(folder, [guest_cell("one")], clauses={"one": (*outcomes, *planned)})
    for clause, outcome in outcomes.items():
        run.clause("one", clause, outcome)
    run.end("one", Verdict.PHANTOM)
    return run.finish()


P, F, S, E, R = Outcome.PASS, Outcome.FAIL, Outcome.SKIPPED, Outcome.ERROR, Outcome.RECORDED


@pytest.mark.parametrize(
    ("old", "new", "kind", "gate"),
    [
        (P, F, "new_failures", 1),
        (E, F, "new_failures", 1),
        (S, F, "new_failures", 1),
        (F, F, "still_failing", 0),
        (F, P, "fixed", 0),
        (F, S, "lost", 0),
        (F, E, "lost", 3),
        (P, E, "lost", 3),
        (R, E, "lost", 3),
        (P, "not recorded", "lost", 3),
        (F, "not recorded", "lost", 3),
        (P, "not planned", "lost", 0),
        (P, S, "lost", 0),
        (E, P, "regained", 0),
        ("not planned", P, "regained", 0),
        (S, E, "", 0),
        (P, R, "", 0),
    ],
)
def test_every_change_of_a_result_has_its_kind(
    old: Outcome | str, new: Outcome | str, kind: str, gate: int, tmp_path: Path
) -> None:
    folders = [
        small(
            tmp_path / name,
            {"PRES-1": P, **({"ALLOC-2": one} if isinstance(one, Outcome) else {})},
            planned=("ALLOC-2",) if one == "not recorded" else (),
        )
        for name, one in (("a", old), ("b", new))
    ]
    found = compare_folders(*folders)
    changes = {
        name: [(change.clause, change.old, change.new) for change in getattr(found, name)]
        for name in ("new_failures", "still_failing", "fixed", "lost", "regained")
        if getattr(found, name)
    }
    assert changes == ({kind: [("ALLOC-2", str(old), str(new))]} if kind else {})
    assert found.gate == gate


def test_what_was_fixed_is_told_with_what_was_wrong(tmp_path: Path) -> None:
    for name, outcome, reason in (("a", F, "freed twice"), ("b", P, "STATUS_INVALID_PARAMETER")):
        run = RunBuilder(tmp_path / name, [guest_cell("one")], clauses={"one": ("FREE-2",)})
        run.clause("one", "FREE-2", outcome, reason)
        run.end("one", Verdict.PHANTOM)
        run.finish()
    [change] = compare_folders(tmp_path / "a", tmp_path / "b").fixed
    assert change.reason == "freed twice"


def test_a_cell_that_is_broken_without_a_clause_is_a_failure(tmp_path: Path) -> None:
    """Such as a refusal with a status that no page documents."""
    for name, verdict in (("a", Verdict.REFUSED), ("b", Verdict.BROKEN), ("c", Verdict.BROKEN)):
        run = RunBuilder(tmp_path / name, [guest_cell("one")], clauses={"one": ("PRES-1",)})
        run.clause("one", "PRES-1")
        run.end("one", verdict, "a reason")
        run.finish()
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    [change] = found.new_failures
    assert (change.clause, change.old, change.new, change.reason) == ("", "refused", "broken", "a reason")
    assert found.gate == 1
    [other] = found.verdicts
    assert (other.old, other.new, other.cells) == ("refused", "broken", ("one",))
    again = compare_folders(tmp_path / "b", tmp_path / "c")
    assert (again.new_failures, len(again.still_failing), again.gate) == ((), 1, 0)


def test_what_is_lost_is_counted_by_cells(tmp_path: Path) -> None:
    cells = [guest_cell(name) for name in ("one", "two")]
    for name, outcome in (("a", P), ("b", E)):
        clauses = dict.fromkeys(("one", "two"), ("FREE-1",))
        run = RunBuilder(tmp_path / name, cells, clauses=clauses)
        for cell in cells:
            run.clause(cell.id, "FREE-1", outcome)
            run.end(cell.id, Verdict.PHANTOM)
        run.finish()
    text = compare_text.opening(compare_folders(tmp_path / "a", tmp_path / "b"))
    assert "2 results that could be judged cannot be judged now." in text


def test_a_run_that_was_killed_does_not_open_the_gate(tmp_path: Path) -> None:
    demo(tmp_path / "a")
    demo(tmp_path / "b", begin=LATER)
    records = tmp_path / "b" / "records.jsonl"
    records.write_text("\n".join(records.read_text().splitlines()[:-1]) + "\n")
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert found.gate == 3
    assert "did not end" in compare_text.opening(found)


def test_new_and_removed_cells_are_named_and_a_new_one_may_fail(tmp_path: Path) -> None:
    for name, cells, bad in (("a", ("one", "two"), ""), ("b", ("two", "three"), "three")):
        run = RunBuilder(
            tmp_path / name, [guest_cell(c) for c in cells], clauses=dict.fromkeys(cells, ("FREE-1",))
        )
        for cell in cells:
            run.cell(cell, Verdict.PHANTOM, outcomes={"FREE-1": Outcome.FAIL} if cell == bad else {})
        run.finish()
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert (found.new_cells, found.removed_cells) == (("three",), ("one",))
    [change] = found.new_failures
    assert (change.cells, change.old) == (("three",), "not planned")
    good = compare_folders(tmp_path / "b", tmp_path / "a")
    assert (good.new_cells, good.regained, good.gate) == (("one",), (), 0), "a new cell had nothing to lose"


def test_differences_of_provenance_are_named_with_their_cells(tmp_path: Path) -> None:
    old = demo(tmp_path / "a")
    new = demo(
        tmp_path / "b", begin=LATER, provenance={"driver_sha256": "9f" * 32}, host={"kernel": "6.12.0"}
    )
    found = compare_folders(old, new)
    named = {one.key: (one.old, one.new, one.cells) for one in found.provenance}
    assert named == {
        "host_kernel": ("6.1.0-1-amd64", "6.12.0", ()),
        "driver_sha256": ("2e" * 32, "9f" * 32, ()),
    }
    text = compare_text.plain(found)
    assert "test driver: 2e2e2e2e2e2e → 9f9f9f9f9f9f" in text
    assert (
        "What differs between the runs: host kernel (6.1.0-1-amd64 → 6.12.0) and test driver."
        in compare_text.opening(found)
    )


def test_a_difference_of_some_cells_names_them_and_one_that_did_not_start_says_nothing(
    tmp_path: Path,
) -> None:
    names = ("same", "other", "never")
    for folder, driver in (("a", "2e"), ("b", "9f")):
        run = RunBuilder(
            tmp_path / folder, [guest_cell(n) for n in names], clauses=dict.fromkeys(names, ("FREE-1",))
        )
        for name in names:
            if (folder, name) != ("b", "never"):
                run.start(name)
            if name == "other":
                run.write(CellRecord(cell=name, provenance={"driver_sha256": driver * 32}))
            run.clause(name, "FREE-1")
            run.end(name, Verdict.PHANTOM)
        run.finish()
    found = compare_folders(tmp_path / "a", tmp_path / "b")
    assert [(one.key, one.cells) for one in found.provenance] == [("driver_sha256", ("other",))]


def test_another_matrix_is_told(tmp_path: Path) -> None:
    old, new = small(tmp_path / "a", {"FREE-1": P}), small(tmp_path / "b", {"FREE-1": P})
    records = new / "records.jsonl"
    records.write_text(records.read_text().replace("ab" * 32, "cd" * 32))
    [difference] = compare_folders(old, new).provenance
    assert (difference.key, difference.old, difference.new) == ("matrix", "ab" * 32, "cd" * 32)


def test_another_configuration_under_the_same_name_is_told_by_its_axes(tmp_path: Path) -> None:
    for name, settings in (("a", {}), ("b", {"smp": 4})):
        run = RunBuilder(tmp_path / name, [guest_cell("one", **settings)], clauses={"one": ("FREE-1",)})
        run.cell("one", Verdict.PHANTOM)
        run.finish()
    [difference] = compare_folders(tmp_path / "a", tmp_path / "b").provenance
    assert (difference.title, difference.old, difference.new) == ("smp", "2", "4")


def seen(folder: Path, **call: object) -> Path:
    run = RunBuilder(folder, [guest_cell("one")], clauses={"one": ("ALLOC-8",)})
    run.clause("one", "ALLOC-8", Outcome.RECORDED, observations=(("answers", {"empty mask": call}),))
    run.end("one", Verdict.PHANTOM)
    return run.finish()


def test_a_record_changed_when_it_says_something_else(tmp_path: Path) -> None:
    old = seen(tmp_path / "a", status=0xC000000D, handle=0, cpu=0)
    new = seen(tmp_path / "b", status=0xC00000BB, handle=0, cpu=0)
    [change] = compare_folders(old, new).records
    assert (change.clause, change.cells) == ("ALLOC-8", ("one",))
    assert "empty mask" in change.what
    assert "STATUS_INVALID_PARAMETER" in change.old
    assert "STATUS_NOT_SUPPORTED" in change.new


def test_where_a_call_ran_and_the_value_of_a_handle_are_no_change(tmp_path: Path) -> None:
    old = seen(tmp_path / "a", status=0, handle=328, cpu=0)
    assert compare_folders(old, seen(tmp_path / "b", status=0, handle=2859080, cpu=1)).records == ()
    [change] = compare_folders(old, seen(tmp_path / "c", status=0, handle=0, cpu=0)).records
    assert (change.old, change.new) == ("not NULL", "NULL")


def test_what_was_seen_more_or_less_is_a_change(tmp_path: Path) -> None:
    def run_of(folder: Path, **answers: object) -> Path:
        run = RunBuilder(folder, [guest_cell("one")], clauses={"one": ("ALLOC-8",)})
        run.clause("one", "ALLOC-8", Outcome.RECORDED, observations=tuple(answers.items()))
        run.end("one", Verdict.PHANTOM)
        return run.finish()

    old = run_of(tmp_path / "a", first=[1, 2], second="x")
    for name, answers, told in (
        ("b", {"first": [1, 3], "second": "x"}, ("test_alloc_8: first, 1", "2", "3")),
        ("c", {"first": [1, 2]}, ("test_alloc_8: second", "x", "not seen")),
        ("d", {"first": [1, 2], "second": "x", "third": 3}, ("test_alloc_8: third", "not seen", "3")),
    ):
        [change] = compare_folders(old, run_of(tmp_path / name, **answers)).records
        assert (change.what, change.old, change.new) == told


def runs_with(folder: Path, before: list[float], after: list[float]) -> Comparison:
    """So many runs before a new driver came, and so many behind it; the last of each are compared."""
    folders = []
    for number, duration in enumerate([*before, *after]):
        cell_s = {"embedded-max-pmu_on-shared-grant": duration}
        new = {"driver_sha256": "9f" * 32} if number >= len(before) else None
        begin = START + timedelta(days=number)
        folders.append(demo(folder / f"{number:02d}", begin=begin, cell_s=cell_s, provenance=new))
    return compare_folders(folders[len(before) - 1], folders[-1])


def test_slower_takes_several_runs_on_each_side(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - made-up durations
    usual = [10 + chance.random() for _ in range(7)]
    found = runs_with(tmp_path / "many", usual, [13 + chance.random() for _ in range(7)])
    [speed] = found.slower
    assert (speed.cell, speed.old_runs, speed.new_runs) == ("embedded-max-pmu_on-shared-grant", 7, 7)
    assert 1.2 < speed.ratio < 1.4
    assert found.faster == ()
    assert "embedded-max-pmu_on-shared-grant: 10." in compare_text.plain(found)
    one = runs_with(tmp_path / "one", usual, [60.0])
    assert (one.slower, one.timing.judged) == ((), 0), "one sample, however slow, proves nothing"
    assert "Durations are not judged" in compare_text.plain(one)


def test_chance_alone_is_seldom_called_slower() -> None:
    """Of 300 cells whose durations only scatter, none, in almost every run: a list of false alarms is not read."""
    chance = random.Random(11)  # noqa: S311 - made-up durations
    alarms = 0
    for _ in range(20):
        old = {f"c{n}": [chance.gauss(10, 2) for _ in range(8)] for n in range(300)}
        new = {f"c{n}": [chance.gauss(10, 2) for _ in range(8)] for n in range(300)}
        alarms += bool(slower(old, new))
    assert alarms <= 3


def test_the_probability_is_that_of_all_orders() -> None:
    """Against counting every order of the samples."""
    for old, new in (([1, 2, 5], [3, 4, 6]), ([1, 2], [3, 4, 5]), ([9, 8, 7, 1], [2, 3])):
        wins = sum(b > a for a in old for b in new)
        values = sorted([*old, *new])
        splits = list(itertools.combinations(values, len(new)))
        as_many = sum(
            sum(b > a for a in values if a not in chosen for b in chosen) >= wins for chosen in splits
        )
        assert greater(old, new) == pytest.approx(as_many / len(splits))
    assert greater([1, 1, 1], [1, 1, 1]) == 1.0, "ties are no evidence"


def test_markdown_shows_text_as_text(tmp_path: Path) -> None:
    text = "<img src=x> [a](javascript:alert(1)) *b* | `c`"
    for name, outcome in (("a", Outcome.PASS), ("b", Outcome.FAIL)):
        run = RunBuilder(tmp_path / name, [guest_cell("one")], clauses={"one": ("FREE-1",)})
        run.clause("one", "FREE-1", outcome, text if outcome is Outcome.FAIL else "")
        run.end("one", Verdict.BROKEN if outcome is Outcome.FAIL else Verdict.PHANTOM)
        run.finish()
    markdown = compare_text.markdown(compare_folders(tmp_path / "a", tmp_path / "b"))
    assert "\\<img src=x\\> \\[a\\](javascript:alert(1)) \\*b\\* \\| \\`c\\`" in markdown
    assert markdown.startswith("# synthetic: the run of 14 March 2025")


def test_markdown_of_names_that_are_markup(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        run = RunBuilder(tmp_path / folder, [guest_cell("one")], name="<b>*x*", clauses={"one": ("<i>_c_",)})
        run.clause("one", "<i>_c_", Outcome.PASS if folder == "a" else Outcome.FAIL, "a reason")
        run.end("one", Verdict.PHANTOM)
        run.finish()
    markdown = compare_text.markdown(compare_folders(tmp_path / "a", tmp_path / "b"))
    assert "<b>" not in markdown and "<i>" not in markdown
    assert markdown.startswith("# \\<b\\>\\*x\\*: the run of")
    assert "**\\<i\\>\\_c\\_ in 1 cell**" in markdown


def test_the_opening_names_five_clauses_and_of_more_the_first_four(tmp_path: Path) -> None:
    clauses = ("ALLOC-1", "ALLOC-2", "ALLOC-3", "FREE-1", "FREE-2", "FREE-3")
    old = small(tmp_path / "a", dict.fromkeys(clauses, P))
    for number, words in (
        (5, "ALLOC-1, ALLOC-2, ALLOC-3, FREE-1 and FREE-2 in 1 cell."),
        (6, "ALLOC-1, ALLOC-2, ALLOC-3, FREE-1 and 2 more in 1 cell."),
    ):
        outcomes = {clause: F if n < number else P for n, clause in enumerate(clauses)}
        new = small(tmp_path / str(number), outcomes)
        assert f"Newly violated: {words}" in compare_text.opening(compare_folders(old, new))


def sound_and_broken(folder: Path) -> Comparison:
    """A sound HAL, and one that grants what is held: the same clause fails with other words in each cell."""
    source = CLAUSES["ALLOC-2"].source
    sentence = f"{CLAUSES['ALLOC-2'].title.rstrip('.')} ({source})"
    for name in ("sound", "broken"):
        cells = [guest_cell(cell) for cell in ("one", "two", "three")]
        run = RunBuilder(folder / name, cells, clauses={cell.id: ("ALLOC-2",) for cell in cells})
        for number, cell in enumerate(cells):
            run.start(cell.id)
            run.write(CellRecord(cell=cell.id, provenance={"guest_kind": "wine"}))
            if name == "broken" and cell.id != "three":
                reason = f"granted as {number:#x} while held [{sentence}; a fact]; granted again [{sentence}]"
                run.clause(cell.id, "ALLOC-2", F, f"{reason}; {'and again, ' * 60}")
                run.end(cell.id, Verdict.BROKEN)
            else:
                run.clause(cell.id, "ALLOC-2", P)
                run.end(cell.id, Verdict.PHANTOM)
        run.finish()
    return compare_folders(folder / "sound", folder / "broken")


def test_the_text_is_one_that_a_person_would_send(tmp_path: Path) -> None:
    found = sound_and_broken(tmp_path)
    assert len(found.new_failures) == 2, "the data have each reason"
    assert found.unchanged == ("three",)
    [newly] = [part for part in compare_text.parts_of(found) if part.title == "Newly violated"]
    [point] = newly.points
    assert (point.line, point.cells) == ("ALLOC-2 in 2 cells", ("one", "two"))
    assert point.notes == (
        CLAUSES["ALLOC-2"].title,
        f"source: {CLAUSES['ALLOC-2'].source}",
        "seen: granted as 0x0 while held [a fact]; granted again; … (and 1 other reason like it)",
    )
    text = compare_text.plain(found)
    assert max(len(line) for line in text.splitlines()) <= compare_text.WIDTH
    words = " ".join(text.split())
    assert "Newly violated: ALLOC-2 in 2 of 3 cells. 1 other cell shows what it showed before." in words
    assert "before 14 March 2025, 09:26 UTC: all conform 3 pass" in words
    assert "now 14 March 2025, 09:26 UTC: contract violation 2 violated, 1 pass" in words
    for shown in (words, compare_text.markdown(found)):
        assert "Wine guest with the reference HAL, not Windows" in shown


def test_the_command(tmp_path: Path) -> None:
    old, new = demo(tmp_path / "a"), demo(tmp_path / "b", FREE_2, begin=LATER)
    done = halpmc("compare", str(old), str(new))
    assert (done.returncode, "Newly violated" in done.stdout) == (0, True)
    done = halpmc("compare", str(old), str(new), "--gate", "--json")
    assert done.returncode == 1
    jsonschema.validate(json.loads(done.stdout), json_schema("comparison"))
    done = halpmc("compare", str(old), str(new), "--gate", "--markdown")
    assert (done.returncode, done.stdout.startswith("# ")) == (1, True)
    assert halpmc("compare", str(old), str(tmp_path)).returncode == 2
    with pytest.raises(UsageError):
        compare_folders(old, tmp_path)
