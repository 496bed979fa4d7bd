"""Messages about the test driver: its device, the calls of the two routines, the second process."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from harness.driver.wire import HexInt, Message, UInt16, UInt32
from harness.probe.models import CounterChecks

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
    and later; `destructive`: calls at DISPATCH_LEVEL and leaks are allowed (AllowDestructive was 1 in the service's
    key when the driver started); `pmu_understood`: counting is possible on a PMU of this interface and version;
    `routines_in`: the image that holds HalAllocateHardwareCounters, as far as its address tells.
    """

    abi: UInt32
    version: str
    arch: str
    allocate_present: bool
    free_present: bool
    cpus: UInt32
    groups: UInt32
    held: UInt32
    pool_bytes: HexInt
    secured: bool
    shared_layout: bool
    loop_max: UInt32
    destructive: bool
    pmu_interface: str
    pmu_version: UInt32
    pmu_understood: bool
    routines_in: Literal["kernel", "other", "unknown"]


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


Irql = Literal[0, 2]
"""PASSIVE_LEVEL or DISPATCH_LEVEL."""


class AllocateArgs(Message):
    """HalAllocateHardwareCounters; the defaults are the plain request (NULL, 0, NULL).

    `cpu`: the CPU (index over all groups) to call it on; `poison`: what the handle cell holds before; `keep`: what is
    granted belongs to the driver instead of to this handle of the device: only a free or its unload ends it; `irql`:
    2 calls it at DISPATCH_LEVEL; `null_cell`: CounterSetHandle is NULL. The driver refuses both unless it is
    `destructive`. `timeout_ms`: when to give the call up, 0 for never.
    """

    device: UInt32
    affinity: tuple[Affinity, ...] | None = None
    group_count: UInt32 | None = None
    resources: Resources | None = None
    cpu: UInt32 | None = None
    poison: HexInt = 0xAAAA_AAAA_AAAA_AAAA
    keep: bool = False
    irql: Irql | None = None
    timeout_ms: UInt32 = 0
    null_cell: bool = False


class FreeArgs(Message):
    """HalFreeHardwareCounters with NULL or any handle that the HAL ever returned to this instance of the driver.

    `any`: with any other value, too; `pool`: with the address of a block of the driver's nonpaged pool, whatever
    `handle` says. Both need a driver that is `destructive`.
    """

    device: UInt32
    handle: HexInt
    cpu: UInt32 | None = None
    worker: bool = False
    irql: Irql | None = None
    timeout_ms: UInt32 = 0
    any: bool = False
    pool: bool = False


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


class RaceClientArgs(RaceArgs):
    """Threads of the client that ask through the driver, every other one through the device `other`."""

    other: UInt32 | None = None
    timeout_ms: UInt32


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


class InterruptArgs(Message):
    """Make one general counter wrap once in a loop of so many iterations, with its interrupt enabled."""

    device: UInt32
    index: UInt32
    loop: UInt32
    cpu: UInt32 | None = None


class CounterCount(Message):
    """One counter in the words of the PMU probe; `fault` is the NTSTATUS of its first exception.

    `rdpmc` is what the instruction RDPMC read at the end of the loop, None where it was not asked; `rdpmc_fault` the
    NTSTATUS of its exception.
    """

    name: str
    event: str
    state: Literal["counting", "dead", "faulted"]
    count: HexInt
    fault: UInt32
    rdpmc: HexInt | None
    rdpmc_fault: UInt32
    checks: CounterChecks


class CountResult(Message):
    """One CPU. `status` is not 0 when no register was written.

    0xC0000184: the handle did not hold the whole PMU of all CPUs; 0xC00000BB: the PMU is not understood.
    """

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


class CountAllArgs(Message):
    """Run the known loop of `loop` iterations for every counter of every CPU, one CPU after the other."""

    device: UInt32
    loop: UInt32


class CountAllResult(Message):
    """One result for each CPU, each measured on that CPU."""

    cpus: tuple[CountResult, ...]


class GuardArgs(Message):
    """One access to a PMU register that is made to fault; a write needs what `count` needs."""

    device: UInt32
    access: Literal["read", "write"]


class GuardResult(Message):
    """`status` as in CountResult; `fault`: NTSTATUS of the exception that the driver caught, 0 when there was none."""

    status: UInt32
    fault: UInt32


class Held(Message):
    """An allocation: whose it is, by which handle of the device (`file`, counted from 1), and whether of everything."""

    handle: HexInt
    owner: Literal["driver", "self", "other"]
    file: UInt32
    whole: bool


class Holdings(Message):
    """All allocations of one instance of the driver."""

    held: tuple[Held, ...]


class OverflowOwner(Message):
    """Calls of the overflow handler for one allocation; `bits` are those of all calls together."""

    handle: HexInt
    calls: HexInt
    bits: HexInt


class Overflows(Message):
    """What the overflow handler was called with since the driver was loaded; `lost`: calls not told apart by owner."""

    calls: HexInt
    lost: HexInt
    owners: tuple[OverflowOwner, ...]


class RawRow(Message):
    """`repeat` I/O control requests: `input` (hexadecimal digits), then `random` bytes.

    The random bytes are those of SplitMix64 with the seeds `seed`, `seed` + 1, ….
    """

    code: UInt32
    input: Annotated[str, Field(pattern="^([0-9a-f]{2})*$")] = ""
    random: UInt32 = 0
    seed: HexInt = 0
    repeat: UInt32 = 1
    output: UInt32 = 0


class RawArgs(Message):
    """Requests to any code, in bulk."""

    device: UInt32
    rows: tuple[RawRow, ...]


class RawResult(Message):
    """For each row: pairs of a Win32 error and how often it came. `longest_ms`: the slowest single request."""

    results: tuple[tuple[tuple[UInt32, UInt32], ...], ...]
    longest_ms: UInt32


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
