"""Where an installation is: marks in pieces, marks that are missing, limits, restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.load import load_guest
from harness.config.windows import Phase, WindowsSetup
from harness.imaging.windows_phases import PHASES, Marks, Progress, Unmarked

ORDINARY = ("winpe", "copy", "specialize", "oobe", "logon", "step restart", "ready")
LOG = (
    "\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001\r\n"
    "\x1b[0mhalpmc-setup: winpe\r\nnoise\r\nhalpmc-setup: hostkey ssh-ed25519 AAAA x\r\nhalpmc-setup: rea"
)


def setup(**changes: object) -> WindowsSetup:
    windows = load_guest("windows-server-2022").windows
    assert windows is not None
    return windows.model_copy(update=changes)


def test_marks_stand_between_whatever_the_firmware_writes() -> None:
    marks = Marks()
    assert marks.feed(LOG) == ["winpe", "hostkey ssh-ed25519 AAAA x"]
    assert marks.feed("dy\r\n") == ["ready"]


@given(st.lists(st.integers(min_value=0, max_value=len(LOG)), max_size=8))
def test_marks_in_pieces_are_the_same_marks(cuts: list[int]) -> None:
    marks, found = Marks(), []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(LOG)], strict=True):
        found += marks.feed(LOG[begin:end])
    assert found == ["winpe", "hostkey ssh-ed25519 AAAA x"]


def test_an_ordinary_installation() -> None:
    progress = Progress(setup())
    for number, mark in enumerate(ORDINARY, start=1):
        assert not progress.finished
        assert progress.hear(mark, 10.0 * number)
        assert not progress.overdue(10.0 * number)
    assert progress.finished and progress.missed == []
    assert progress.seconds == dict.fromkeys(PHASES, 10.0)


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_has_its_limit(phase: Phase) -> None:
    progress = Progress(setup(quiet_phases=()))
    for mark in ORDINARY[: PHASES.index(phase)]:
        progress.hear(mark, 0.0)
    assert progress.phase == phase
    assert not progress.overdue(progress.limit)
    assert progress.overdue(progress.limit + 1)


def test_a_quiet_phase_passes_without_a_mark_and_the_next_one_counts_from_its_end() -> None:
    progress = Progress(setup(quiet_phases=("boot", "winpe")))
    limits = progress.windows.limits
    assert not progress.overdue(limits.boot + limits.winpe + limits.copy_)
    assert progress.phase == "copy" and progress.missed == ["winpe", "copy"]
    assert progress.overdue(limits.boot + limits.winpe + limits.copy_ + 1)


def test_a_later_mark_ends_the_phases_before_it_and_an_earlier_one_changes_nothing() -> None:
    progress = Progress(setup())
    assert progress.hear("oobe", 5.0)
    assert progress.missed == ["winpe", "copy", "specialize"]
    assert not progress.hear("winpe", 6.0) and progress.phase == "oobe"
    assert progress.seconds == {"boot": 5.0}


def test_the_factor_scales_limits() -> None:
    progress = Progress(setup(quiet_phases=()), factor=3.0)
    assert progress.limit == 3 * progress.windows.limits.boot


def test_restarts_are_counted_against_what_is_usual() -> None:
    progress = Progress(setup(reboots=3, spare_reboots=2))
    progress.reboots = 5
    assert not progress.too_many_reboots
    progress.reboots = 6
    assert progress.too_many_reboots


def test_a_failed_step_is_kept_with_its_words() -> None:
    progress = Progress(setup())
    assert progress.hear("step openssh", 1.0) == "our setup: openssh"
    progress.hear("failed openssh: the service does not start", 2.0)
    assert progress.failure == "openssh: the service does not start"


def test_unknown_marks_are_not_told() -> None:
    assert Progress(setup()).hear("something else", 1.0) == ""


def test_without_a_port_nothing_of_what_is_heard_begins_a_phase() -> None:
    progress = Unmarked(setup())
    assert progress.booting
    for mark in ("step openssh", "hostkey ssh-ed25519 AAAA", "step restart", "logon"):
        progress.hear(mark, 100.0)
    assert progress.step == "restart" and progress.host_key and progress.phase == "boot"
    assert progress.hear("ready", 120.04) == "ready" and progress.finished
    assert progress.seconds == {"installation": 120.0} and tuple(progress.missed) == PHASES


def test_without_a_port_all_phases_have_one_limit_and_a_key_is_for_the_first_start_alone() -> None:
    progress = Unmarked(setup(), factor=2.0)
    total = 2.0 * sum(progress.windows.limits.of(phase) for phase in PHASES)
    assert not progress.overdue(total) and progress.overdue(total + 1)
    progress.reboots = 1
    assert not progress.booting
