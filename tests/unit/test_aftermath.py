"""What is taken out of a guest after a crash, and what is not: a guest's files as a transport shows them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from harness.config.load import load_guest
from harness.config.models import CrashFiles
from harness.errors import TransportError
from harness.guest.sftp import RemoteFile
from harness.guest.ssh import SshTransport
from harness.guest.transport import ExecResult, LineChannel
from harness.runs import aftermath
from harness.runs.aftermath import _Findings
from harness.vm.evidence import Evidence
from harness.vm.qmp import QmpEvent
from harness.vm.vm import Vm
from tests.unit import dump_files

SINCE = datetime(2026, 1, 2, tzinfo=UTC)
FOLDER = r"C:\Windows\Minidump"


class Files:
    """A transport to a guest that has these files; `log` is what wevtutil answers."""

    def __init__(self, source: Path, files: Mapping[str, timedelta], log: int = 0) -> None:
        self._source = source
        self._files = [RemoteFile(path, 4096, SINCE + age) for path, age in files.items()]
        self._log = log
        self.commands: list[str] = []

    def files(self, place: str) -> list[RemoteFile]:
        return [file for file in self._files if file.path.startswith(place)]

    def get(self, remote: str, local: Path) -> None:
        shutil.copyfile(self._source, local)

    def exec(self, command: str, *, timeout_s: float) -> ExecResult:
        self.commands.append(command)
        return ExecResult(self._log, "", "access denied", 0.1)

    def open_session(self, command: str) -> LineChannel:
        raise NotImplementedError

    def put(self, local: Path, remote: str) -> None:
        raise NotImplementedError

    def put_many(self, files: Mapping[Path, str]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "source.dmp"
    path.write_bytes(dump_files.triage())
    return path


@pytest.fixture
def findings(tmp_path: Path) -> _Findings:
    return _Findings(tmp_path, ["pmctest.sys"])


def test_the_newest_dump_is_fetched_and_read(dump: Path, findings: _Findings) -> None:
    hour = timedelta(hours=1)
    files = {rf"{FOLDER}\old.dmp": -hour, rf"{FOLDER}\first.dmp": hour, rf"{FOLDER}\last.dmp": 2 * hour}
    findings.dumps(Files(dump, files), FOLDER, SINCE)
    assert [file.name for file in findings.files] == ["guest-last.dmp"]
    (said,) = findings.said
    assert "0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL" in said
    assert "pmctest.sys is implicated" in said
    assert rf"{FOLDER}\last.dmp, written by the guest at 2026-01-02 02:00:00Z" in findings.files[0].what


def test_a_dump_of_an_earlier_crash_implicates_nobody(dump: Path, findings: _Findings) -> None:
    findings.dumps(Files(dump, {rf"{FOLDER}\old.dmp": timedelta(seconds=-1)}), FOLDER, SINCE)
    assert not findings.files and not findings.said
    assert findings.notes[0].why == "nothing newer than 2026-01-02 00:00 in the guest"


def test_a_dump_that_is_none_is_kept_and_said_to_be(dump: Path, findings: _Findings) -> None:
    dump.write_bytes(b"half a dump")
    findings.dumps(Files(dump, {rf"{FOLDER}\a.dmp": timedelta()}), FOLDER, SINCE)
    assert "not understood" in findings.files[0].what
    assert findings.said == []


def test_a_dump_that_is_too_large_stays(
    dump: Path, findings: _Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftermath, "LIMIT_BYTES", 4095)
    findings.dumps(Files(dump, {rf"{FOLDER}\a.dmp": timedelta()}), FOLDER, SINCE)
    assert not findings.files
    assert "it stays in the guest" in findings.notes[0].why


@pytest.mark.parametrize("status", [0, 5])
def test_the_event_log_is_exported_by_the_guests_tool(status: int, dump: Path, findings: _Findings) -> None:
    guest = Files(dump, {}, log=status)
    findings.event_log(guest, load_guest("embedded"))
    assert guest.commands == [r"wevtutil epl System C:\halpmc\System.evtx /ow:true"]
    if status == 0:
        assert [file.name for file in findings.files] == ["guest-System.evtx"]
    else:
        assert findings.notes[0].why == "wevtutil: exit code 5: access denied"


def test_what_windows_keeps_is_what_a_definition_says_by_default() -> None:
    assert CrashFiles().dumps == (r"C:\Windows\MEMORY.DMP", FOLDER)


class Stopped:
    """A machine that QEMU stopped when its guest panicked, and whose guest resets it when it goes on."""

    def __init__(self, info: dict[str, object], *, resets: bool = True) -> None:
        self.qmp = self
        self.events = (QmpEvent("GUEST_PANICKED", {"action": "pause", "info": info}, datetime.now(UTC)),)
        self.commands: list[str] = []
        self._status = "guest-panicked"
        self._resets = resets

    def execute(self, command: str, **_: object) -> dict[str, str]:
        if command == "cont":
            self._status = "shutdown" if self._resets else "running"
        if command != "query-status":
            self.commands.append(command)
        return {"status": self._status}


BUGCHECK = {"type": "hyper-v", "arg1": 0xD1, "arg2": 1, "arg3": 2, "arg4": 0, "arg5": 3}


@pytest.mark.parametrize(("info", "commands"), [(BUGCHECK, ["cont"]), ({"type": "s390"}, [])])
def test_a_windows_that_told_its_bug_check_may_write_its_dump(
    info: dict[str, object], commands: list[str]
) -> None:
    """QEMU stops it in the midst: before, its dump was never there, and every crash cost a reboot in vain."""
    vm = Stopped(info)
    aftermath._let_it_finish(cast(Vm, vm))
    assert vm.commands == commands


def test_a_dump_that_is_never_written_does_not_keep_the_event_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftermath, "DUMP_S", 0.1)
    vm = Stopped(BUGCHECK, resets=False)
    monkeypatch.setattr(vm, "reboot", lambda: vm.commands.append("reboot"), raising=False)
    evidence = Evidence(
        triage="", reach="answers", status="", bugcheck=None, files=(), notes=(), budget_s=1, seconds=0
    )

    def connect() -> SshTransport:
        raise TransportError("asked")

    found = aftermath.next_boot(cast(Vm, vm), load_guest("embedded"), connect, SINCE, tmp_path, evidence, [])
    assert vm.commands == ["cont", "reboot"]
    assert [note.step for note in found.notes] == ["the guest's own dump", "the guest's next boot"]
