"""Asking a Windows for its state: a scripted client that answers as the protocol says, and tools by exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.driver.deploy import EPOCH_100NS
from harness.driver.session import ClientSession
from harness.errors import ClientError
from harness.guest.requirements import CrashControl, GuestState
from harness.guest.transport import ExecResult
from harness.runs.check_guest import BITLOCKER, SHELL_PROOF, _shell, ask_state
from tests.unit.test_guest_requirements import GERMAN

CONTROL = r"HKLM\SYSTEM\CurrentControlSet\Control"
HELLO = {"hello": "pmcctl", "protocol": 1, "version": "1", "arch": "x86_64", "pid": 1}
FACTS = {
    "arch": "x86_64",
    "os_major": 10,
    "os_minor": 0,
    "os_build": 20348,
    "wine": None,
    "cpus": 2,
    "groups": 1,
    "group_cpus": [2],
    "boot_ms": "0x10",
    "cpuid": [],
}
SYSTEM = {
    "administrator": 1,
    "edition": 7,
    "firmware": 2,
    "tpm": 0,
    "code_integrity": 3,
    "secure_boot": 0,
    "isolated_user_mode": 0,
    "disk_free": "0x100000000",
    "disk_total": "0x200000000",
    "licence_status": 1,
    "licence_minutes": 0,
}


class Windows:
    """The client and the shell of a Windows; the registry maps key and name to a value, or to an error's number."""

    def __init__(self, registry: dict[tuple[str, str], Any], commands: dict[str, ExecResult]) -> None:
        self._registry = registry
        self._commands = commands
        self._answers = [json.dumps(HELLO).encode()]
        self.clock_off_s = 0.0

    def send_line(self, line: bytes) -> None:
        request = json.loads(line)
        result, error = self._answer(request["op"], request["args"])
        answer = {"id": request["id"], "ok": error is None, "result": result, "error": error}
        self._answers.append(json.dumps(answer).encode())

    def _answer(self, op: str, args: dict[str, str]) -> tuple[Any, Any]:
        if op == "facts":
            return FACTS, None
        if op == "system.state":
            now = int((time.time() + self.clock_off_s) * 1e7) + EPOCH_100NS
            return SYSTEM | {"time": hex(now)}, None
        keys = {path for path, _ in self._registry}
        value = self._registry.get((args["path"], args["name"]))
        if value is None:
            what = "RegQueryValueEx" if args["path"] in keys else "RegOpenKeyEx"
            return None, {"kind": "win32", "code": 2, "what": what}
        if isinstance(value, bytes):  # of a type that the client does not tell
            return None, {"kind": "win32", "code": 1630, "what": "RegQueryValueEx"}
        if value == "denied":
            return None, {"kind": "win32", "code": 5, "what": "RegOpenKeyEx"}
        return {"type": "dword" if isinstance(value, int) else "string", "value": value}, None

    def read_line(self, timeout_s: float, what: str = "line") -> bytes:
        return self._answers.pop(0)

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        pass

    def exec(self, command: str, *, timeout_s: float) -> ExecResult:
        return self._commands.get(command, ExecResult(9009, "", "not recognized", 0.0))


def state(windows: Windows, tmp_path: Path) -> GuestState:
    with ClientSession(windows, greeting_timeout_s=1, log=tmp_path / "client.log") as session:
        return ask_state(session, windows)  # type: ignore[arg-type] # of a transport, only commands are asked for


CRASH = {
    (rf"{CONTROL}\CrashControl", name): value for name, value in [("CrashDumpEnabled", 2), ("AutoReboot", 0)]
}
SERVICING = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing"
TOOLS = {
    BITLOCKER: ExecResult(0, "bde=1\r\n", "", 0.0),
    'cmd /c "bcdedit /enum {current}"': ExecResult(0, GERMAN, "", 0.0),
}


def test_a_windows_in_order(tmp_path: Path) -> None:
    found = state(Windows(CRASH, TOOLS), tmp_path)
    assert (found.wine, found.build, found.bitlocker, found.test_signing_set) == (None, 20348, 1, True)
    assert found.crash == CrashControl(dump=2, nmi=None, reboots=0)
    assert (found.pending_reboot, found.verified_drivers, found.clock_off_s) == ((), None, 0.0)
    assert (found.disk_free, found.licence_minutes) == (4 << 30, 0)


def test_a_windows_that_wants_a_reboot(tmp_path: Path) -> None:
    """A key without a value of its own, and a value of a type that is not told."""
    registry = {
        (rf"{SERVICING}\RebootPending", "Exclusive"): 1,
        (rf"{CONTROL}\Session Manager", "PendingFileRenameOperations"): b"",
        (rf"{CONTROL}\Session Manager\Memory Management", "VerifyDrivers"): "pmctest.sys",
    }
    windows = Windows(CRASH | registry, {})
    windows.clock_off_s = -7200.0
    found = state(windows, tmp_path)
    assert found.pending_reboot == ("servicing", "files to be renamed")
    assert found.verified_drivers == "pmctest.sys"
    assert found.clock_off_s == pytest.approx(-7200, abs=1)
    assert (found.bitlocker, found.test_signing_set) == (None, None), "tools that are not there say nothing"


def test_a_registry_that_may_not_be_read_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="error 5 "):
        state(Windows({(rf"{CONTROL}\CrashControl", "CrashDumpEnabled"): "denied"}, {}), tmp_path)


@pytest.mark.parametrize(
    ("done", "status"),
    [
        (ExecResult(77, "halpmc\r\n", "", 0.0), "ok"),
        (ExecResult(1, "halpmc\r\n", "", 0.0), "warn"),  # PowerShell
        (ExecResult(127, "", "cmd: command not found", 0.0), "fail"),
    ],
)
def test_shells(done: ExecResult, status: str) -> None:
    found = _shell(Windows({}, {SHELL_PROOF: done}))  # type: ignore[arg-type]
    assert (found.status, bool(found.remedy)) == (status, status != "ok")
