"""Where calls ran, with one processor group and with several: a pinned call that ran elsewhere shows nothing."""

from __future__ import annotations

import pytest

from harness.config.models import Accel, Cell, Generation, HalKind
from harness.contract.cell_class import cell_class
from harness.contract.expectations import judge_pinned
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome
from harness.contract.processors import entry, every_processor, whole_machine
from harness.contract.status import STATUS_INSUFFICIENT_RESOURCES
from harness.driver.device import to_call
from harness.driver.driver_messages import Affinity
from harness.driver.protocol import CallResult
from harness.errors import DriverError


def refused(*places: tuple[int, int]) -> dict[int, Call]:
    """Refusals by index, each from the (group, number) where it ran."""
    return {
        index: Call(STATUS_INSUFFICIENT_RESOURCES, 0, written=True, cpu=number, group=group)
        for index, (group, number) in enumerate(places)
    }


@pytest.mark.parametrize(
    ("places", "group_cpus"),
    [
        ([(0, 0), (0, 1)], (2,)),
        ([(0, 0), (0, 1)], ()),
        ([(0, 0), (0, 1), (1, 0), (1, 1)], (2, 2)),
        ([(0, 0), (1, 0), (0, 1)], (2, 1)),  # Windows may count its processors group by group, or not
    ],
)
def test_each_on_a_processor_of_its_own(places: list[tuple[int, int]], group_cpus: tuple[int, ...]) -> None:
    assert judge_pinned(refused(*places), group_cpus).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("places", "group_cpus", "words"),
    [
        ([(0, 0), (0, 0)], (2,), "told to call on CPU 1 and called on CPU 0, as for CPU 0"),
        ([(0, 1), (0, 0)], (2,), "told to call on CPU 0 and called on CPU 1"),
        ([(1, 0)], (2,), "on CPU 0 and called on CPU 0 of group 1"),
        ([(0, 0), (0, 1), (0, 0)], (2, 2), "on CPU 2 and called on CPU 0 of group 0, as for CPU 0"),
        ([(0, 0), (0, 2)], (2, 2), "on CPU 1 and called on CPU 2 of group 0"),
        ([(2, 0)], (2, 2), "on CPU 0 and called on CPU 0 of group 2"),
    ],
)
def test_a_call_that_ran_elsewhere(
    places: list[tuple[int, int]], group_cpus: tuple[int, ...], words: str
) -> None:
    with pytest.raises(DriverError, match=words):
        judge_pinned(refused(*places), group_cpus)


def test_arrays_of_all_processors() -> None:
    assert every_processor((2, 1)) == [(0, 0), (0, 1), (1, 0)]
    assert whole_machine((2, 1)) == [entry(0b11, 0), entry(0b1, 1)]
    (full,) = whole_machine((64,))
    assert Affinity.model_validate(full).model_dump(mode="json")["mask"] == "0xffffffffffffffff"


def test_the_group_of_a_call_comes_from_the_driver() -> None:
    result = CallResult(
        transport=0,
        status=0,
        handle=1,
        irql_before=0,
        irql_after=0,
        cpu=1,
        group=3,
        written=True,
    )
    assert (to_call("x", result).cpu, to_call("x", result).group) == (1, 3)


def test_cells_with_groups_and_with_vbs_are_classes_of_their_own() -> None:
    def of(**settings: object) -> str:
        cell = Cell.model_validate({"id": "x", "accel": Accel.KVM, **settings})
        return cell_class(cell, HalKind.SYSTEM, Generation.SHARED, None, 4)

    assert of() == "shared-pmu_unknown-smp4"
    assert of(group_size=8) == "shared-pmu_unknown-smp4"
    assert of(group_size=2) == "shared-pmu_unknown-smp4_2each"
    assert of(vbs=True) == "shared-pmu_unknown-smp4-vbs"
