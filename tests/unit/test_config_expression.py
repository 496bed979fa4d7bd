"""The language that chooses cells: what it means, and that every mistake names its column."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.expression import ExpressionError
from harness.config.facts import NAMES, facts_of, parse_choice
from harness.config.models import Cell, HalSettings, Start

CELL = Cell(
    id="embedded-nehalem-pmu_on",
    guest="embedded",
    cpu="Nehalem,+rdrand",
    pmu=True,
    smp=4,
    start=Start.COLD,
    hal=HalSettings(defect="double-grant"),
)
FACTS = facts_of(CELL, ("slow", "nightly"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pmu=on", True),
        ("pmu=off", False),
        ("pmu!=off", True),
        ("PMU_ON", True),  # a word, as a part of the id
        ("nehalem and not pmu_off", True),
        ("cpu=nehalem", False),
        ("cpu~nehalem", True),
        ("cpu='Nehalem,+rdrand'", True),
        ("cpu=Nehalem,+rdrand", True),
        ("cpu!~'rdrand'", False),
        ("smp>2", True),
        ("smp>=4 and smp<=4", True),
        ("smp<4", False),
        ("memory_mib>9", True),  # as numbers: as text, 512 comes before 9
        ("tag=slow", True),
        ("tag=night", False),
        ("tag~night", True),
        ("tag!=slow", False),
        ("tag!=fast", True),
        ("guest~embed and (start=clone or defect=double-grant)", True),
        ("start=clone or defect=double-grant and pmu=off", False),  # and binds closer
        ("not pmu=off and not (smp=4 and tag=slow)", False),
        ("not not pmu=on", True),
        ("  pmu  =  on  ", True),
        ("generation=shared", True),
        ("'and'", False),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    assert parse_choice(text)(FACTS) is expected


def test_a_cell_without_a_guest() -> None:
    assert parse_choice("guest=none and tag!=x")(facts_of(Cell(id="p", guest=None)))


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "something is missing"),
        ("pmu=on and", 11, "something is missing"),
        ("gest=embedded", 1, "did you mean 'guest'?"),
        ("pmu=onn", 5, "did you mean 'on'?"),
        ("accel=hvf", 7, "values of accel: auto, kvm, tcg"),
        ("smp>two", 5, "'two' is no whole number"),
        ("cpu>2", 1, "cpu is no number"),
        ("(pmu=on or smp=2", 1, "not closed"),
        ("pmu=on)", 7, "not expected here"),
        ("pmu=on smp=2", 8, "join parts with and, or"),
        ("pmu=on and and smp=2", 12, "missing before 'and'"),
        ("pmu=", 5, "something is missing"),
        ("pmu==on", 5, "a value is missing behind '='"),
        ("cpu='max", 5, "this quote is not closed"),
        ("pmu=on & smp=2", 8, "'&' does not belong here"),
        ("not", 4, "something is missing"),
    ],
)
def test_a_mistake_names_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_choice(text)
    assert caught.value.column == column
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_a_mistake_and_no_crash() -> None:
    for text in ("(" * 5000 + "x", "not " * 5000 + "x"):
        with pytest.raises(ExpressionError, match="nested too deeply"):
            parse_choice(text)


@given(st.text(alphabet="pmuonofsd=~!<>()'\" 12az&\x00é", max_size=30))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    try:
        parse_choice(text)(FACTS)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1


@dataclass(frozen=True)
class Node:
    """An expression with its value, made beside each other."""

    text: str
    value: bool


LEAVES = st.sampled_from(
    [Node("pmu=on", True), Node("smp>9", False), Node("nehalem", True), Node("tag=x", False)]
)


def joined(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    pairs = st.tuples(inner, inner)
    return (
        pairs.map(lambda p: Node(f"({p[0].text} and {p[1].text})", p[0].value and p[1].value))
        | pairs.map(lambda p: Node(f"({p[0].text} or {p[1].text})", p[0].value or p[1].value))
        | inner.map(lambda n: Node(f"not {n.text}", not n.value))
    )


@given(st.recursive(LEAVES, joined, max_leaves=12))
def test_any_combination_has_the_value_of_its_parts(node: Node) -> None:
    assert parse_choice(node.text)(FACTS) is node.value


def test_every_setting_of_a_cell_has_a_name() -> None:
    assert set(NAMES) == (set(Cell.model_fields) | set(HalSettings.model_fields) | {"tag"}) - {"hal"}
    assert set(FACTS) == set(NAMES)
