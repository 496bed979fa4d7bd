"""Settings of a cell inside of Windows, which count from its next boot on: made where they differ, with one reboot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from harness.config.models import Cell, GuestDefinition, GuestKind
from harness.deadlines import Deadline, wait_for
from harness.driver import protocol
from harness.driver.build import BuiltFile
from harness.driver.deploy import SERVICES, client_path
from harness.driver.session import ClientSession
from harness.errors import GuestError
from harness.guest.requirements import DEVICE_GUARD, HVCI, SECURE_KERNEL
from harness.guest.ssh import SshTransport
from harness.runs.client_sessions import client_over_ssh
from harness.vm.vm import Vm
from harness.windows.system import MEMORY_MANAGEMENT, STANDARD_FLAGS, System

REBOOT_S = 300.0
MEMORY_INTEGRITY = rf"{DEVICE_GUARD}\Scenarios\HypervisorEnforcedCodeIntegrity"
DRIVERS = tuple(f"{service}.sys" for service in SERVICES)
Connect = Callable[[Vm, Path], SshTransport]


def settings_of(cell: Cell, definition: GuestDefinition) -> dict[str, str]:
    """The settings that such a cell makes in its guest; empty where it leaves the image as it is."""
    asked = {"vbs": cell.vbs, "verifier": cell.verifier, "group_size": definition.group_size}
    windows = definition.kind is GuestKind.WINDOWS
    return {name: str(value) for name, value in asked.items() if windows and value is not None}


def set_up(
    vm: Vm, folder: Path, cell: Cell, definition: GuestDefinition, client: BuiltFile, connect: Connect
) -> tuple[str, ...]:
    """Make a booted guest what its cell asks for; what was changed, in words. It was rebooted when there was anything.

    Raises GuestError with the tool's words, what the transport raises, DeadlineExceeded.
    """
    if not settings_of(cell, definition):
        return ()
    with connect(vm, folder) as transport:
        transport.put(client.path, client_path(definition))
        with client_over_ssh(transport, definition, folder) as session:
            changed = tuple(change(session, cell, definition.group_size))
    if changed:
        reboot(vm, folder, definition.power.reboot, connect).close()
    return changed


def reboot(vm: Vm, folder: Path, command: str, connect: Connect) -> SshTransport:
    """Have a guest reboot by its own command, and log in again. Raises DeadlineExceeded when it does not reset."""
    with vm.expecting("RESET"):  # firmware may reset once more on the way
        with connect(vm, folder) as transport:
            before = vm.qmp.events
            begun = transport.open_session(command)  # kept open: closed, it would end the command

            def was_reset(_: Deadline) -> bool | None:
                vm.check()
                news = (event for event in vm.qmp.events if event not in before)
                return True if any(event.name == "RESET" for event in news) else None

            wait_for("the guest's reboot", REBOOT_S, was_reset)
            del begun  # its connection is as gone as the system that it led to
        return connect(vm, folder)


def change(session: ClientSession, cell: Cell, group_size: int | None) -> Iterator[str]:
    """Set what differs from what the cell asks for, and say what it was. None of it counts before a reboot."""
    system = System(session)
    if cell.verifier is not None and _verifier(system) is not cell.verifier:
        system.verify_drivers(DRIVERS if cell.verifier else ())
        yield f"Driver Verifier {_on_off(cell.verifier)}"
    if cell.vbs is not None and not _vbs_is(session, cell.vbs):
        for path, name in (
            (DEVICE_GUARD, "EnableVirtualizationBasedSecurity"),
            (DEVICE_GUARD, "RequirePlatformSecurityFeatures"),
            (MEMORY_INTEGRITY, "Enabled"),
        ):
            _set(session, path, name, int(cell.vbs))
        yield f"virtualization-based security and memory integrity {_on_off(cell.vbs)}"
    if group_size is not None and not _groups_are(session, group_size):
        _tool(system, f"bcdedit /set {{current}} groupsize {group_size}")
        yield f"processor groups of {group_size}"


def _verifier(system: System) -> bool | None:
    """Whether it is set for our drivers; None where it is set for others, or with other flags."""
    names = str(system.value(MEMORY_MANAGEMENT, "VerifyDrivers") or "").lower().split()
    if not names:
        return False
    flags = system.value(MEMORY_MANAGEMENT, "VerifyDriverLevel")
    return True if set(names) == set(DRIVERS) and flags == STANDARD_FLAGS else None


def _vbs_is(session: ClientSession, wanted: bool) -> bool:
    """By what runs, not by what is set: Windows 11 may have it on without a word in the registry."""
    state = session.call("system.state", protocol.SystemState)
    runs = (
        bool((state.isolated_user_mode or 0) & SECURE_KERNEL),
        bool((state.code_integrity or 0) & HVCI),
    )
    return runs == (wanted, wanted)


def _groups_are(session: ClientSession, size: int) -> bool:
    facts = session.call("facts", protocol.Facts)
    return max(facts.group_cpus) <= size and len(facts.group_cpus) == -(-facts.cpus // size)


def _set(session: ClientSession, path: str, name: str, value: int) -> None:
    session.call("registry.set", protocol.Empty, path=path, name=name, type="dword", value=value)


def _tool(system: System, command: str) -> None:
    done = system.run(command)
    if done.exit_code != 0:
        said = " ".join((done.text() + done.stderr.decode("utf-8", "replace")).split())
        raise GuestError(
            f"the command `{command}` ended in the guest with exit code {done.exit_code}: {said}"
        )


def _on_off(value: bool) -> str:
    return "on" if value else "off"
