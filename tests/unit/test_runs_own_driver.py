"""The machine that a driver of one's own is loaded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.load import guests_folder, load_guest
from harness.config.models import Accel
from harness.runs import own_driver


class Started(Exception):
    """The guest would be started now."""


@pytest.mark.parametrize(("guest", "memory_mib"), [("windows-server-2022", 4096), ("embedded", 512)])
def test_it_has_the_memory_that_its_guest_needs(
    guest: str, memory_mib: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = []

    def start(cell: Any, *_: Any, **__: Any) -> None:
        cells.append(cell)
        raise Started

    monkeypatch.setattr(own_driver, "GuestStarter", start)
    monkeypatch.setattr(own_driver, "load_guest", lambda name: load_guest(name, guests_folder()))
    with pytest.raises(Started), own_driver.own_guest(guest, tmp_path, accel=Accel.TCG):
        pass
    assert [cell.memory_mib for cell in cells] == [memory_mib]
