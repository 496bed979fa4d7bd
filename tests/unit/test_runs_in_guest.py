"""Making a Windows what its cell asks for, before it is saved: one login, one reboot; none where nothing differs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.models import Boot, Cell
from harness.driver.build import BuiltFile
from harness.errors import DeadlineExceeded, GuestPanicked
from harness.runs import in_guest
from harness.runs.cell import CellRun
from harness.runs.guest import Guest
from harness.runs.in_guest import set_up
from harness.runs.record import CellEndRecord, CellRecord
from harness.runs.record_file import Recorder, read_records
from tests.unit.test_machine_seen import QUERY, SERVER, Client, session

BUILT = BuiltFile(Path("pmcctl.exe"), "0")


class Machine:
    """A VM and the way into its guest, which resets when it is told to, unless it is `deaf`; `fault` ends it then."""

    def __init__(self, client: Client, *, deaf: bool = False, fault: Exception | None = None) -> None:
        self.client, self.deaf, self.fault = client, deaf, fault
        self.qmp = SimpleNamespace(events=(SimpleNamespace(name="RESET", at=1),))  # of an earlier life
        self.said: list[str] = []

    @contextmanager
    def expecting(self, *events: str) -> Generator[None, None, None]:
        self.said.append(f"expecting {' '.join(events)}")
        yield

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault

    def connect(self, vm: Machine, folder: Path) -> Machine:
        self.said.append("login")
        return self

    def put(self, local: Path, remote: str) -> None:
        self.said.append(f"put {remote}")

    def open_session(self, command: str) -> Any:
        self.said.append(command)
        if command.endswith("serve"):
            self.client.answers = [b'{"hello":"pmcctl","protocol":1,"version":"1","arch":"x86_64","pid":1}']
            return self.client
        if not self.deaf:
            self.qmp.events += (SimpleNamespace(name="RESET", at=2),)
        return SimpleNamespace(close=lambda: None)

    def close(self) -> None:
        pass

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def run(machine: Machine, cell: Cell, folder: Path) -> tuple[str, ...]:
    vm: Any = machine
    return set_up(vm, folder, cell, SERVER, BUILT, vm.connect)


def test_what_differs_is_set_and_the_guest_rebooted_once(tmp_path: Path) -> None:
    machine = Machine(Client())
    changed = run(machine, Cell(id="x", vbs=True, verifier=True), tmp_path)
    assert changed == ("Driver Verifier on", "virtualization-based security and memory integrity on")
    assert machine.said == [
        "login",
        r"put C:\halpmc\pmcctl.exe",
        r"C:\halpmc\pmcctl.exe serve",
        "expecting RESET",
        "login",
        "shutdown /r /f /t 0",
        "login",
    ]


def test_a_guest_that_is_as_asked_is_not_rebooted(tmp_path: Path) -> None:
    machine = Machine(Client())
    assert run(machine, Cell(id="x", vbs=False, verifier=False), tmp_path) == ()
    assert "expecting RESET" not in machine.said


def test_a_cell_that_asks_for_nothing_does_not_even_log_in(tmp_path: Path) -> None:
    machine = Machine(Client())
    assert run(machine, Cell(id="x"), tmp_path) == ()
    assert machine.said == []


def test_a_guest_that_does_not_reset_is_not_taken_for_rebooted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset of an earlier boot does not count; a guest that dies ends the wait."""
    monkeypatch.setattr(in_guest, "REBOOT_S", 0.2)
    with pytest.raises(DeadlineExceeded, match="the guest's reboot"):
        run(Machine(Client(), deaf=True), Cell(id="x", verifier=True), tmp_path)
    died = Machine(Client(), deaf=True, fault=GuestPanicked("it died"))
    with pytest.raises(GuestPanicked, match="it died"):
        run(died, Cell(id="x", verifier=True), tmp_path)


def test_what_the_guest_says_is_recorded_and_decides_whether_the_cell_is_realised(tmp_path: Path) -> None:
    cell = Cell(id="cell", firmware=Boot.UEFI, tpm=True, verifier=True, secure_boot=True)
    folder = tmp_path / "cells" / "cell"
    folder.mkdir(parents=True)
    recorder = Recorder(tmp_path)
    running = CellRun(cell, folder, recorder)
    client = Client(
        state={"firmware": 2, "tpm": 0, "secure_boot": None}, tools={"verifier /query": (0, QUERY)}
    )
    guest = Guest(cell, SERVER, None, session(client, tmp_path), {})  # type: ignore[arg-type] # has no VM
    running._read_back(guest, SERVER)
    running.finish()
    recorder.close()
    records = list(read_records(tmp_path))
    (told,) = [r.provenance for r in records if isinstance(r, CellRecord)]
    assert told == {
        "accelerator": "undecided",
        "the guest says": "firmware uefi, TPM off, VBS off, memory integrity off, Driver Verifier on",
        "the guest does not tell": "secure_boot",
    }
    (end,) = [r for r in records if isinstance(r, CellEndRecord)]
    assert (end.realised, end.not_realised) == (
        False,
        ("tpm=on was asked for, the guest does not have a TPM",),
    )
