"""What a test leaves behind in a guest that others use after it: it is seen, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.config.load import load_guest, load_matrix
from harness.driver import deploy
from harness.driver.deploy import SERVICES
from harness.runs.start import GuestStarter

CELL = "include:\n  - {id: embedded, guest: embedded, cpu: Nehalem, pmu: off, accel: tcg}\n"


def test_what_a_test_left_behind(write_matrix: Callable[[str], Path], tmp_path: Path) -> None:
    (cell,) = load_matrix(write_matrix(CELL)).cells
    definition = load_guest("embedded")
    starter = GuestStarter(cell, definition, accel=cell.accel)
    starter.prepare(tmp_path)
    with starter.start(tmp_path / "guest") as guest:
        assert guest.left_over() == ""
        assert guest.hold_in_driver().status == 0
        assert guest.left_over() == f"driver {SERVICES[0]} still holds 1 allocations"
        deploy.stop(guest.session, SERVICES[0])
        assert guest.left_over() == f"the driver's service {SERVICES[0]} is in state 1, not running"
        deploy.start(guest.session, SERVICES[0])
        assert guest.left_over() == ""
