"""Booting a guest for a look: what it is, as it tells itself. Its image is not changed."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.caching import Say
from harness.config.models import Accel, Arch, Cell, GuestDefinition
from harness.driver import protocol
from harness.driver.build import build_driver
from harness.driver.deploy import EPOCH_100NS, client_path
from harness.driver.session import ClientSession
from harness.errors import ClientError, DeadlineExceeded, HalpmcError
from harness.guest import bcdedit
from harness.guest.login import ask_host_key
from harness.guest.requirements import CrashControl, GuestState, Requirement, Status, judge
from harness.guest.ssh import SshTransport
from harness.guest.transport import Transport
from harness.imaging.check import FILE_NAME, CheckReport
from harness.imaging.machine import guest_cpu_string, guest_machine, installed
from harness.imaging.store import HOST_KEY, GuestImage, find_image, verify
from harness.probe.accelerator import choose_accelerator
from harness.runs.client_sessions import client_over_ssh
from harness.vm.evidence import collect
from harness.vm.vm import Vm

#: Models that TCG emulates quickly. In `max` of aarch64 is pointer authentication, and a boot takes ten times as long.
TCG_CPUS = {Arch.AARCH64: "neoverse-n1"}
TOOL_S = 60.0
EVIDENCE_S = 60.0
#: An exit code that no shell gives by itself, and a word that no shell says. Quoted for cmd.exe and PowerShell alike.
EXIT_PROOF, SAID = 77, "halpmc"
SHELL_PROOF = f'cmd /c "echo {SAID}& exit {EXIT_PROOF}"'
#: 0 protected, 1 not (Microsoft's documentation of manage-bde status), 2 any other, as when there is no such tool.
BITLOCKER = (
    'cmd /c "manage-bde -status C: -protectionaserrorlevel >nul 2>nul '
    '& if errorlevel 2 (echo bde=2) else if errorlevel 1 (echo bde=1) else echo bde=0"'
)
CONTROL = r"HKLM\SYSTEM\CurrentControlSet\Control"
SERVICING = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion"
#: Win32 errors: there is no such key or value; a value of a type that the client does not read.
MISSING, OTHER_TYPE = 2, 1630


def check_guest(
    name: str,
    folder: Path,
    *,
    accel: Accel = Accel.AUTO,
    memory_mib: int | None = None,
    cpus: int = 2,
    say: Say = lambda _: None,
) -> CheckReport:
    """Boot a guest from its image and ask it; the report is kept beside the image.

    The first check of an imported guest learns its SSH host key, from a server that only this VM can be. Raises
    UsageError, and whatever keeps the guest from being reached, with evidence in `folder`.
    """
    image = find_image(name)
    arch, machine_type = image.definition.arch, image.definition.machine
    cell = Cell(id="check", guest=name, arch=arch, machine=machine_type, smp=cpus)
    definition = installed(image.definition, image, cell)
    memory = memory_mib or definition.usual_memory_mib
    say(f"reading {image.disk}")
    verify(image)
    client = build_driver(definition.arch, say=say).client
    choice = choose_accelerator(accel, definition.arch, definition.machine, say=say)
    if choice.accel is Accel.TCG and arch in TCG_CPUS:
        cell = cell.model_copy(update={"cpu": TCG_CPUS[arch]})
    machine = guest_machine(
        definition,
        accel=choice.accel,
        cpu=guest_cpu_string(cell, definition, choice.accel),
        smp=cpus,
        memory_mib=memory,
        disk=image.disk,
        variables=image.variables,
        direct_boot=image.direct_boot,
        serial_log=folder / "serial.log",
        on_reboot="reset",
    )
    say(f"booting guest {name} ({choice.accel}: {choice.reason})")
    started = time.monotonic()
    with Vm(machine, folder) as vm, _looked_at(vm, folder):
        host_key = image.host_key or ask_host_key(vm.ssh_port, vm.check, definition.timeouts)
        say("asking it")
        with SshTransport.connect(
            "127.0.0.1",
            vm.ssh_port,
            definition.ssh.user,
            image.key,
            host_key,
            check=vm.check,
            timeouts=definition.timeouts,
            log_path=folder / "ssh.log",
        ) as transport:
            logged_in = time.monotonic()
            requirements, state = examine(transport, definition, client.path, folder, memory)
            seconds = {"logged in": logged_in - started, **transport.timings}
    report = CheckReport(
        guest=name,
        kind=definition.kind,
        image_sha256=image.manifest.disk_sha256,
        accelerator=f"{choice.accel} ({choice.reason})",
        checked_at=datetime.now(UTC).replace(microsecond=0),
        seconds={step: round(value, 2) for step, value in seconds.items()},
        requirements=requirements,
        state=state,
    )
    _keep(image, report, host_key)
    return report


def examine(
    transport: Transport, definition: GuestDefinition, client: Path, folder: Path, memory_mib: int
) -> tuple[tuple[Requirement, ...], GuestState]:
    """What is required of a guest that runs, and how it is. `client` is put into it; `folder` gets the client's log.

    Raises what the transport raises.
    """
    shell = _shell(transport)
    transport.put(client, client_path(definition))
    session = client_over_ssh(transport, definition, folder)
    with session:
        state = ask_state(session, transport)
    return (shell, *judge(state, definition, memory_mib)), state


@contextmanager
def _looked_at(vm: Vm, folder: Path) -> Generator[None, None, None]:
    """Collect evidence of a guest that cannot be reached, while it still stands."""
    try:
        yield
    except HalpmcError as error:
        evidence = collect(vm, folder / "evidence", EVIDENCE_S, hung=isinstance(error, DeadlineExceeded))
        error.evidence["triage"] = evidence.triage
        raise


def _keep(image: GuestImage, report: CheckReport, host_key: str) -> None:
    """Write what was learned beside the image, each file whole or not at all."""
    texts = {FILE_NAME: report.model_dump_json(indent=2) + "\n"}
    if not image.host_key:
        texts[HOST_KEY] = host_key + "\n"
    for name, text in texts.items():
        part = image.folder / f".{name}.part"
        part.write_text(text)
        part.replace(image.folder / name)


def _shell(transport: Transport) -> Requirement:
    """Whether the SSH server's shell runs programs, and whether their exit codes come through."""
    done = transport.exec(SHELL_PROOF, timeout_s=TOOL_S)
    if SAID not in done.stdout:
        return Requirement(
            name="ssh",
            status=Status.FAIL,
            detail=f"the SSH server's shell does not run `{SHELL_PROOF}`: {done.stderr.strip()[:200]}",
            remedy=r"let HKLM\SOFTWARE\OpenSSH DefaultShell be cmd.exe",
        )
    if done.exit_code == EXIT_PROOF:
        return Requirement(name="ssh", status=Status.OK, detail="SSH answers, and its shell runs programs")
    return Requirement(  # PowerShell makes 1 of every failure
        name="ssh",
        status=Status.WARN,
        detail=f"the SSH server's shell makes {done.exit_code} of exit code {EXIT_PROOF}, as PowerShell does",
        remedy=r"remove DefaultShell below HKLM\SOFTWARE\OpenSSH: cmd.exe tells whole exit codes",
    )


