"""The catalogue of clauses, the suite, and the names of statuses."""

from __future__ import annotations

import re

import pytest

from harness.config.models import Cell, Generation, SuitePart
from harness.contract import status
from harness.contract.clauses import CLAUSES, SUITE, JudgementKind, clause, suite_for
from harness.contract.judgement import combine, failed, passed, recorded, skipped
from harness.contract.outcomes import Outcome
from harness.errors import UsageError
from harness.paths import project_root


def test_catalogue_is_complete_and_in_form() -> None:
    assert len(CLAUSES) == 43
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


def test_the_suite_covers_every_clause() -> None:
    assert tuple(CLAUSES) == SUITE
    for entry in CLAUSES.values():
        assert (entry.judgement is JudgementKind.CRASH) is (entry.part is SuitePart.CRASH)


def test_suite_of_a_cell() -> None:
    assert suite_for(Cell(id="a")) == SUITE
    assert suite_for(Cell(id="a", guest=None)) == ("PROBE-1", "PROBE-2")
    basic = suite_for(Cell(id="a", suite=(SuitePart.BASIC,)))
    assert len(basic) == 37
    assert set(SUITE) - set(basic) == {"PARAM-4", "FREE-4", "IRQL-2", "LIFE-3", "LIFE-4", "LIFE-5"}
    assert suite_for(Cell(id="a", suite=(SuitePart.CRASH,))) == (
        "PROBE-1",
        "PROBE-2",
        "PARAM-4",
        "FREE-4",
        "IRQL-2",
    )
    assert suite_for(Cell(id="a", guest=None, suite=(SuitePart.CRASH,))) == ("PROBE-1", "PROBE-2")


def test_unknown_clause_names_the_nearest() -> None:
    assert clause("ALLOC-1").judgement is JudgementKind.ASSERT
    with pytest.raises(UsageError, match=r"there is no clause 'ALOC-3' — did you mean 'ALLOC-3'\?"):
        clause("ALOC-3")


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
