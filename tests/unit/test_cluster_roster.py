"""Which cells a lab skips, and which it owes: decided by what workers announced, without any worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from harness.cluster.announcement import Announcement
from harness.cluster.images import ImageOffer
from harness.cluster.lab import Lab
from harness.cluster.placement import Member
from harness.cluster.roster import Offers, Roster
from harness.config.matrix import Matrix, Traits
from harness.config.models import Accel, Arch, Cell
from harness.config.requirements import CpuVendor, Requirements
from harness.errors import InfrastructureError
from harness.runs.capabilities import Capabilities
from harness.runs.executor import CellJob
from harness.runs.plan import plan_run
from harness.runs.select import Selection
from tests.unit.cluster_lab import cell

TCG = Capabilities(
    arch=Arch.X86_64,
    cpu_vendor=CpuVendor.AMD,
    cpu_model="any",
    cpus=4,
    memory_mib=4096,
    kvm_missing="no /dev/kvm",
    vpmu_missing="no /dev/kvm",
    qemu={Arch.X86_64: "7.2.22"},
    guests_missing={},
)
OFFERS: Offers = {"win": (ImageOffer(guest="win", disk_sha256="abc", files=()), Path("-"))}


def member(name: str, guests: Mapping[str, str] | None = None, **has: object) -> Member:
    said = Announcement(
        version="1",
        incarnation=name,
        host=name,
        store=name,
        slots=None,
        capabilities=TCG.model_copy(update=has),
        pmu="",
        guests=guests or {},
        facts={},
    )
    return Member(f"tcp://{name}", name, said)


class LabOfWords:
    """A lab whose workers come and go as the test says."""

    def __init__(self, *members: Member) -> None:
        self.strangers: tuple[str, ...] = ()
        self.there(*members)

    def there(self, *members: Member) -> None:
        self.members = {one.address: one for one in members}

    def roster(self, offers: Offers | None = None) -> Roster:
        return Roster(cast(Lab, self), OFFERS if offers is None else offers, say=lambda _: None)


def chosen(cell_: Cell, **requires: Any) -> tuple[Matrix, Selection]:
    """A matrix of this cell, and one that every worker can run."""
    cells = (cell_, cell("easy"))
    traits = {cell_.id: Traits(requires=Requirements(**requires))}
    return Matrix(name="m", path=Path("-"), sha256="", cells=cells, excluded=(), traits=traits), Selection(
        cells
    )


@pytest.mark.parametrize(
    ("settings", "requires", "reason"),
    [
        ({}, {"kvm": True}, "requires kvm: a (no /dev/kvm), b (no /dev/kvm)"),
        ({}, {"vpmu": True}, "requires vpmu: a (no /dev/kvm), b (no /dev/kvm)"),
        ({}, {"arch": "aarch64"}, "requires arch aarch64: a (the host has x86_64), b (the host has x86_64)"),
        ({}, {"cpus": 9}, "requires cpus 9: a (the host has 4), b (the host has 8)"),
        (
            {},
            {"cpu_vendor": "amd", "cpus": 8},
            "requires cpu_vendor amd: b (the host has intel); requires cpus 8: a (the host has 4)",
        ),
        (
            {"guest": "win"},
            {"guest": "present"},
            "requires guest present: a (the host has no image of guest 'win' with this hash), "
            "b (the host has no image of guest 'win' with this hash)",
        ),
        (
            {"guest": "other"},
            {"guest": "present"},
            "requires guest present: a (the run's host has no image of guest 'other' to tell it by), "
            "b (the run's host has no image of guest 'other' to tell it by)",
        ),
    ],
)
def test_what_no_worker_meets_of_a_cells_requires_is_skipped_with_what_each_has(
    settings: dict[str, Any], requires: dict[str, Any], reason: str
) -> None:
    b = member("b", {"win": "another", "other": "one"}, cpus=8, cpu_vendor=CpuVendor.INTEL)
    matrix, selection = chosen(cell("picky", **settings), **requires)
    fitting = LabOfWords(b, member("a")).roster().fitting(matrix, selection)
    assert [(left.id, left.reason) for left in fitting.skipped] == [("picky", reason)]
    assert [left.id for left in fitting.cells] == ["easy"]
    plan = plan_run(matrix, fitting.cells, skipped=fitting.skipped)
    assert ([owed.id for owed in plan.cells], plan.skipped) == (["easy"], fitting.skipped)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"accel": Accel.KVM}, "needs accel kvm: a (no /dev/kvm), b (no /dev/kvm)"),
        (
            {"arch": Arch.AARCH64, "machine": "virt"},
            "needs QEMU for aarch64: a (it is not installed), b (it is not installed)",
        ),
        (
            {"memory_mib": 65536},
            "needs memory_mib 65536: a (it needs 65920 MiB of memory and this host has 3840",
        ),
    ],
)
def test_what_no_worker_has_and_no_requires_asks_for_is_an_error_and_no_skip(
    settings: dict[str, Any], words: str
) -> None:
    """As on one host: only the matrix says what may be left out."""
    roster = LabOfWords(member("a"), member("b")).roster()
    matrix, selection = chosen(cell("picky", **settings))
    assert roster.fitting(matrix, selection) == selection
    with pytest.raises(InfrastructureError, match="can never run in this lab") as caught:
        roster.place(CellJob(selection.cells[0]), ())
    assert words in caught.value.message


def test_a_worker_that_meets_requires_and_lacks_the_rest_leaves_an_error() -> None:
    matrix, selection = chosen(cell("picky", memory_mib=65536), kvm=True)
    roster = LabOfWords(member("a"), member("b", kvm_missing="")).roster()
    assert roster.fitting(matrix, selection).skipped == ()


@pytest.mark.parametrize("able", [{"kvm_missing": ""}, {"kvm_missing": "", "cpus": 1}])
def test_one_worker_that_can_is_enough(able: dict[str, Any]) -> None:
    matrix, selection = chosen(cell("picky"), kvm=True)
    fitting = LabOfWords(member("a"), member("b", **able)).roster().fitting(matrix, selection)
    assert (fitting.cells, fitting.skipped) == (selection.cells, ())


@pytest.mark.parametrize("when", ["before the cells are judged", "after"])
def test_a_lost_worker_that_could_leaves_an_error_and_no_skip(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    able, other = member("able", kvm_missing=""), member("other")
    lab = LabOfWords(able, other)
    roster = lab.roster()
    matrix, selection = chosen(cell("picky"), kvm=True)
    roster.members()
    if when == "after":
        assert roster.fitting(matrix, selection).skipped == ()
    lab.there(other)
    assert roster.fitting(matrix, selection).skipped == ()
    job = CellJob(selection.cells[0], requires=Requirements(kvm=True))
    assert roster.place(job, ()) is None, "it is waited for"
    back = member("back", kvm_missing="")
    lab.there(other, back)
    assert roster.place(job, ()) == back
    lab.there(other)
    monkeypatch.setattr("harness.cluster.roster.WORKER_WAIT_S", 0.0)
    with pytest.raises(InfrastructureError, match="the workers that could run it are lost") as caught:
        roster.place(job, ())
    assert "able" in caught.value.evidence["workers"]


def test_a_late_worker_takes_cells_of_the_plan_and_brings_no_skipped_one_back() -> None:
    lab = LabOfWords(member("a"))
    roster = lab.roster()
    matrix, selection = chosen(cell("picky"), kvm=True)
    fitting = roster.fitting(matrix, selection)
    late = member("late", kvm_missing="")
    lab.there(late)
    assert [left.id for left in fitting.skipped] == ["picky"]
    assert roster.place(CellJob(fitting.cells[0]), ()) == late


def test_a_cell_that_was_planned_in_another_lab_is_an_error_with_the_condition() -> None:
    job = CellJob(cell("picky"), requires=Requirements(kvm=True))
    with pytest.raises(InfrastructureError) as caught:
        LabOfWords(member("a")).roster().place(job, ())
    assert caught.value.message == "cell picky can never run in this lab: requires kvm: a (no /dev/kvm)"
