"""Which cells run: words, expressions, tags, changed files in a real git checkout, shards; and what a host lacks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.matrix import Matrix
from harness.config.models import Arch, Cell
from harness.config.requirements import CpuVendor, Requirements
from harness.contract.clauses import CLAUSES, PROBE_SUITE, SUITE, suite_for
from harness.contract.outcomes import Verdict
from harness.errors import ConfigError, UsageError
from harness.paths import project_root
from harness.runs import select as select_module
from harness.runs.capabilities import Capabilities, read_capabilities, unmet
from harness.runs.changes import RULES, changes_since, judged_in
from harness.runs.costs import DEFAULT_GUEST_S, DEFAULT_PROBE_S, NEWEST_RUNS, Costs, load_costs, partition
from harness.runs.forecast import forecast
from harness.runs.plan import jobs_of, plan_run
from harness.runs.record import CellEndRecord, PhaseRecord, RunRecord
from harness.runs.record_file import Recorder
from harness.runs.schedule import lower_bound, makespan
from harness.runs.select import Choice, Selection, on_this_host, open_matrix, select

BODY = """\
schema: 1
name: t
defaults: {cpu: Nehalem}
axes: {pmu: [on, off], generation: [exclusive, shared]}
override:
  - {when: {generation: shared}, tags: [new]}
  - {when: {pmu: on}, tags: [counting], requires: {memory_mib: 4096}}
include:
  - {id: probe, guest: none, arch: aarch64, pmu: off, generation: exclusive, tags: [quick]}
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    path = tmp_path / "m.yaml"
    path.write_text(BODY)
    return open_matrix(path)


def chosen(matrix: Matrix, costs: Costs | None = None, **choice: Any) -> list[str]:
    return [cell.id for cell in select(matrix, Choice(**choice), costs or Costs()).cells]


EVERY = [
    "embedded-pmu_off-exclusive",
    "embedded-pmu_off-shared",
    "embedded-pmu_on-exclusive",
    "embedded-pmu_on-shared",
    "probe",
]


def test_each_part_of_a_choice_narrows(matrix: Matrix) -> None:
    assert chosen(matrix) == EVERY
    assert chosen(matrix, keyword="shared") == [EVERY[1], EVERY[3]]
    assert chosen(matrix, expression="pmu=on and guest~embedded") == [EVERY[2], EVERY[3]]
    assert chosen(matrix, tags=("quick", "counting")) == EVERY[2:]
    assert chosen(matrix, tags=("counting",), expression="tag=new") == [EVERY[3]]
    assert chosen(matrix, cells=("probe", EVERY[0]), keyword="not probe") == [EVERY[0]]
    assert chosen(matrix, keyword="shared", expression="pmu=on") == [EVERY[3]]
    assert chosen(matrix, cells=("probe", "probe")) == ["probe"], "no cell runs twice"


def test_what_was_chosen_is_told_and_recorded(matrix: Matrix) -> None:
    selection = select(matrix, Choice(keyword="shared", tags=("new",)), Costs())
    assert selection.words == "2 of 5 cells (-k 'shared' --tag new)"
    record = plan_run(matrix, selection.cells, selection.clauses, selection=selection.words)
    assert record.selection == selection.words
    assert [cell.id for cell in record.cells] == [EVERY[1], EVERY[3]]
    assert record.cells[0].tags == ("new",)
    assert record.partial is False, "the cells are fewer, but each is judged as a whole"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"keyword": "nowhere"}, "no cell of .* fits -k 'nowhere'"),
        ({"expression": "smp>64"}, "no cell of .* fits --cells 'smp>64'"),
        ({"tags": ("quik",)}, "has the tag 'quik' — did you mean 'quick'"),
        ({"shard": "0/3"}, "no shard — write K/N"),
        ({"shard": "4/3"}, "no shard"),
        ({"shard": "x"}, "no shard"),
        ({"shard": "1/3x"}, "no shard"),
        ({"shard": "٣/٣"}, "no shard"),
    ],
)
def test_what_cannot_be_chosen(choice: dict[str, Any], words: str, matrix: Matrix) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(matrix, **choice)


