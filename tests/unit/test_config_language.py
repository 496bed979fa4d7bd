"""What matrices are made of beside axes: extends, overrides, strategies, tags, requirements, known issues."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.known import expired
from harness.config.load import load_matrix
from harness.config.matrix import Matrix
from harness.config.models import Arch
from harness.config.requirements import CpuVendor, Requirements
from harness.config.strategy import pairwise, sample
from harness.contract.clauses import CLAUSES
from harness.errors import ConfigError, UsageError

HEAD = "schema: 1\nname: t\n"
Load = Callable[[str], Matrix]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(body: str) -> Matrix:
        path = tmp_path / "m.yaml"
        path.write_text(HEAD + body)
        return load_matrix(path, clauses=CLAUSES)

    return load_text


def ids(matrix: Matrix) -> list[str]:
    return [cell.id for cell in matrix.cells]


# -- extends ------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(
        "schema: 1\nname: base\ndefaults: {smp: 2, memory_mib: 768}\naxes: {cpu: [max], pmu: [on, off]}\n"
        "exclude:\n  - {when: {cpu: Nehalem, pmu: on}, reason: from below}\ntags: [below]\n"
        "known_issues:\n  - {id: K-1, reason: r, clauses: [FREE-1], until: 2999-01-01}\n"
    )
    return path


@pytest.mark.usefixtures("base")
def test_a_matrix_on_top_of_another(load: Load) -> None:
    matrix = load(
        "extends: base.yaml\ndefaults: {memory_mib: 1024}\naxes: {cpu: [Nehalem, max]}\ntags: [above]\n"
        "include: [{id: extra, pmu: off}]\n"
    )
    assert matrix.name == "t"
    assert ids(matrix) == ["embedded-max-pmu_off", "embedded-max-pmu_on", "embedded-nehalem-pmu_off", "extra"]
    assert {(cell.smp, cell.memory_mib) for cell in matrix.cells} == {(2, 1024)}
    assert [excluded.reason for excluded in matrix.excluded] == ["from below"]
    assert matrix.traits_of(matrix.cells[0]).tags == ("below", "above")
    assert [issue.id for issue in matrix.known_issues] == ["K-1"]


def test_a_change_below_changes_the_hash(load: Load, base: Path) -> None:
    before = load("extends: base.yaml\naxes: {cpu: [Nehalem, max]}\n").sha256
    base.write_text(base.read_text() + "# changed\n")
    assert load("extends: base.yaml\naxes: {cpu: [Nehalem, max]}\n").sha256 != before


def test_a_mistake_below_names_the_file_below(load: Load, base: Path) -> None:
    base.write_text("schema: 1\nname: b\naxes:\n  cpu: [max]\n  smp: [lots]\n")
    with pytest.raises(ConfigError) as caught:
        load("extends: base.yaml\naxes: {pmu: [on]}\n")
    assert str(caught.value).startswith(f"{base}:5:9: axes.smp[0] must be a whole number")


def test_a_mistake_above_names_the_file_above(load: Load, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("extends: base.yaml\nexclude:\n  - {when: {cpu: nobody}, reason: x}\n")
    # The second exclusion of the whole, and the first one of its file; the one below matches nothing, and comes first.
    assert str(caught.value).startswith(f"{base}:6:12: this exclusion matches no combination")
    with pytest.raises(ConfigError) as caught:
        load("extends: base.yaml\naxes: {cpu: [Nehalem, max]}\nexclude:\n  - {when: {smp: 9}, reason: x}\n")
    assert str(caught.value).startswith(f"{tmp_path}/m.yaml:6:12: this exclusion matches no combination")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("extends: m.yaml\n", "m.yaml:3:10: m.yaml extends this file: they would never end"),
        ("extends: other.yaml\n", "m.yaml:3:10: .*/other.yaml: there is no such file"),
        ("extends: 5\n", "m.yaml:3:10: extends must be text"),
        ("extends: list.yaml\n", "m.yaml:3:10: list.yaml is no matrix"),
        ("extends: round.yaml\n", "round.yaml:1:10: m.yaml extends this file"),
        ("extends: broken.yaml\n", "broken.yaml:2:1: YAML syntax"),
    ],
)
def test_what_cannot_be_extended(body: str, words: str, load: Load, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("[1]\n")
    (tmp_path / "round.yaml").write_text("extends: m.yaml\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    with pytest.raises(ConfigError, match=words):
        load(body)


def test_extensions_in_a_row_and_from_another_folder(load: Load, base: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "middle.yaml").write_text("extends: ../base.yaml\naxes: {cpu: [Nehalem, max]}\n")
    assert "embedded-nehalem-pmu_off-smp_4" in ids(load("extends: sub/middle.yaml\naxes: {smp: [4]}\n"))


# -- overrides, tags, requirements ---------------------------------------------------------------------------------

AXES = "axes: {cpu: [Nehalem, max], pmu: [on, off]}\n"


def test_overrides_change_what_they_match(load: Load) -> None:
    matrix = load(
        AXES + "tags: [all]\nrequires: {memory_mib: 100}\n"
        "override:\n"
        "  - {when: {cpu: max}, set: {memory_mib: 1024, start: cold}, tags: [big]}\n"
        "  - {when: {cpu: max, pmu: on}, set: {memory_mib: 2048}, requires: {vpmu: on, memory_mib: 4096}}\n"
    )
    cells = {cell.id: cell for cell in matrix.cells}
    assert {name: cell.memory_mib for name, cell in cells.items()} == {
        "embedded-max-pmu_off": 1024,
        "embedded-max-pmu_on": 2048,
        "embedded-nehalem-pmu_off": 512,
        "embedded-nehalem-pmu_on": 512,
    }
    assert cells["embedded-max-pmu_on"].start == "cold"
    traits = {name: matrix.traits_of(cell) for name, cell in cells.items()}
    assert traits["embedded-max-pmu_on"].tags == ("all", "big")
    assert traits["embedded-max-pmu_on"].requires == Requirements(vpmu=True, memory_mib=4096)
    assert traits["embedded-nehalem-pmu_on"].requires == Requirements(memory_mib=100)


def test_what_an_included_cell_says_itself_is_not_overridden(load: Load) -> None:
    matrix = load(
        "include:\n  - {id: a, smp: 4}\n  - {id: b, tags: [own], requires: {arch: aarch64, cpu_vendor: arm}}\n"
        "override:\n  - {set: {smp: 8, memory_mib: 700}, tags: [rule]}\n"
    )
    a, b = matrix.cells
    assert (a.smp, a.memory_mib, b.smp) == (4, 700, 8)
    assert matrix.traits_of(b).tags == ("rule", "own")
    assert matrix.traits_of(b).requires == Requirements(arch=Arch.AARCH64, cpu_vendor=CpuVendor.ARM)


def test_an_override_of_the_guest_brings_its_machine(load: Load) -> None:
    matrix = load("axes: {pmu: [on, off]}\noverride: [{when: {pmu: on}, set: {guest: embedded-arm64}}]\n")
    assert [(cell.arch, cell.machine) for cell in matrix.cells] == [("x86_64", "q35"), ("aarch64", "virt")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            AXES + "override: [{when: {pmu: on}, set: {cpu: max}}]\n",
            "4:36: cpu is an axis: the ids of the cells would tell another value",
        ),
        (AXES + "override: [{when: {smp: 7}, tags: [a]}]\n", "4:19: this override matches no cell"),
        (AXES + "override: [{when: {pmu: on}}]\n", "4:12: this override changes nothing"),
        (
            AXES + "override: [{wen: {pmu: on}}]\n",
            "4:13: unknown key 'wen' in override[0] — did you mean 'when'?",
        ),
        (AXES + "tags: [Slow]\n", "4:8: tags[0] must look like"),
        (AXES + "requires: {kvn: on}\n", "4:12: unknown key 'kvn' in requires — did you mean 'kvm'?"),
        (AXES + "requires: {qemu: 8.2}\n", "4:18: requires.qemu must be text, not 8.2 — put it in quotes"),
        (AXES + "requires: {guest: absent}\n", "4:19: requires.guest must be 'present', not 'absent'"),
        (
            AXES + "strategy: {pairwise: on, sample: 3}\n",
            "4:1: a strategy is either pairwise: on, or sample: N",
        ),
        (AXES + "strategy: {seed: 3}\n", "4:1: a strategy is either pairwise: on, or sample: N"),
        (AXES + "strategy: {sample: 0}\n", "4:20: strategy.sample must be at least 1"),
        ("include: [{id: a}]\nstrategy: {sample: 1}\n", "4:1: a strategy chooses among combinations"),
        (
            AXES + "known_issues: [{id: K, reason: r, clauses: [FREE-99], until: 2027-01-01}]\n",
            "4:45: there is no clause 'FREE-99' — did you mean 'FREE-",
        ),
        (
            AXES + "known_issues: [{id: K, reason: r, cells: 'gest=x', until: 2027-01-01}]\n",
            "4:42: 'gest=x', column 1: there is no name 'gest' — did you mean 'guest'?",
        ),
        (AXES + "known_issues: [{id: K, reason: r}]\n", "4:16: the key 'until' is missing"),
        (
            AXES + "known_issues: [{id: K, reason: r, until: 2027-02-30}]\n",
            "4:42: known_issues[0].until '2027-02-30' is no day",
        ),
        (
            AXES + "known_issues: [{id: K, reason: r, until: soon}]\n",
            "4:42: known_issues[0].until must be a day",
        ),
        (
            AXES + "known_issues: [{id: K, reason: r, until: build 1}, {id: K, reason: s, until: build 2}]\n",
            "4:57: there are two known issues 'K'",
        ),
    ],
)
def test_a_mistake_has_its_place_and_its_remedy(body: str, expected: str, load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(body)
    assert str(caught.value).startswith(f"{tmp_path}/m.yaml:{expected}")


# -- strategies ----------------------------------------------------------------------------------------------------

BIG = (
    "axes: {cpu: [a, b, c], pmu: [on, off], smp: [1, 2, 4], generation: [exclusive, shared], "
    "memory_mib: [512, 768]}\n"
)


def test_pairwise_needs_few_cells_and_says_so(load: Load) -> None:
    every, pairs = load(BIG), load(BIG + "strategy: {pairwise: on}\n")
    assert len(every.cells) == 72
    assert 9 <= len(pairs.cells) <= 12
    assert set(pairs.cells) <= set(every.cells)
    assert pairs.strategy == f"every pair of values: {len(pairs.cells)} of 72 combinations (seed 0)"


def test_a_seed_decides(load: Load) -> None:
    first = ids(load(BIG + "strategy: {sample: 9, seed: 5}\n"))
    assert len(first) == 9
    assert ids(load(BIG + "strategy: {sample: 9, seed: 5}\n")) == first
    assert ids(load(BIG + "strategy: {sample: 9, seed: 6}\n")) != first
    assert len(load(BIG + "strategy: {sample: 500}\n").cells) == 72


def test_included_cells_are_always_there(load: Load) -> None:
    assert "extra" in ids(load(BIG + "strategy: {sample: 1}\ninclude: [{id: extra}]\n"))


def test_the_sample_is_the_same_on_every_machine() -> None:
    """Known by heart: a change of the order would silently test other cells than yesterday."""
    assert sorted(sample([f"cell-{n}" for n in range(20)], 4, 7)) == [
        "cell-13",
        "cell-14",
        "cell-16",
        "cell-18",
    ]


@given(st.integers(0, 99), st.lists(st.integers(2, 4), min_size=1, max_size=5), st.data())
def test_pairwise_covers_every_pair_that_is_allowed(seed: int, sizes: list[int], data: st.DataObject) -> None:
    every = list(itertools.product(*(range(size) for size in sizes)))
    allowed = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    combinations = {str(values): {f"axis{n}": v for n, v in enumerate(values)} for values in allowed}
    chosen = pairwise(combinations, seed)

    def pairs(names: set[str]) -> set[object]:
        found: set[object] = set()
        for name in names:
            values = sorted(combinations[name].items())
            found.update(itertools.combinations(values, 2) if len(values) > 1 else values)
        return found

    assert pairs(chosen) == pairs(set(combinations))
    assert chosen <= set(combinations)
    assert pairwise(combinations, seed) == chosen


# -- known issues --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "build", "over"),
    [
        ("2027-03-31", None, False),
        ("2027-03-30", None, True),
        ("build 26200", 26199, False),
        ("build 26200", 26200, True),
        ("build 26200", None, False),
    ],
)
def test_when_a_known_issue_is_over(until: str, build: int | None, over: bool) -> None:
    assert bool(expired(until, date(2027, 3, 31), build)) is over


def test_a_missing_file_is_still_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load_matrix(tmp_path / "none.yaml")
