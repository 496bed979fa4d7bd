"""The protocol between the harness and the client in the guest, as models: the schema of guest_driver/PROTOCOL.md."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from harness.driver.driver_messages import (
    MAX_CYCLES,
    MAX_RACE_ROUNDS,
    MAX_RACE_THREADS,
    Affinity,
    AllocateArgs,
    CallResult,
    CountAllArgs,
    CountAllResult,
    CountArgs,
    CounterCount,
    CountResult,
    CyclesArgs,
    CyclesResult,
    DeviceArgs,
    DeviceName,
    DeviceOpened,
    DriverInfo,
    FreeArgs,
    GuardArgs,
    GuardResult,
    Held,
    HolderFree,
    HolderKilled,
    HolderMode,
    HolderStart,
    HolderStarted,
    Holdings,
    InterruptArgs,
    Irql,
    OverflowOwner,
    Overflows,
    RaceArgs,
    RaceClientArgs,
    RaceResult,
    RawArgs,
    RawResult,
    RawRow,
    Resource,
    Resources,
)
from harness.driver.sequence_messages import (
    MAX_STEPS,
    SequenceArgs,
    SequenceResult,
    SequenceStep,
    StepAnswer,
    StepReference,
)
from harness.driver.system_messages import (
    ClockSet,
    CpuidLeaf,
    Facts,
    FileHash,
    FilePath,
    HalConfigure,
    RegistryKey,
    RegistryName,
    RegistrySet,
    RegistryType,
    RegistryValue,
    ServiceChange,
    ServiceCreate,
    ServiceName,
    ServiceState,
    ServiceStatus,
    ServiceType,
    SystemState,
)
from harness.driver.vocabulary_messages import (
    Boot,
    DeletePath,
    EtwSources,
    EtwStart,
    EventQuery,
    Events,
    FileList,
    FilePattern,
    Memory,
    Pid,
    ProcessList,
    ProcessResult,
    ProcessRun,
)
from harness.driver.wire import Empty, ErrorInfo, ErrorKind, HexInt, Message, UInt16, UInt32

__all__ = [
    "MAX_CYCLES",
    "MAX_RACE_ROUNDS",
    "MAX_RACE_THREADS",
    "MAX_STEPS",
    "PROTOCOL_VERSION",
    "REQUESTS",
    "Affinity",
    "AllocateArgs",
    "Answer",
    "Boot",
    "CallResult",
    "ClockSet",
    "CountAllArgs",
    "CountAllResult",
    "CountArgs",
    "CountResult",
    "CounterCount",
    "CpuidLeaf",
    "CyclesArgs",
    "CyclesResult",
    "DeletePath",
    "DeviceArgs",
    "DeviceName",
    "DeviceOpened",
    "DriverInfo",
    "Empty",
    "ErrorInfo",
    "ErrorKind",
    "EtwSources",
    "EtwStart",
    "EventQuery",
    "Events",
    "Facts",
    "FileHash",
    "FileList",
    "FilePath",
    "FilePattern",
    "FreeArgs",
    "GuardArgs",
    "GuardResult",
    "HalConfigure",
    "Held",
    "Hello",
    "HexInt",
    "HolderFree",
    "HolderKilled",
    "HolderMode",
    "HolderStart",
    "HolderStarted",
    "Holdings",
    "InterruptArgs",
    "Irql",
    "Message",
    "OverflowOwner",
    "Overflows",
    "Pid",
    "ProcessList",
    "ProcessResult",
    "ProcessRun",
    "RaceArgs",
    "RaceResult",
    "RawArgs",
    "RawResult",
    "RawRow",
    "RegistryKey",
    "RegistryName",
    "RegistrySet",
    "RegistryType",
    "RegistryValue",
    "Request",
    "Resource",
    "Resources",
    "SequenceArgs",
    "SequenceResult",
    "SequenceStep",
    "ServiceChange",
    "ServiceCreate",
    "ServiceName",
    "ServiceState",
    "ServiceStatus",
    "ServiceType",
    "StepAnswer",
    "StepReference",
    "SystemState",
    "UInt16",
    "UInt32",
    "json_schema",
]

PROTOCOL_VERSION = 1


class Hello(Message):
    """The client's greeting: before any request, or asked for where nobody listened then."""

    hello: Literal["pmcctl"]
    protocol: UInt32
    version: str
    arch: str
    pid: UInt32