# -- shards --------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(0, 1000), max_size=60),
    st.integers(1, 9),
)
def test_shards_are_disjoint_complete_and_balanced(costs: dict[str, float], parts: int) -> None:
    found = partition(costs.items(), parts)
    assert sorted(name for part in found for name in part) == sorted(costs)
    loads = [sum(costs[name] for name in part) for part in found]
    assert max(loads) - min(loads) <= max(costs.values(), default=0.0) + 1e-6
    assert partition(reversed(costs.items()), parts) == found


def test_shards_of_a_matrix_follow_the_costs(matrix: Matrix) -> None:
    costs = Costs(planned=dict.fromkeys(EVERY, 1.0) | {"probe": 4.0})
    shards = [chosen(matrix, costs, shard=f"{number}/2") for number in (1, 2)]
    assert shards == [["probe"], EVERY[:4]]
    with_other_costs = [select(matrix, Choice(shard="1/2"), c).words for c in (costs, Costs())]
    assert with_other_costs[0] != with_other_costs[1], "shards that do not fit together can be told apart"
    assert chosen(matrix, costs, shard="6/6") == [], "more shards than cells: the last ones are empty"


# -- changed files -------------------------------------------------------------------------------------------------


class Checkout:
    """A git checkout with a matrix and the project's own rules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main")
        self.write("m.yaml", BODY)
        self.write(str(RULES), (project_root() / RULES).read_text())
        for name in ("tests/contract/test_free.py", "guest_driver/driver/main.c"):
            self.write(name, (project_root() / name).read_text() if name.endswith("py") else "")
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "first")

    def git(self, *words: str) -> None:
        subprocess.run(["git", "-C", self.folder, *words], check=True, capture_output=True)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def selection(self) -> dict[str, tuple[str, ...]]:
        found = select(open_matrix(self.folder / "m.yaml"), Choice(since="HEAD"), Costs())
        return {cell.id: found.clauses_of(cell) for cell in found.cells}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


FREE = ("FREE-1", "FREE-2", "FREE-3", "FREE-5", "FREE-6")


def test_changed_files_decide_cells_and_clauses(checkout: Checkout) -> None:
    assert checkout.selection() == {}
    checkout.write("docs/new.md", "text")
    assert checkout.selection() == {}, "a file that concerns nothing"
    checkout.write("guest_driver/probe/arm64/start.S", "changed")
    assert checkout.selection() == {"probe": PROBE_SUITE}
    checkout.write(
        "tests/contract/test_free.py", (checkout.folder / "tests/contract/test_free.py").read_text() + "\n"
    )
    found = checkout.selection()
    assert found.pop("probe") == PROBE_SUITE
    assert set(found) == set(EVERY) - {"probe"}
    assert set(found.values()) == {FREE}
    checkout.write("images/embedded/build.sh", "changed")
    assert set(checkout.selection().values()) == {SUITE, PROBE_SUITE}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.write("unheard/of.txt", "new, and not added"),
        lambda c: c.write("guest_driver/driver/main.c", "int x;"),
        lambda c: (c.folder / "tests/contract/test_free.py").unlink(),
        lambda c: c.write("m.yaml", BODY + "# changed\n"),
    ],
    ids=["unknown", "driver", "deleted suite", "matrix"],
)
def test_what_no_rule_narrows_concerns_everything(
    change: Callable[[Checkout], None], checkout: Checkout
) -> None:
    change(checkout)
    assert checkout.selection() == {cell: SUITE if cell != "probe" else PROBE_SUITE for cell in EVERY}


def test_a_file_that_was_moved_is_gone_from_where_it_was(checkout: Checkout) -> None:
    (checkout.folder / "docs").mkdir()
    checkout.git("mv", "tests/contract/test_free.py", "docs/free.md")  # where a file concerns nothing
    assert checkout.selection() == {cell: SUITE if cell != "probe" else PROBE_SUITE for cell in EVERY}


def test_a_suite_file_that_names_no_clause_concerns_everything(checkout: Checkout) -> None:
    checkout.write("tests/contract/test_free.py", "import helper\n")
    assert checkout.selection() == {cell: SUITE if cell != "probe" else PROBE_SUITE for cell in EVERY}


def test_what_git_ignores_has_not_changed(checkout: Checkout) -> None:
    (checkout.folder / ".git" / "info" / "exclude").write_text("*.log\n")
    checkout.write("unheard/of.log", "text")
    assert checkout.selection() == {}


def test_the_patterns_of_files(checkout: Checkout) -> None:
    """`*` stays within a folder, `**` goes across folders, and every other character is itself."""
    patterns = f"[{RULES}, '*.md', 'a/*.c', 'b/**/x?.c', 'c/**', 'd+.txt']"
    checkout.write(str(RULES), f"schema: 1\nrules:\n  - {{files: {patterns}, concerns: nothing}}\n")
    quiet = ["top.md", "a/x.c", "b/x1.c", "b/q/r/x2.c", "c/any/thing.h", "d+.txt"]
    loud = ["a/b.md", "top.md.c", "a/b/x.c", "b/x12.c", "cc/x", "ddd.txt"]
    for names, concerned in ((quiet, False), (loud, True)):
        for name in names:
            checkout.write(name, "text")
            changes = changes_since("HEAD", checkout.folder / "m.yaml")
            assert name in changes.files
            assert bool(changes.concerns) is concerned, name
            (checkout.folder / name).unlink()


def test_a_rule_of_cells_alone_is_about_all_their_clauses(checkout: Checkout) -> None:
    rules = f"  - {{files: [{RULES}], concerns: nothing}}\n  - {{files: [x.c], cells: pmu=on}}\n"
    checkout.write(str(RULES), f"schema: 1\nrules:\n{rules}")
    checkout.write("x.c", "text")
    assert checkout.selection() == {EVERY[2]: SUITE, EVERY[3]: SUITE}


def test_a_selection_by_changes_is_a_partial_plan(checkout: Checkout) -> None:
    checkout.write(
        "tests/contract/test_free.py", "import pytest\n@pytest.mark.clause('FREE-2')\ndef test(): ...\n"
    )
    matrix = open_matrix(checkout.folder / "m.yaml")
    selection = select(matrix, Choice(since="HEAD"), Costs())
    assert "1 changed file since HEAD" in selection.words
    record = plan_run(matrix, selection.cells, selection.clauses)
    assert record.partial
    assert {cell.clauses for cell in record.cells} == {("FREE-2",)}
    assert {job.clauses for job in jobs_of(record, Costs())} == {("FREE-2",)}
    assert not any(job.clauses for job in jobs_of(plan_run(matrix, matrix.cells), Costs()))


def test_mistakes_about_changes(checkout: Checkout, tmp_path: Path) -> None:
    near = checkout.folder / "m.yaml"
    with pytest.raises(UsageError, match="there is no revision 'no-such-rev'"):
        changes_since("no-such-rev", near)
    with pytest.raises(UsageError, match="there is no revision '--output="):
        changes_since(f"--output={tmp_path / 'written'}", near)
    assert not (tmp_path / "written").exists(), "no option of git comes in by the revision"
    for rule, words in (
        ("{files: [a], cells: 'x=1'}", r"changes.yaml:3:\d+: 'x=1', column 1: there is no name 'x'"),
        ("{files: [a], clauses: [FREE-99]}", "there is no clause 'FREE-99'"),
        ("{files: [a]}", "a rule has either concerns, or cells, clauses or both"),
        ("{files: [a], concerns: nothing, cells: pmu=on}", "a rule has either"),
    ):
        checkout.write(str(RULES), f"schema: 1\nrules:\n  - {rule}\n")
        with pytest.raises(ConfigError, match=words):
            changes_since("HEAD", near)
    (checkout.folder / RULES).unlink()
    with pytest.raises(UsageError, match="is missing: nothing says what a changed file concerns"):
        changes_since("HEAD", near)
    with pytest.raises(UsageError, match="not a git repository"):
        changes_since("HEAD", tmp_path / "elsewhere.yaml")


def test_the_projects_rules_know_the_projects_files() -> None:
    """Every pattern of ci/changes.yaml matches a file that is there; every suite file names clauses."""
    done = subprocess.run(
        ["git", "-C", project_root(), "ls-files"], capture_output=True, text=True, check=True
    )
    import re

    from harness.config.document import read_document
    from harness.config.validate import validate
    from harness.runs.changes import ChangesFile, _pattern

    files = [*done.stdout.splitlines(), str(RULES)]
    for rule in validate(read_document(project_root() / RULES), ChangesFile).rules:
        for glob in rule.files:
            assert any(re.fullmatch(_pattern(glob), name) for name in files), glob
    for path in (project_root() / "tests" / "contract").glob("test_*.py"):
        assert (judged_in(path) or set()) <= set(CLAUSES)
        assert judged_in(path), path


# -- costs ---------------------------------------------------------------------------------------------------------


def a_run(
    folder: Path,
    cells: Iterable[Cell],
    seconds: float,
    *,
    verdict: Verdict = Verdict.PHANTOM,
    partial: bool = False,
) -> None:
    folder.mkdir(parents=True)
    recorder = Recorder(folder)
    cells = tuple(cells)
    plan = plan_run(Matrix(name="t", path=folder, sha256="", cells=cells, excluded=()), cells)
    recorder.write(plan.model_copy(update={"partial": partial}))
    for cell in cells:
        recorder.write(
            CellEndRecord(cell=cell.id, verdict=verdict, reason="", realised=True, duration_s=seconds / 2)
        )
        recorder.write(PhaseRecord(cell=cell.id, name="process", seconds=seconds))
    recorder.close()


def test_costs_come_from_earlier_runs_of_the_same_configuration(tmp_path: Path) -> None:
    cell = Cell(id="a", cpu="max")
    a_run(tmp_path / "20260101T000000-t", [cell], 30.0)
    a_run(tmp_path / "20260102T000000-t", [cell.model_copy(update={"id": "other-name"})], 50.0)
    a_run(tmp_path / "20260103T000000-t", [cell], 1.0, verdict=Verdict.UNKNOWN)  # broke early: says nothing
    a_run(tmp_path / "20260103T000001-t", [cell], 2.0, partial=True)  # a part of the suite
    (tmp_path / "20260104T000000-t").mkdir()
    (tmp_path / "20260104T000000-t" / "records.jsonl").write_text('{"type":"run", half a line')
    costs = load_costs(tmp_path)
    assert costs.of(cell) == (40.0, "2 earlier runs")
    assert costs.of(Cell(id="b", cpu="Nehalem")) == (40.0, "cells of its kind")
    assert costs.of(Cell(id="c", guest="embedded-arm64")) == (DEFAULT_GUEST_S, "default")
    assert load_costs(tmp_path / "nothing").of(Cell(id="p", guest=None)) == (DEFAULT_PROBE_S, "default")
    with pytest.raises(UsageError, match=r"there is no .*nothing with costs"):
        load_costs(tmp_path, given=tmp_path / "nothing")


def test_costs_come_from_the_newest_runs_and_from_the_middle_of_them(tmp_path: Path) -> None:
    cell = Cell(id="a", cpu="max")
    for number in range(NEWEST_RUNS + 15):
        a_run(tmp_path / f"2026{number:04}T000000-t", [cell], 1000.0 if number < 15 else 10.0)
    assert load_costs(tmp_path).of(cell) == (10.0, f"{NEWEST_RUNS} earlier runs")
    one_of_each = tmp_path / "other"
    for number, seconds in enumerate((1.0, 2.0, 90.0)):
        a_run(one_of_each / f"2026{number:04}T000000-t", [cell], seconds)
    assert load_costs(one_of_each).of(cell) == (2.0, "3 earlier runs")


def test_costs_from_a_plan_are_the_same_everywhere(matrix: Matrix, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(forecast(matrix, Selection(matrix.cells), Costs(), 2).model_dump_json())
    assert load_costs(plan).of(matrix.cells[0]) == (DEFAULT_GUEST_S, "the plan")
    plan.write_text(json.dumps({"cells": "none"}))
    with pytest.raises(UsageError, match="is no plan with costs"):
        load_costs(plan)


def test_jobs_are_ordered_by_cost(matrix: Matrix) -> None:
    costs = Costs(planned={name: float(number) for number, name in enumerate(EVERY)})
    jobs = jobs_of(plan_run(matrix, matrix.cells), costs)
    assert [job.cell.id for job in jobs] == EVERY[::-1]
    assert jobs[0].expected_s == 4.0


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50), st.integers(1, 8))
def test_longest_first_is_never_far_from_the_bound(seconds: list[float], slots: int) -> None:
    """Graham (1969): at most 4/3 - 1/(3m) of the best, which is at least the bound's longest job and even share."""
    found = makespan(sorted(seconds, reverse=True), slots)
    assert lower_bound(seconds, slots) - 1e-6 <= found <= sum(seconds) / slots + max(seconds) + 1e-6


