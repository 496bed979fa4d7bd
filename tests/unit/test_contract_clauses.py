"""The catalogue of clauses, the suite, and the names of statuses."""

from __future__ import annotations

import re

import pytest

from harness.config.models import Cell, Generation
from harness.contract import status
from harness.contract.clauses import CLAUSES, SUITE, JudgementKind, clause, suite_for
from harness.contract.judgement import combine, failed, passed, recorded, skip_other_generation, skipped
from harness.contract.outcomes import Outcome
from harness.errors import UsageError
from harness.paths import project_root


def test_catalogue_is_complete_and_in_form() -> None:
    assert len(CLAUSES) == 42
    for name, entry in CLAUSES.items():
        assert name == entry.id
        assert re.fullmatch(r"[A-Z]+-([1-9]|X)", name)
        assert entry.title.endswith(".")
        assert entry.source
        assert entry.generations


def test_the_contract_knows_nothing_of_machines_and_guests() -> None:
    allowed = ("harness.config", "harness.contract", "harness.errors", "harness.probe.models")
    for path in (project_root() / "harness" / "contract").glob("*.py"):
        imported = re.findall(r"^(?:from|import) (harness\S*)", path.read_text(), re.MULTILINE)
        assert [name for name in imported if not name.startswith(allowed)] == [], path


def test_suite_is_what_is_covered_now() -> None:
    assert SUITE[:2] == ("PROBE-1", "PRES-1")
    assert len(SUITE) == len(set(SUITE)) == 29
    assert all(CLAUSES[name].judgement is not JudgementKind.CRASH for name in SUITE)


def test_suite_of_a_cell() -> None:
    assert suite_for(Cell(id="a")) == SUITE
    assert suite_for(Cell(id="a", guest=None)) == ("PROBE-1",)


def test_unknown_clause_names_the_nearest() -> None:
    assert clause("ALLOC-1").judgement is JudgementKind.ASSERT
    with pytest.raises(UsageError, match=r"there is no clause 'ALOC-3' — did you mean 'ALLOC-3'\?"):
        clause("ALOC-3")


@pytest.mark.parametrize(
    ("name", "generation", "applies"),
    [
        ("PARAM-X", Generation.EXCLUSIVE, True),
        ("PARAM-X", Generation.SHARED, False),
        ("PARAM-3", Generation.SHARED, True),
        ("PARAM-3", Generation.EXCLUSIVE, False),
        ("ALLOC-1", Generation.EXCLUSIVE, True),
    ],
)
def test_clauses_of_the_other_generation_are_skipped_with_a_reason(
    name: str, generation: Generation, applies: bool
) -> None:
    judgement = skip_other_generation(name, generation)
    assert (judgement is None) is applies
    if judgement is not None:
        assert judgement.outcome is Outcome.SKIPPED
        assert str(generation) in judgement.reason


def test_a_failure_carries_the_sentence_it_rests_on() -> None:
    judgement = failed("FREE-2", "seen", "a fact")
    sentence, fact = judgement.because
    assert sentence.startswith("Freeing a handle twice is an invalid parameter (HalFreeHardwareCounters")
    assert fact == "a fact"


def test_combine_takes_what_counts_and_all_its_reasons() -> None:
    assert combine(skipped("a"), recorded("b")).outcome is Outcome.RECORDED
    assert combine(passed("a"), skipped("b"), recorded("c")).outcome is Outcome.PASS
    worst = combine(passed("a"), failed("FREE-1", "b"), skipped("c"), failed("FREE-1", "d"))
    assert (worst.outcome, worst.reason) == (Outcome.FAIL, "b; d")
    assert len(worst.because) == 1
    with pytest.raises(ValueError, match="nothing to combine"):
        combine()


def test_statuses_by_name() -> None:
    assert status.format_status(0xC000009A) == "STATUS_INSUFFICIENT_RESOURCES (0xC000009A)"
    assert status.format_status(0) == "STATUS_SUCCESS (0x00000000)"
    assert status.format_status(0xC0001234) == "0xC0001234"


def test_documented_statuses_follow_the_edition_of_the_page() -> None:
    exclusive, shared = (status.documented_allocate(generation) for generation in Generation)
    assert shared - exclusive == {0xC00000BB}
    assert exclusive == {0, 0xC000009A, 0xC000000D}
    assert status.documented_free() == {0, 0xC000000D}
