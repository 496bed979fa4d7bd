"""A cell's guests: one of its own for each test, or one for all that must be left clean; and what is tried again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import load_guest
from harness.config.models import Cell
from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.errors import GuestError, HalpmcError, InfrastructureError, QemuError
from harness.runs.cell import CellRun, file_name
from harness.runs.guest import Guest
from harness.runs.record import IncidentRecord, Record
from harness.runs.record_file import Recorder, read_records


class Session:
    """A client's session that answers from a table; `held` and `state` are what a test may have left behind."""

    def __init__(self, held: int = 0, state: int = 4) -> None:
        self.held, self.state = held, state

    def call(self, op: str, result: type[Any], **_: Any) -> Any:
        if op == "service.query":
            return protocol.ServiceStatus(
                state=self.state, type=1, start_type=3, win32_exit=0, service_exit=0
            )
        if op == "device.open":
            return protocol.DeviceOpened(device=1)
        if op == "driver.info":
            return result.model_construct(held=self.held)
        return protocol.Empty()


class Starter:
    """Starts guests without a VM; fails as often as it is told to."""

    how = "clone"

    def __init__(self, guest: Guest, *, isolated: bool, failures: list[HalpmcError] | None = None) -> None:
        self.guest, self.isolated, self.failures = guest, isolated, failures or []
        self.started: list[str] = []

    @contextmanager
    def start(self, folder: Path) -> Generator[Guest, None, None]:
        self.started.append(folder.name)
        if self.failures:
            raise self.failures.pop(0)
        yield self.guest


def guest_with(session: Session) -> Guest:
    client: ClientSession = session  # type: ignore[assignment]
    return Guest(Cell(id="cell"), load_guest("embedded"), None, client, {})  # type: ignore[arg-type]


@pytest.fixture
def cell(tmp_path: Path) -> Generator[CellRun, None, None]:
    (tmp_path / "cells" / "cell").mkdir(parents=True)
    recorder = Recorder(tmp_path)
    yield CellRun(Cell(id="cell"), tmp_path / "cells" / "cell", recorder)
    recorder.close()


def use(cell: CellRun, starter: Starter, *, shared: bool = False) -> None:
    cell._starter = starter  # type: ignore[assignment]
    cell._shared = starter.guest if shared else None


def records(cell: CellRun) -> list[Record]:
    return list(read_records(cell.folder.parent.parent))


def test_each_test_has_a_guest_of_its_own(cell: CellRun) -> None:
    starter = Starter(guest_with(Session(held=3)), isolated=True)
    use(cell, starter)
    for name in ("one", "two-[x y]"):
        with cell.guest(name):
            pass
    assert starter.started == ["one", "two--x-y-"]


def test_one_guest_for_all_is_left_as_it_was(cell: CellRun) -> None:
    starter = Starter(guest_with(Session()), isolated=False)
    use(cell, starter, shared=True)
    with cell.guest("tidy") as guest:
        assert guest is starter.guest
    assert starter.started == []


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (Session(held=2), "test untidy did not clean up: driver pmctest still holds 2 allocations"),
        (Session(state=1), "test untidy did not clean up: the driver's service pmctest is in state 1"),
    ],
)
def test_what_a_test_leaves_behind_is_its_fault(cell: CellRun, session: Session, words: str) -> None:
    use(cell, Starter(guest_with(session), isolated=False), shared=True)
    with pytest.raises(GuestError, match=words), cell.guest("untidy"):
        pass


def test_a_clone_that_does_not_start_is_tried_once_more_and_that_is_told(cell: CellRun) -> None:
    starter = Starter(guest_with(Session()), isolated=True, failures=[QemuError("it refused")])
    use(cell, starter)
    with cell.guest("test"):
        pass
    assert starter.started == ["test", "test"]
    (incident,) = records(cell)
    assert isinstance(incident, IncidentRecord)
    assert (incident.retried, incident.branch, incident.message) == (True, "infrastructure", "it refused")


def test_the_second_failure_is_the_tests(cell: CellRun) -> None:
    failures: list[HalpmcError] = [QemuError("first"), QemuError("second"), QemuError("third")]
    starter = Starter(guest_with(Session()), isolated=True, failures=failures)
    use(cell, starter)
    with pytest.raises(InfrastructureError, match="second"), cell.guest("test"):
        pass
    assert [(r.message, r.retried) for r in records(cell) if isinstance(r, IncidentRecord)] == [
        ("first", True),
        ("second", False),
    ]


def test_what_the_guest_did_wrong_is_not_tried_again(cell: CellRun) -> None:
    starter = Starter(guest_with(Session()), isolated=True, failures=[GuestError("the driver does not load")])
    use(cell, starter)
    with pytest.raises(GuestError), cell.guest("test"):
        pass
    assert starter.started == ["test"]


def test_a_fresh_guest_is_never_the_shared_one(cell: CellRun) -> None:
    starter = Starter(guest_with(Session()), isolated=False)
    use(cell, starter, shared=True)
    with cell.fresh_guest("crash"):
        assert starter.started == ["crash"]


def test_names_become_folders() -> None:
    assert file_name("test_x-a/b[../..]") == "test_x-a-b-..-..-"