# -- the host ------------------------------------------------------------------------------------------------------

HOST = Capabilities(
    arch=Arch.X86_64,
    cpu_vendor=CpuVendor.AMD,
    cpu_model="CPU",
    cpus=4,
    memory_mib=8000,
    kvm_missing="",
    vpmu_missing="kvm.enable_pmu is N",
    qemu={Arch.X86_64: "7.2.22 (Debian 1:7.2)"},
    guests_missing={"win": "guest 'win' is not built"},
)


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ({}, ""),
        (
            {
                "kvm": True,
                "cpus": 4,
                "memory_mib": 8000,
                "arch": "x86_64",
                "cpu_vendor": "amd",
                "qemu": "7.2",
            },
            "",
        ),
        ({"kvm": False}, "requires a host without kvm: the host has it"),
        ({"vpmu": True}, "requires vpmu: kvm.enable_pmu is N"),
        ({"vpmu": False}, ""),
        ({"arch": "aarch64"}, "requires arch aarch64: the host has x86_64"),
        ({"cpu_vendor": "intel"}, "requires cpu_vendor intel: the host has amd"),
        ({"cpus": 5}, "requires cpus 5: the host has 4"),
        ({"memory_mib": 8001}, "requires memory_mib 8001: the host has 8000"),
        ({"guest": "present"}, "requires guest present: guest 'win' is not built"),
        ({"qemu": "7.10"}, "requires qemu 7.10: the host has 7.2.22 (Debian 1:7.2)"),
    ],
)
def test_the_very_condition_that_is_not_met(requires: dict[str, object], reason: str) -> None:
    found = unmet(Requirements.model_validate(requires), Cell(id="x", guest="win"), HOST)
    assert str(found or "") == reason


