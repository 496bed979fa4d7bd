"""Messages about the test driver: its device, the calls of the two routines, the second process."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from harness.driver.wire import HexInt, Message, UInt16, UInt32

MAX_CYCLES = 10_000
MAX_RACE_THREADS = 8
MAX_RACE_ROUNDS = 2_000


class DeviceName(Message):
    """The service's name, which is also the device's."""

    name: str


class DeviceOpened(Message):
    """The client's small number for the open handle."""

    device: UInt32


class DeviceArgs(Message):
    """Which open handle."""

    device: UInt32


class DriverInfo(Message):
    """What an instance of the test driver says of itself.

    `held`: allocations of all its handles; `pool_bytes`: nonpaged pool that it holds itself; `secured`: its device
    got a DACL for administrators and SYSTEM only; `shared_layout`: resource lists are passed in the layout of 1903
    and later.
    """

    abi: UInt32
    version: str
    arch: str
    allocate_present: bool
    free_present: bool
    cpus: UInt32
    held: UInt32
    pool_bytes: HexInt
    secured: bool
    shared_layout: bool
    loop_max: UInt32


class Affinity(Message):
    """GROUP_AFFINITY, with values that may be wrong on purpose."""

    mask: HexInt
    group: UInt16 = 0
    reserved: tuple[UInt16, UInt16, UInt16] = (0, 0, 0)


class Resource(Message):
    """PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR; which fields count depends on the type (0 index, 1 begin and end …)."""

    type: UInt32
    flags: UInt32 = 0
    index: UInt32 | None = None
    begin: UInt32 | None = None
    end: UInt32 | None = None
    threshold: UInt32 | None = None
    tag: UInt32 | None = None


class Resources(Message):
    """PHYSICAL_COUNTER_RESOURCE_LIST; a `count` other than the items' is passed on, with memory behind it."""

    items: tuple[Resource, ...]
    count: UInt32 | None = None


class AllocateArgs(Message):
    """HalAllocateHardwareCounters; the defaults are the plain request (NULL, 0, NULL).

    `cpu`: the CPU (index over all groups) to call it on; `poison`: what the handle cell holds before; `keep`: what is
    granted belongs to the driver instead of to this handle of the device: only a free or its unload ends it.
    """

    device: UInt32
    affinity: tuple[Affinity, ...] | None = None
    group_count: UInt32 | None = None
    resources: Resources | None = None
    cpu: UInt32 | None = None
    poison: HexInt = 0xAAAA_AAAA_AAAA_AAAA
    keep: bool = False


class FreeArgs(Message):
    """HalFreeHardwareCounters with NULL or any handle that the HAL ever returned to this instance of the driver."""

    device: UInt32
    handle: HexInt
    cpu: UInt32 | None = None
    worker: bool = False


class CallResult(Message):
    """One observed call. `transport` is the IRP's Win32 error; when it is not 0 the other fields say nothing."""

    transport: UInt32
    status: UInt32
    handle: HexInt
    irql_before: UInt32
    irql_after: UInt32
    cpu: UInt32
    group: UInt32
    written: bool


class CyclesArgs(Message):
    """So many times allocate and free."""

    device: UInt32
    count: Annotated[UInt32, Field(ge=1, le=MAX_CYCLES)]


class CyclesResult(Message):
    """`first_deviation` is the first call that did not succeed; it ended the loop."""

    completed: UInt32
    first_deviation: CallResult | None
    elapsed_us: HexInt


class RaceArgs(Message):
    """System threads of the driver, each asking once in every round."""

    device: UInt32
    threads: Annotated[UInt32, Field(ge=1, le=MAX_RACE_THREADS)]
    rounds: Annotated[UInt32, Field(ge=1, le=MAX_RACE_ROUNDS)]


class RaceResult(Message):
    """`other`: calls with an unexpected status; `log`: sequence, thread, round, event, status."""

    successes: UInt32
    refusals: UInt32
    frees: UInt32
    other: UInt32
    log: tuple[tuple[UInt32, UInt32, UInt32, UInt32, UInt32], ...]


class CountArgs(Message):
    """Run the known loop of `loop` iterations for every counter, on the CPU given or on whichever."""

    device: UInt32
    loop: UInt32
    cpu: UInt32 | None = None


class CounterCount(Message):
    """One counter in the words of the PMU probe; `fault` is the NTSTATUS of its first exception."""

    name: str
    event: str
    state: Literal["counting", "dead", "faulted"]
    count: HexInt
    fault: UInt32


class CountResult(Message):
    """`status` is not 0 when the handle held no allocation: then no register was touched."""

    status: UInt32
    cpu: UInt32
    group: UInt32
    interface: str
    version: UInt32
    general: UInt32
    fixed: UInt32
    loop: UInt32
    fault: UInt32
    counters: tuple[CounterCount, ...]


class HolderMode(StrEnum):
    """`hold`: allocate and wait; `busy`: allocate and free without end."""

    HOLD = "hold"
    BUSY = "busy"


class HolderStart(Message):
    """Start the second process, with a handle of its own to this device."""

    device_name: str
    mode: HolderMode


class HolderStarted(Message):
    """Status and handle of its first allocate."""

    pid: UInt32
    status: UInt32
    handle: HexInt


class HolderKilled(Message):
    """Whether the process was gone in time."""

    exited: bool


class HolderFree(Message):
    """A handle to free in the other process."""

    handle: HexInt
