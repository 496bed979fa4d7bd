"""Errors of Windows by number: their names in winerror.h, and what to do about those that users of test drivers meet.

Sources: Microsoft's "System Error Codes"; for remedies its pages on TESTSIGNING, services and memory integrity.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Win32:
    """The error's name, and a remedy (empty where the caller knows better)."""

    name: str
    remedy: str = ""


TEST_SIGNING = "with Secure Boot off, bcdedit /set testsigning on, and reboot the guest"

WIN32: dict[int, Win32] = {
    1: Win32("ERROR_INVALID_FUNCTION"),
    2: Win32("ERROR_FILE_NOT_FOUND", "the file is not where the path says"),
    3: Win32("ERROR_PATH_NOT_FOUND", "a folder of the path is not there"),
    5: Win32("ERROR_ACCESS_DENIED", "log in as an administrator whose rights UAC does not take away"),
    31: Win32("ERROR_GEN_FAILURE", "DriverEntry failed, or a routine that the driver imports is not there"),
    32: Win32("ERROR_SHARING_VIOLATION", "another program has the file open"),
    50: Win32("ERROR_NOT_SUPPORTED", "this system does not have it"),
    87: Win32("ERROR_INVALID_PARAMETER"),
    112: Win32("ERROR_DISK_FULL", "free space on the guest's disk, or give it a larger one"),
    126: Win32("ERROR_MOD_NOT_FOUND", "a module that the driver imports from is not there"),
    127: Win32("ERROR_PROC_NOT_FOUND", "a routine that the driver imports is not there"),
    183: Win32(
        "ERROR_ALREADY_EXISTS", "DriverEntry found a name taken: a device or link of that name exists"
    ),
    193: Win32("ERROR_BAD_EXE_FORMAT", "the file is no driver for this system: check its architecture"),
    206: Win32("ERROR_FILENAME_EXCED_RANGE", "the path or the command is too long for this system"),
    577: Win32("ERROR_INVALID_IMAGE_HASH", f"the driver's signature is refused: {TEST_SIGNING}"),
    1052: Win32(
        "ERROR_INVALID_SERVICE_CONTROL", "the driver cannot be stopped: set DriverObject->DriverUnload"
    ),
    1053: Win32("ERROR_SERVICE_REQUEST_TIMEOUT", "the service does not answer the service manager"),
    1056: Win32("ERROR_SERVICE_ALREADY_RUNNING"),
    1058: Win32("ERROR_SERVICE_DISABLED", "the service is disabled: give it another start type"),
    1060: Win32("ERROR_SERVICE_DOES_NOT_EXIST"),
    1062: Win32("ERROR_SERVICE_NOT_ACTIVE"),
    1072: Win32(
        "ERROR_SERVICE_MARKED_FOR_DELETE",
        "the service is marked for deletion: close every handle to it, or reboot the guest",
    ),
    1073: Win32("ERROR_SERVICE_EXISTS", "a service of this name exists already: use a fresh guest"),
    1114: Win32("ERROR_DLL_INIT_FAILED"),
    1275: Win32(
        "ERROR_DRIVER_BLOCKED", "the driver is blocked by policy: HVCI, or the list of vulnerable drivers"
    ),
    1314: Win32("ERROR_PRIVILEGE_NOT_HELD", "log in as an administrator whose rights UAC does not take away"),
    1450: Win32("ERROR_NO_SYSTEM_RESOURCES"),
    1460: Win32("ERROR_TIMEOUT", "it takes too long, or never ends"),
}


def name(code: int) -> str:
    """`ERROR_SERVICE_MARKED_FOR_DELETE`; empty where the number has no name here."""
    known = WIN32.get(code)
    return known.name if known else ""


def remedy(code: int, otherwise: str = "") -> str:
    """What to do about it."""
    known = WIN32.get(code)
    return known.remedy if known and known.remedy else otherwise