class Request(Message):
    """A line to the client; `args` has the model that REQUESTS names for `op`."""

    id: UInt32
    op: str
    args: dict[str, Any]


class Answer(Message):
    """A line from the client: a result of the model that REQUESTS names for the op, or an error."""

    id: UInt32
    ok: bool
    result: dict[str, Any] | None = None
    error: ErrorInfo | None = None


REQUESTS: dict[str, tuple[type[Message], type[Message]]] = {
    "hello": (Empty, Hello),
    "facts": (Empty, Facts),
    "system.state": (Empty, SystemState),
    "clock.set": (ClockSet, Empty),
    "service.create": (ServiceCreate, Empty),
    "service.start": (ServiceChange, ServiceState),
    "service.stop": (ServiceChange, ServiceState),
    "service.delete": (ServiceName, ServiceState),
    "service.query": (ServiceName, ServiceStatus),
    "file.hash": (FilePath, FileHash),
    "file.list": (FilePattern, FileList),
    "file.delete": (DeletePath, Empty),
    "process.run": (ProcessRun, ProcessResult),
    "process.list": (Empty, ProcessList),
    "process.kill": (Pid, Empty),
    "boot": (Empty, Boot),
    "memory": (Empty, Memory),
    "events.read": (EventQuery, Events),
    "etw.sources": (Empty, EtwSources),
    "etw.start": (EtwStart, Empty),
    "etw.stop": (Empty, Empty),
    "registry.set": (RegistrySet, Empty),
    "registry.get": (RegistryName, RegistryValue),
    "registry.delete": (RegistryKey, Empty),
    "hal.configure": (HalConfigure, Empty),
    "device.open": (DeviceName, DeviceOpened),
    "device.close": (DeviceArgs, Empty),
    "driver.info": (DeviceArgs, DriverInfo),
    "allocate": (AllocateArgs, CallResult),
    "free": (FreeArgs, CallResult),
    "cycles": (CyclesArgs, CyclesResult),
    "race": (RaceArgs, RaceResult),
    "race.client": (RaceClientArgs, RaceResult),
    "leak": (DeviceArgs, CallResult),
    "count": (CountArgs, CountResult),
    "count.all": (CountAllArgs, CountAllResult),
    "interrupt": (InterruptArgs, CountResult),
    "guard": (GuardArgs, GuardResult),
    "holdings": (DeviceArgs, Holdings),
    "overflows": (DeviceArgs, Overflows),
    "ioctl.raw": (RawArgs, RawResult),
    "holder.start": (HolderStart, HolderStarted),
    "holder.kill": (Empty, HolderKilled),
    "holder.free": (HolderFree, CallResult),
    "sequence": (SequenceArgs, SequenceResult),
    "exit": (Empty, Empty),
}
"""Each operation: the model of its arguments, and of its result."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of one line in either direction; `operations` names each operation's models."""
    models: set[type[Message]] = {Hello, Answer}
    for pair in REQUESTS.values():
        models.update(pair)
    ordered = sorted(models, key=lambda model: model.__name__)
    keys: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in ordered]
    references, definitions = models_json_schema(keys, ref_template="#/$defs/{model}")
    reference = {model: references[(model, "serialization")] for model in ordered}
    requests = [
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "op": {"const": op}, "args": reference[args]},
            "required": ["id", "op"],
            "additionalProperties": False,
        }
        for op, (args, _) in REQUESTS.items()
    ]
    return {
        **definitions,
        "anyOf": [reference[Hello], reference[Answer], *requests],
        "operations": {
            op: {"args": reference[args], "result": reference[result]}
            for op, (args, result) in REQUESTS.items()
        },
    }
