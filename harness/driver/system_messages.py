"""Messages about the guest's system: facts, services, files, registry."""

from __future__ import annotations

from enum import StrEnum

from harness.driver.wire import HexInt, Message, UInt32


class CpuidLeaf(Message):
    """What CPUID answered for one leaf."""

    leaf: UInt32
    subleaf: UInt32
    eax: UInt32
    ebx: UInt32
    ecx: UInt32
    edx: UInt32


class Facts(Message):
    """The guest's system. `wine` is Wine's version, None on Windows; `boot_ms` the time since boot in milliseconds.

    `group_cpus` has the number of CPUs of each processor group.
    """

    arch: str
    os_major: UInt32
    os_minor: UInt32
    os_build: UInt32
    wine: str | None
    cpus: UInt32
    groups: UInt32
    group_cpus: tuple[UInt32, ...]
    boot_ms: HexInt
    cpuid: tuple[CpuidLeaf, ...]


class SystemState(Message):
    """What decides whether a test driver can load; None where the system does not tell.

    `code_integrity` and `isolated_user_mode` are the flags of NtQuerySystemInformation's classes 103 and 165,
    `firmware` is what started it (FIRMWARE_TYPE: 1 a BIOS, 2 UEFI, 0 unknown), `tpm` the TPM's version (0: there is
    none, 1: 1.2, 2: 2.0), `edition` GetProductInfo's number, `time` a FILETIME. `licence_minutes` is what is left of a
    licence; 0: no end.
    """

    administrator: UInt32 | None
    edition: UInt32 | None
    firmware: UInt32 | None
    tpm: UInt32 | None
    code_integrity: UInt32 | None
    secure_boot: UInt32 | None
    isolated_user_mode: UInt32 | None
    time: HexInt
    disk_free: HexInt
    disk_total: HexInt
    licence_status: UInt32 | None
    licence_minutes: UInt32 | None


class ClockSet(Message):
    """The time to set: 100 ns since 1601, UTC (a FILETIME)."""

    time: HexInt


class HalConfigure(Message):
    """Settings of the reference HAL, see guest_driver/include/reference_settings.h."""

    shared: UInt32
    refuse: UInt32
    defect: str


class ServiceType(StrEnum):
    """What a service is: a kernel driver, or a program with a process of its own."""

    DRIVER = "driver"
    PROGRAM = "program"


class ServiceCreate(Message):
    """A demand-start service; `group` is its load-order group."""

    name: str
    path: str
    group: str | None = None
    type: ServiceType = ServiceType.DRIVER


class ServiceName(Message):
    """Which service."""

    name: str


class ServiceChange(Message):
    """Start or stop; the client waits up to `timeout_ms` milliseconds for the new state."""

    name: str
    timeout_ms: UInt32 = 30_000


class ServiceState(Message):
    """The state seen last: 1 stopped … 4 running."""

    state: UInt32


class ServiceStatus(Message):
    """All of a service's numbers."""

    state: UInt32
    type: UInt32
    start_type: UInt32
    win32_exit: UInt32
    service_exit: UInt32


class FilePath(Message):
    """A file in the guest."""

    path: str


class FileHash(Message):
    """SHA-256 in hexadecimal digits, size in bytes."""

    sha256: str
    size: HexInt


class RegistryType(StrEnum):
    """Types of registry values that the client handles."""

    DWORD = "dword"
    STRING = "string"


class RegistrySet(Message):
    r"""A value below HKLM\; the key is created when it is missing."""

    path: str
    name: str
    type: RegistryType
    value: UInt32 | str


class RegistryName(Message):
    r"""Which value below HKLM\."""

    path: str
    name: str


class RegistryKey(Message):
    r"""Which key below HKLM\, with all that is in it."""

    path: str


class RegistryValue(Message):
    """What a value holds."""

    type: RegistryType
    value: UInt32 | str
