"""Asking a guest what machine it is in, and how its Windows is set: the read-back of a cell's settings."""

from __future__ import annotations

from harness.config.models import Boot, Cell, GuestDefinition
from harness.contract.machine_seen import MachineSeen
from harness.driver import protocol
from harness.driver.deploy import SERVICES
from harness.driver.session import ClientSession
from harness.errors import ClientError
from harness.guest.requirements import HVCI, SECURE_KERNEL
from harness.vm.hyperv import missed, seen_in
from harness.windows.system import System

#: Win32: ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND.
NOT_THERE = (2, 3)
#: FIRMWARE_TYPE (winnt.h); Wine answers 0, which is unknown.
FIRMWARE = {1: Boot.BIOS, 2: Boot.UEFI}


def read_back(session: ClientSession, cell: Cell, definition: GuestDefinition) -> MachineSeen:
    """What the guest tells by Windows' own interfaces; below Wine, by what its Linux shows of the machine.

    Driver Verifier is asked for only where the cell has a word about it: by its tool, for which there is no interface.
    Raises what the session raises.
    """
    facts = session.call("facts", protocol.Facts)
    state = session.call("system.state", protocol.SystemState)
    system = System(session)
    offered = seen_in(facts.cpuid)
    wine = facts.wine is not None
    vbs = _flag(state.isolated_user_mode, SECURE_KERNEL)
    if vbs:
        offered = None  # these leaves are then of the hypervisor that Windows itself runs on
    firmware = FIRMWARE.get(state.firmware or 0)
    tpm = None if state.tpm is None else state.tpm > 0
    if wine and definition.kernel_files is not None:
        firmware = _linux_firmware(system, definition.kernel_files)
        tpm = _linux_tpm(system, definition.kernel_files)
    return MachineSeen(
        firmware=firmware,
        secure_boot=None if state.secure_boot is None else state.secure_boot != 0,
        tpm=tpm,
        enlightenments=None
        if offered is None or cell.enlightenments is None
        else missed(cell.enlightenments, offered),
        vbs=False if wine else vbs,  # there is no such thing in Wine
        memory_integrity=False if wine else _flag(state.code_integrity, HVCI),
        verified=_verified(system, wine=wine) if cell.verifier is not None else None,
        group_cpus=facts.group_cpus,
    )


def _flag(flags: int | None, bit: int) -> bool | None:
    return None if flags is None else bool(flags & bit)


def _verified(system: System, *, wine: bool) -> bool | None:
    """Whether Driver Verifier watches both instances now; that it watches others does not count."""
    if wine:
        return False
    watched = system.verified_drivers()
    return None if watched is None else {f"{service}.sys" for service in SERVICES} <= watched


def _linux_firmware(system: System, kernel_files: str) -> Boot | None:
    names = _names(system, rf"{kernel_files}\firmware\*")
    if names is None:
        return None
    return Boot.UEFI if "efi" in names else Boot.BIOS


def _linux_tpm(system: System, kernel_files: str) -> bool | None:
    """By the device that the kernel found, or the table by which firmware tells of one."""
    tables = _names(system, rf"{kernel_files}\firmware\acpi\tables\*")
    devices = _names(system, rf"{kernel_files}\class\tpm\*")
    if tables is None and devices is None:
        return None
    return "tpm2" in (tables or ()) or any(name.startswith("tpm") for name in devices or ())


def _names(system: System, pattern: str) -> set[str] | None:
    """Lower-case names that match; None where the folder is not there."""
    try:
        return {file.name.lower() for file in system.files(pattern)}
    except ClientError as error:
        if error.code in NOT_THERE:
            return None
        raise
