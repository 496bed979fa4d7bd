"""Holding all of the host's counters, so that a virtual PMU that lives on them counts nothing.

KVM makes a perf event of each counter that its guest programs, pinned to the vCPU's thread. Events that are pinned to a
CPU come first (kernel/events/core.c), and one that finds no counter is in error from then on: reading it gives nothing.
So events are opened on each CPU until the kernel has no counter left, whatever their number is.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Generator, Iterable, Sequence
from typing import Protocol

from harness.errors import InfrastructureError

#: perf_event_open(2): number of the system call, and the layout of what it is told (PERF_ATTR_SIZE_VER0).
SYSCALLS = {"x86_64": 298, "aarch64": 241}
ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
PINNED = 1 << 2
CLOSE_ON_EXEC = 1 << 3
HARDWARE = 0
#: What counters count of themselves (linux/perf_event.h): each may have a counter that counts nothing else.
CYCLES, INSTRUCTIONS, REFERENCE_CYCLES = 0, 1, 9
EVENTS = (INSTRUCTIONS, CYCLES, REFERENCE_CYCLES)
NO_SUCH_EVENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)
#: No PMU has as many counters: an event that always finds one counts in software.
MOST = 64
PARANOID = "kernel.perf_event_paranoid"


def attributes(kind: int, event: int) -> bytes:
    """What the kernel is told of an event: pinned, and counting from the start (struct perf_event_attr)."""
    return ATTRIBUTES.pack(kind, ATTRIBUTES.size, event, 0, 0, 0, PINNED, 0, 0, 0)


class Perf(Protocol):
    """The kernel's counters."""

    def open(self, cpu: int, event: int) -> int:
        """A pinned event on a CPU as a file descriptor. Raises OSError."""

    def counts(self, fd: int) -> bool:
        """Whether an event has a counter."""

    def close(self, fd: int) -> None:
        """Give it back."""


class KernelPerf:
    """This host's. `kind` is the type of the events, of the hardware unless a test asks for others."""

    def __init__(self, kind: int = HARDWARE) -> None:
        self._kind = kind
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = SYSCALLS.get(platform.machine())

    def open(self, cpu: int, event: int) -> int:
        """As in the protocol."""
        if self._number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        given = attributes(self._kind, event)
        fd: int = self._libc.syscall(
            self._number,
            ctypes.c_char_p(given),
            ctypes.c_int(-1),
            ctypes.c_int(cpu),
            ctypes.c_int(-1),
            ctypes.c_ulong(CLOSE_ON_EXEC),
        )
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return fd

    def counts(self, fd: int) -> bool:
        """As in the protocol: an event in error is at its end (perf_event_open(2))."""
        return len(os.read(fd, 8)) == 8

    def close(self, fd: int) -> None:
        """As in the protocol."""
        os.close(fd)


class Starvation:
    """All counters of these CPUs, held. Raises InfrastructureError where the kernel gives none of them."""

    def __init__(self, cpus: Iterable[int], perf: Perf) -> None:
        self._perf = perf
        self._held: dict[int, list[int]] = {}
        try:
            for cpu in cpus:
                self._held[cpu] = []
                self._fill(cpu)
        except BaseException:
            self.close()
            raise

    def _fill(self, cpu: int) -> None:
        for event in EVENTS:
            for _ in range(MOST):
                try:
                    fd = self._perf.open(cpu, event)
                except OSError as error:
                    if event != EVENTS[0] and error.errno in NO_SUCH_EVENT:
                        break
                    raise InfrastructureError(
                        f"the host's counters cannot be held: {why(error)}",
                        remedy="see starve_pmu in docs/matrices.md",
                    ) from None
                if not self._perf.counts(fd):
                    self._perf.close(fd)
                    break  # no counter is left for it
                self._held[cpu].append(fd)
            else:
                raise InfrastructureError(
                    f"CPU {cpu} of the host gives counters without end: they cannot all be held"
                )
        if not self._held[cpu]:
            raise InfrastructureError(f"somebody else holds all counters of CPU {cpu} of the host")

    @property
    def held(self) -> dict[int, int]:
        """How many counters of each CPU are held."""
        return {cpu: len(events) for cpu, events in self._held.items()}

    def lost(self) -> list[int]:
        """CPUs of which a counter was taken away since: somebody with a better claim got it."""
        return [cpu for cpu, events in self._held.items() if not all(self._perf.counts(fd) for fd in events)]

    def close(self) -> None:
        """Give all of them back. Idempotent."""
        for events in self._held.values():
            while events:
                with contextlib.suppress(OSError):
                    self._perf.close(events.pop())


@contextlib.contextmanager
def starved(cpus: Sequence[int], perf: Perf) -> Generator[Starvation, None, None]:
    """The counters of these CPUs are held in this context. Raises as Starvation."""
    starvation = Starvation(cpus, perf)
    try:
        yield starvation
    finally:
        starvation.close()


def online_cpus(text: str) -> tuple[int, ...]:
    """The numbers in a list of the kernel's, such as 0-3,8 (/sys/devices/system/cpu/online)."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def against(perf: Perf, cpu: int = 0) -> str:
    """Why this user cannot hold the host's counters, found out by opening one; empty when it can."""
    try:
        perf.close(perf.open(cpu, INSTRUCTIONS))
    except OSError as error:
        return why(error)
    return ""


def why(error: OSError) -> str:
    """What perf_event_open(2) means by its errors, and what would help."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not count on whole CPUs: {PARANOID} must be 0 or less, or CAP_PERFMON be there"
    if error.errno in NO_SUCH_EVENT:
        return "the host's kernel has no counters of the CPU itself"
    if error.errno == errno.ENOSYS:
        return "the host's kernel has no perf_event_open"
    return f"perf_event_open: {error.strerror}"
