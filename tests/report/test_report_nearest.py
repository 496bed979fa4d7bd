"""The nearest good cell: really good, really nearest, and only where something is wrong."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.contract.outcomes import Outcome, Verdict
from harness.report.nearest import Place, nearest_good
from harness.report.summary import summarize
from tests.report.synthetic import demo


def place(name: str, verdict: Verdict, *axes: str, failed: str = "", passed: str = "") -> Place:
    return Place(
        name,
        dict(zip("abc", axes, strict=False)),
        verdict,
        frozenset(failed.split()),
        frozenset(passed.split()),
    )


def test_a_phantom_cell_gets_the_usable_cell_with_the_fewest_differences() -> None:
    found = nearest_good(
        [
            place("x", Verdict.PHANTOM, "1", "1", "1"),
            place("far", Verdict.USABLE, "2", "2", "1"),
            place("near", Verdict.USABLE, "1", "2", "1"),
            place("closer, and no better", Verdict.PHANTOM, "1", "1", "1"),
        ]
    )
    assert found["x"].cell == "near"
    assert found["x"].differs == {"b": ("1", "2")}
    assert "near" not in found


def test_a_broken_cell_gets_one_where_the_same_clause_holds() -> None:
    found = nearest_good(
        [
            place("x", Verdict.BROKEN, "1", "1", failed="FREE-2"),
            place("did not try it", Verdict.REFUSED, "1", "1", passed="FREE-1"),
            place("broken otherwise", Verdict.BROKEN, "1", "1", failed="FREE-3", passed="FREE-2"),
            place("holds", Verdict.PHANTOM, "2", "2", passed="FREE-2"),
        ]
    )
    assert found["x"].cell == "holds"
    assert "broken otherwise" not in found, "nowhere does FREE-3 hold"


def test_there_may_be_none() -> None:
    assert nearest_good([place("x", Verdict.PHANTOM, "1"), place("y", Verdict.REFUSED, "1")]) == {}


VERDICTS = st.sampled_from([Verdict.PHANTOM, Verdict.USABLE, Verdict.BROKEN, Verdict.DEAD, Verdict.COUNTING])
PLACES = st.lists(st.tuples(VERDICTS, st.tuples(*[st.sampled_from("12")] * 3)), max_size=12)


@given(PLACES)
def test_no_good_cell_is_nearer(places: list[tuple[Verdict, tuple[str, ...]]]) -> None:
    all_ = [place(str(n), verdict, *axes) for n, (verdict, axes) in enumerate(places)]
    by_id = {one.id: one for one in all_}
    for name, found in nearest_good(all_).items():
        here, there = by_id[name], by_id[found.cell]
        assert {
            k: (here.axes[k], there.axes[k]) for k in "abc" if here.axes[k] != there.axes[k]
        } == found.differs
        better = {Verdict.PHANTOM: Verdict.USABLE, Verdict.DEAD: Verdict.COUNTING}
        for other in all_:
            if here.verdict in better and other.verdict is better[here.verdict]:
                assert sum(here.axes[k] != other.axes[k] for k in "abc") >= len(found.differs)


def test_the_summary_tells_it(tmp_path: Path) -> None:
    summary = summarize(demo(tmp_path, {"embedded-max-pmu_on-shared-grant": {"FREE-2": Outcome.FAIL}}))
    [broken] = [cell for cell in summary.cells if cell.verdict is Verdict.BROKEN]
    assert broken.nearest is not None
    assert broken.nearest.cell == "embedded-max-pmu_on-exclusive-grant"
    assert broken.nearest.differs == {"hal.generation": ("shared", "exclusive")}
    assert all(cell.nearest is None for cell in summary.cells if cell is not broken), (
        "no cell of the demo is usable"
    )
