"""NTSTATUS values by name, and which of them the documentation promises."""

from __future__ import annotations

from harness.config.models import Generation

STATUS_SUCCESS = 0x00000000
STATUS_PENDING = 0x00000103
STATUS_UNSUCCESSFUL = 0xC0000001
STATUS_NOT_IMPLEMENTED = 0xC0000002
STATUS_ACCESS_VIOLATION = 0xC0000005
STATUS_INVALID_HANDLE = 0xC0000008
STATUS_INVALID_PARAMETER = 0xC000000D
STATUS_INVALID_DEVICE_REQUEST = 0xC0000010
STATUS_NO_MEMORY = 0xC0000017
STATUS_ILLEGAL_INSTRUCTION = 0xC000001D
STATUS_ACCESS_DENIED = 0xC0000022
STATUS_PRIVILEGED_INSTRUCTION = 0xC0000096
STATUS_INSUFFICIENT_RESOURCES = 0xC000009A
STATUS_NOT_SUPPORTED = 0xC00000BB
STATUS_INVALID_DEVICE_STATE = 0xC0000184
STATUS_NOT_FOUND = 0xC0000225

NAMES = {value: name for name, value in globals().items() if name.startswith("STATUS_")}


def format_status(status: int) -> str:
    """A status as a reader wants it: STATUS_INSUFFICIENT_RESOURCES (0xC000009A)."""
    number = f"0x{status & 0xFFFFFFFF:08X}"
    return f"{NAMES[status]} ({number})" if status in NAMES else number


def documented_allocate(generation: Generation) -> frozenset[int]:
    """What HalAllocateHardwareCounters may return: the return values of its page, by edition.

    STATUS_NOT_SUPPORTED came with the edition for Windows 10 1903 and later.
    """
    both = frozenset({STATUS_SUCCESS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER})
    return both | {STATUS_NOT_SUPPORTED} if generation is Generation.SHARED else both


def documented_free() -> frozenset[int]:
    """What HalFreeHardwareCounters may return: the return values of its page."""
    return frozenset({STATUS_SUCCESS, STATUS_INVALID_PARAMETER})