def test_an_emulator_that_is_not_installed() -> None:
    arm = Cell(id="x", guest=None, arch=Arch.AARCH64, machine="virt")
    found = unmet(Requirements(qemu="6"), arm, HOST)
    assert str(found) == "requires qemu 6: QEMU for aarch64 is not installed"


def test_this_host_is_read_without_a_vm() -> None:
    host = read_capabilities(["embedded", "no-such-guest"])
    assert host.cpus >= 1
    assert host.memory_mib > 0
    assert "there is no guest 'no-such-guest'" in host.guests_missing["no-such-guest"]


def test_unmet_cells_are_skipped_with_the_reason_and_recorded(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        select_module, "read_capabilities", lambda *_: HOST.model_copy(update={"memory_mib": 4000})
    )
    selection = on_this_host(matrix, select(matrix, Choice(), Costs()))
    assert [cell.id for cell in selection.cells] == [*EVERY[:2], "probe"]
    assert [(cell.id, cell.reason) for cell in selection.skipped] == [
        (name, "requires memory_mib 4096: the host has 4000") for name in EVERY[2:4]
    ]
    record = plan_run(matrix, selection.cells, skipped=selection.skipped)
    assert record.skipped == selection.skipped


def test_requirements_go_with_the_plan_and_the_job(matrix: Matrix) -> None:
    """Who runs cells elsewhere, or a run that goes on later, has nothing else."""
    record = plan_run(matrix, matrix.cells)
    again = RunRecord.model_validate_json(record.model_dump_json())
    asked = {job.cell.id: job.requires for job in jobs_of(again, Costs())}
    assert asked == {cell.id: matrix.traits_of(cell).requires for cell in matrix.cells}
    assert asked[EVERY[2]] == Requirements(memory_mib=4096)


def test_suites_of_probe_only_cells() -> None:
    assert suite_for(Cell(id="p", guest=None)) == PROBE_SUITE