def ask_state(session: ClientSession, transport: Transport) -> GuestState:
    """Ask a guest through the client; by a tool only what no interface tells. Raises what the transport raises."""
    facts = session.call("facts", protocol.Facts)
    asked = time.time()
    system = session.call("system.state", protocol.SystemState)
    answered = time.time()
    told = (system.time - EPOCH_100NS) / 1e7
    crash = rf"{CONTROL}\CrashControl"
    memory_management = rf"{CONTROL}\Session Manager\Memory Management"
    verified = _read(session, memory_management, "VerifyDrivers")
    return GuestState(
        wine=facts.wine,
        build=facts.os_build,
        cpus=facts.cpus,
        groups=facts.groups,
        administrator=system.administrator,
        edition=system.edition,
        code_integrity=system.code_integrity,
        secure_boot=system.secure_boot,
        isolated_user_mode=system.isolated_user_mode,
        licence_status=system.licence_status,
        licence_minutes=system.licence_minutes,
        # No more is known than that it was told between question and answer.
        clock_off_s=round(told - min(max(told, asked), answered), 3),
        disk_free=system.disk_free,
        disk_total=system.disk_total,
        bitlocker=_bitlocker(transport),
        test_signing_set=_test_signing_set(transport),
        crash=CrashControl(
            dump=_number(session, crash, "CrashDumpEnabled"),
            nmi=_number(session, crash, "NMICrashDump"),
            reboots=_number(session, crash, "AutoReboot"),
        ),
        pending_reboot=tuple(_pending_reboot(session)),
        verified_drivers=verified if isinstance(verified, str) else None,
    )


def _bitlocker(transport: Transport) -> int | None:
    """The tool's exit code, from our own words: a PowerShell between would not tell it."""
    found = re.search(r"bde=(\d)", transport.exec(BITLOCKER, timeout_s=TOOL_S).stdout)
    return int(found.group(1)) if found else None


def _test_signing_set(transport: Transport) -> bool | None:
    done = transport.exec(f'cmd /c "{bcdedit.COMMAND}"', timeout_s=TOOL_S)
    return bcdedit.is_mentioned(done.stdout, "testsigning")


def _pending_reboot(session: ClientSession) -> Generator[str, None, None]:
    """Where Windows notes that it wants to be rebooted: keys that are there, and a list of files to rename."""
    for reason, path in {
        "servicing": rf"{SERVICING}\Component Based Servicing\RebootPending",
        "Windows Update": rf"{SERVICING}\WindowsUpdate\Auto Update\RebootRequired",
    }.items():
        if _has_key(session, path):
            yield reason
    if _read(session, rf"{CONTROL}\Session Manager", "PendingFileRenameOperations") is not None:
        yield "files to be renamed"


def _read(session: ClientSession, path: str, name: str) -> int | str | None:
    """A value of the registry; None: not there. One of another type than number and text is the empty text."""
    try:
        return session.call("registry.get", protocol.RegistryValue, path=path, name=name).value
    except ClientError as error:
        if error.code == MISSING:
            return None
        if error.code == OTHER_TYPE:
            return ""
        raise


def _number(session: ClientSession, path: str, name: str) -> int | None:
    value = _read(session, path, name)
    return value if isinstance(value, int) else None


def _has_key(session: ClientSession, path: str) -> bool:
    """Whether a key is there: its unnamed value may be missing, which is told apart by the call that failed."""
    try:
        session.call("registry.get", protocol.RegistryValue, path=path, name="")
    except ClientError as error:
        return error.code == OTHER_TYPE or (error.code == MISSING and error.what == "RegQueryValueEx")
    return True
