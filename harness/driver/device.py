"""An open handle to one instance of the test driver, as seen from the harness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.contract.observations import Call
from harness.deadlines import timeout_factor
from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.errors import ClientError, NeverReturned

#: Put into the handle cell before each allocate, to prove that the routine wrote it.
POISON = 0xAAAA_AAAA_AAAA_AAAA
#: A call of a routine takes microseconds. One that takes longer than this does not return.
RETURN_S = 8.0
ERROR_TIMEOUT = 1460  # Win32: what the client answers for a call that it has given up
CYCLES_TIMEOUT_S = 180.0
RACE_TIMEOUT_S = 180.0
#: The threads of a race of the client are given up, so that the client still answers, before the request is.
RACE_RETURN_S = 120.0
COUNT_ALL_TIMEOUT_S = 180.0
RAW_TIMEOUT_S = 180.0


class Device:
    """Calls of the two routines through one handle of the test driver; closing it frees what it holds.

    Every call is kept in `calls`, for the clauses about all calls. Raises ClientError when the IRP itself fails:
    that is never the answer of a routine. Raises NeverReturned when a routine hangs; the handle is then of no more use.
    """

    def __init__(self, session: ClientSession, number: int, service: str) -> None:
        self._session = session
        self._number = number
        self.service = service
        self.calls: list[Call] = []
        self._hangs = False

    @classmethod
    def open(cls, session: ClientSession, service: str) -> Device:
        """Open the instance that runs as this service."""
        return cls(session, session.call("device.open", protocol.DeviceOpened, name=service).device, service)

    @property
    def number(self) -> int:
        """The client's number for it."""
        return self._number

    def close(self) -> None:
        """Close the handle; the driver frees what it holds. A handle on which a call hangs is left alone."""
        if self._hangs:
            return  # the driver could not answer, either: the guest is done for
        self._session.call("device.close", protocol.Empty, device=self._number)

    def info(self) -> protocol.DriverInfo:
        """What the driver says of itself."""
        return self._session.call("driver.info", protocol.DriverInfo, device=self._number)

    def allocate(
        self,
        *,
        affinity: Sequence[dict[str, Any]] | None = None,
        group_count: int | None = None,
        resources: dict[str, Any] | None = None,
        cpu: int | None = None,
        keep: bool = False,
        irql: protocol.Irql | None = None,
        null_cell: bool = False,
    ) -> Call:
        """HalAllocateHardwareCounters; without arguments the plain request (NULL, 0, NULL).

        With `keep` the allocation belongs to the driver instead of to this handle: only a free or its unload ends it.
        `irql` 2 makes the call at DISPATCH_LEVEL, `null_cell` passes NULL for CounterSetHandle: only a driver that was
        started with AllowDestructive=1 does that.
        """
        return self._call(
            "allocate",
            affinity=affinity,
            group_count=group_count,
            resources=resources,
            cpu=cpu,
            poison=POISON,
            keep=keep,
            irql=irql,
            null_cell=null_cell,
        )

    def free(
        self,
        handle: int,
        *,
        cpu: int | None = None,
        worker: bool = False,
        irql: protocol.Irql | None = None,
        any_value: bool = False,
    ) -> Call:
        """HalFreeHardwareCounters; `worker` makes a system thread call it; `irql` as in `allocate`.

        `any_value` passes a value on that never was a handle (AllowDestructive=1 only).
        """
        return self._call("free", handle=handle, cpu=cpu, worker=worker, irql=irql, any=any_value)

    def free_pool(self) -> Call:
        """HalFreeHardwareCounters with the address of nonpaged pool (AllowDestructive=1 only)."""
        return self._call("free", handle=0, pool=True)

    def leak(self) -> Call:
        """The plain request, whose grant the driver forgets: nothing ever frees it (AllowDestructive=1 only)."""
        result = self._session.call("leak", protocol.CallResult, device=self._number)
        self.calls.append(to_call("leak", result))
        return self.calls[-1]

    def holdings(self) -> tuple[protocol.Held, ...]:
        """All allocations that this instance of the driver holds."""
        return self._session.call("holdings", protocol.Holdings, device=self._number).held

    def overflows(self) -> protocol.Overflows:
        """What the driver's overflow handler was called with since it was loaded."""
        return self._session.call("overflows", protocol.Overflows, device=self._number)

    def make_overflow(
        self, index: int, loop: int = 10_000, *, cpu: int | None = None
    ) -> protocol.CountResult:
        """Make a general counter wrap once with its interrupt enabled; the handle holds it with an overflow handler."""
        return self._session.call(
            "interrupt", protocol.CountResult, device=self._number, index=index, loop=loop, cpu=cpu
        )

    def raw(self, rows: Sequence[protocol.RawRow]) -> protocol.RawResult:
        """I/O control requests of any kind, for fuzzing."""
        return self._session.call(
            "ioctl.raw", protocol.RawResult, device=self._number, rows=tuple(rows), timeout_s=RAW_TIMEOUT_S
        )

    def cycles(self, count: int) -> protocol.CyclesResult:
        """`count` times allocate and free inside the driver."""
        return self._session.call(
            "cycles", protocol.CyclesResult, device=self._number, count=count, timeout_s=CYCLES_TIMEOUT_S
        )

    def race(self, threads: int, rounds: int) -> protocol.RaceResult:
        """System threads of the driver that allocate and free against each other."""
        return self._session.call(
            "race",
            protocol.RaceResult,
            device=self._number,
            threads=threads,
            rounds=rounds,
            timeout_s=RACE_TIMEOUT_S,
        )

    def race_of_clients(self, threads: int, rounds: int, other: Device | None = None) -> protocol.RaceResult:
        """Threads of the client that allocate and free through this device, every other one through `other`.

        Raises ClientError when the driver does not answer one of them in time.
        """
        return self._session.call(
            "race.client",
            protocol.RaceResult,
            device=self._number,
            other=None if other is None else other._number,
            threads=threads,
            rounds=rounds,
            timeout_ms=int(RACE_RETURN_S * timeout_factor() * 1000),
            timeout_s=RACE_TIMEOUT_S,
        )

    def count(self, loop: int = 10_000, *, cpu: int | None = None) -> protocol.CountResult:
        """Program every counter, run the known loop, read; the handle must hold the whole PMU of all CPUs."""
        return self._session.call("count", protocol.CountResult, device=self._number, loop=loop, cpu=cpu)

    def count_all(self, loop: int = 10_000) -> tuple[protocol.CountResult, ...]:
        """The same on each CPU of all groups, in one request."""
        result = self._session.call(
            "count.all",
            protocol.CountAllResult,
            device=self._number,
            loop=loop,
            timeout_s=COUNT_ALL_TIMEOUT_S,
        )
        return result.cpus

    def guard(self, access: Literal["read", "write"]) -> protocol.GuardResult:
        """Make the driver's own access to a PMU register fault, and see whether its guard holds."""
        return self._session.call("guard", protocol.GuardResult, device=self._number, access=access)

    def _call(self, op: str, **args: Any) -> Call:
        limit = int(RETURN_S * timeout_factor() * 1000)
        result = self._session.call(op, protocol.CallResult, device=self._number, timeout_ms=limit, **args)
        if result.transport == ERROR_TIMEOUT:
            self._hangs = True
            raise NeverReturned(
                f"{op}: the routine did not return within {limit / 1000:.0f} s; the guest's client still answers"
            )
        call = to_call(op, result)
        self.calls.append(call)
        return call


def to_call(op: str, result: protocol.CallResult) -> Call:
    """The observation in a call's result. Raises ClientError when the IRP failed."""
    if result.transport != 0:
        raise ClientError(op, "win32", result.transport, "DeviceIoControl")
    return Call(
        status=result.status,
        handle=result.handle,
        written=result.written,
        irql_before=result.irql_before,
        irql_after=result.irql_after,
        cpu=result.cpu,
        group=result.group,
    )
