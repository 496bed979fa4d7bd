"""The clauses of the contract: what the public documentation says of the two routines, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from harness.config.models import Cell, Generation, SuitePart
from harness.config.suggest import did_you_mean
from harness.errors import UsageError


class JudgementKind(StrEnum):
    """How a clause is judged."""

    ASSERT = "assert"  # the documentation promises it: otherwise is a failure
    RECORD = "record"  # the documentation is silent: the observation is kept
    CRASH = "crash"  # may stop the guest's kernel: only in a guest that is thrown away


BOTH = frozenset(Generation)
EXCLUSIVE = frozenset({Generation.EXCLUSIVE})
SHARED = frozenset({Generation.SHARED})


@dataclass(frozen=True)
class Clause:
    """One statement of the contract; `source` says which part of which public page it is taken from.

    `part`: of the suite, by what finding out costs.
    """

    id: str
    title: str
    judgement: JudgementKind
    generations: frozenset[Generation]
    source: str
    part: SuitePart = SuitePart.BASIC


_A, _R, _C = JudgementKind.ASSERT, JudgementKind.RECORD, JudgementKind.CRASH
_CRASH, _LIFE = SuitePart.CRASH, SuitePart.LIFETIME
_ALLOCATE = "HalAllocateHardwareCounters (ntddk.h)"
_FREE = "HalFreeHardwareCounters (ntddk.h)"
_DESCRIPTOR = "PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR (ntddk.h)"
_TYPES = "PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR_TYPE (ntddk.h)"
_AFFINITY = "GROUP_AFFINITY (miniport.h)"
_SILENT = "no page says"

_CATALOGUE = (
    Clause(
        "PROBE-1",
        "The PMU probe boots on the cell's accelerator, machine and CPU string, and answers.",
        _A,
        BOTH,
        "the harness itself",
    ),
    Clause(
        "PROBE-2",
        "Where counters count for the PMU probe, an overflow of each interrupts it: enabled only, once, until cleared.",
        _A,
        BOTH,
        "Arm Architecture Reference Manual, Performance Monitors: PMINTENSET_EL1, PMOVSSET_EL0, PMOVSCLR_EL0",
    ),
    Clause(
        "PRES-1",
        "Both routines can be resolved from the kernel.",
        _A,
        BOTH,
        f"{_ALLOCATE} and {_FREE}, requirements: Windows 7 and later",
    ),
    Clause(
        "ALLOC-1",
        "The plain request (NULL, 0, NULL) gives success and a non-NULL handle, or a documented error.",
        _A,
        BOTH,
        f"{_ALLOCATE}, return value and CounterSetHandle",
    ),
    Clause(
        "ALLOC-2",
        "While counters are held, the same request is refused as unavailable, and the handle is set to NULL.",
        _A,
        BOTH,
        f"{_ALLOCATE}, CounterSetHandle; exclusive access in the remarks",
    ),
    Clause(
        "ALLOC-3",
        "While one driver holds the counters, another driver's request is refused in the same way.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: drivers coordinate their sharing through the two routines",
    ),
    Clause(
        "ALLOC-4",
        "While the counters are held, a request from any processor is refused in the same way.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: a success covers all processors of the system",
    ),
    Clause(
        "ALLOC-5",
        "Freed counters can be allocated again, thousands of times without any change of behaviour.",
        _A,
        BOTH,
        f"{_FREE}, description; {_ALLOCATE}, return value",
    ),
    Clause(
        "ALLOC-6",
        "Threads that race for the counters never hold them at once, and one of them always gets them.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: exclusive access",
    ),
    Clause(
        "ALLOC-7",
        "Documented uses only ever return documented statuses.",
        _A,
        BOTH,
        f"{_ALLOCATE} and {_FREE}, return value",
    ),
    Clause(
        "ALLOC-8",
        "What the handle cell holds after an error other than unavailable counters.",
        _R,
        BOTH,
        _SILENT,
    ),
    Clause(
        "PARAM-X",
        "Before Windows 10 1903 the reserved parameters must be NULL or zero: anything else is not granted.",
        _A,
        EXCLUSIVE,
        f"{_ALLOCATE}, edition of 2018, parameters: reserved for future use",
    ),
    Clause(
        "PARAM-1",
        "What processor lists that contradict themselves or name processors that are not there give.",
        _R,
        SHARED,
        f"{_ALLOCATE}, GroupAffinty and GroupCount; {_AFFINITY}; silent about the errors",
    ),
    Clause(
        "PARAM-2",
        "What resource lists of every type give, and malformed ones.",
        _R,
        SHARED,
        f"{_DESCRIPTOR}, members; silent about the errors",
    ),
    Clause(
        "PARAM-3",
        "A request for an extended counter configuration is answered with not supported.",
        _A,
        SHARED,
        f"{_TYPES}, ResourceTypeExtendedCounterConfiguration; {_ALLOCATE}, return value",
    ),
    Clause("PARAM-4", "What a NULL pointer for the handle does.", _C, BOTH, _SILENT, _CRASH),
    Clause(
        "SHARE-1",
        "Whether two callers get disjoint counters of the same processors.",
        _R,
        SHARED,
        f"{_ALLOCATE}, ResourceList; silent about the sharing",
    ),
    Clause(
        "SHARE-2",
        "A second caller that wants counters of which some are held is refused.",
        _A,
        SHARED,
        f"{_ALLOCATE}, remarks: exclusive access to a set of counter resources",
    ),
    Clause(
        "SHARE-3",
        "The whole PMU is refused while a part of it is held, and a part while the whole is held.",
        _A,
        SHARED,
        f"{_ALLOCATE}, ResourceList: NULL asks for exclusive ownership of the PMU",
    ),
    Clause(
        "SHARE-4",
        "Whether two callers get the same counters of disjoint processors.",
        _R,
        SHARED,
        f"{_ALLOCATE}, GroupAffinty; silent about the sharing",
    ),
    Clause("SHARE-5", "Up to which index single counters are granted.", _R, SHARED, _SILENT),
    Clause(
        "SHARE-6",
        "A list of several resources is granted or refused as a unit.",
        _A,
        SHARED,
        f"{_DESCRIPTOR}, remarks: the set is allocated and freed as a single unit",
    ),
    Clause(
        "OVF-1",
        "On overflow the registered handler runs with the owning handle and the counter's bit.",
        _A,
        SHARED,
        "PPHYSICAL_COUNTER_OVERFLOW_HANDLER (ntddk.h), parameters and remarks",
    ),
    Clause(
        "EVB-1",
        "What a request for an event buffer gives.",
        _R,
        SHARED,
        "PHYSICAL_COUNTER_EVENT_BUFFER_CONFIGURATION (ntddk.h); silent about platforms without one",
    ),
    Clause("FREE-1", "Freeing a held handle succeeds.", _A, BOTH, f"{_FREE}, return value"),
    Clause("FREE-2", "Freeing a handle twice is an invalid parameter.", _A, BOTH, f"{_FREE}, return value"),
    Clause("FREE-3", "Freeing NULL is an invalid parameter.", _A, BOTH, f"{_FREE}, return value"),
    Clause(
        "FREE-4",
        "Freeing what never was a handle is an invalid parameter.",
        _C,
        BOTH,
        f"{_FREE}, return value",
        _CRASH,
    ),
    Clause(
        "FREE-5",
        "A handle freed before frees nothing of whoever holds the counters now.",
        _A,
        BOTH,
        f"{_FREE}, return value; {_ALLOCATE}, remarks: exclusive access",
    ),
    Clause("FREE-6", "Whether another thread, process or processor may free a handle.", _R, BOTH, _SILENT),
    Clause(
        "IRQL-1",
        "The test driver calls both routines at PASSIVE_LEVEL and is at that level when they return.",
        _A,
        BOTH,
        f"{_ALLOCATE} and {_FREE}, requirements: IRQL",
    ),
    Clause(
        "IRQL-2", "What calls at DISPATCH_LEVEL do.", _C, BOTH, f"{_ALLOCATE}, requirements: IRQL", _CRASH
    ),
    Clause(
        "LIFE-1",
        "When a client dies while it holds the counters, the test driver frees them.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: a driver must free the resources when it no longer needs them",
    ),
    Clause(
        "LIFE-2",
        "A test driver that is unloaded while it holds the counters frees them.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: a driver must free the resources when it no longer needs them",
    ),
    Clause("LIFE-3", "Whether leaked counters come back with a reboot.", _R, BOTH, _SILENT, _LIFE),
    Clause(
        "LIFE-4", "Whether held counters survive a snapshot and its restoration.", _R, BOTH, _SILENT, _LIFE
    ),
    Clause(
        "LIFE-5", "Whether held counters survive sleep, and a CPU that is added.", _R, BOTH, _SILENT, _LIFE
    ),
    Clause(
        "VIRT-1",
        "Where the PMU probe finds a PMU that counts, granted counters count on every CPU (to the instruction in a "
        "cell with icount: exact), stop, and are put back.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: exclusive access to the counters; the PMU probe",
    ),
    Clause(
        "VIRT-2",
        "Where the PMU probe finds no PMU, any documented status conforms, and no counter counts.",
        _A,
        BOTH,
        f"{_ALLOCATE}, remarks: counters might be missing in a virtual machine whatever the status",
    ),
    Clause(
        "VIRT-3",
        "What the guest sees of the PMU agrees with the PMU probe on the same machine.",
        _A,
        BOTH,
        "the processor manuals: CPUID and the ID registers; the PMU probe",
    ),
    Clause("VIRT-4", "A PMU that is advertised but dead is reported as such.", _R, BOTH, "the PMU probe"),
    Clause(
        "MODEL-1",
        "Every call in any sequence of calls by several callers gets an answer that the contract's model allows.",
        _A,
        BOTH,
        f"{_ALLOCATE} and {_FREE}, as the other clauses have them; the model follows what no page says",
    ),
    Clause(
        "CONT-1",
        "What a request gives while somebody else holds the counters: an ETW session, another driver, another handle.",
        _R,
        BOTH,
        "Recording Hardware Performance (PMU) Events: for one session only",
    ),
)

CLAUSES: Mapping[str, Clause] = MappingProxyType({clause.id: clause for clause in _CATALOGUE})
"""All clauses by id, in the order of a report."""

PROBE_SUITE = ("PROBE-1", "PROBE-2")

SUITE: tuple[str, ...] = tuple(CLAUSES)
"""The clauses that tests/contract covers, in order: all. Those of the other generation are recorded as skipped."""


def clause(clause_id: str) -> Clause:
    """The clause with this id. UsageError, with the nearest one, when there is none."""
    if clause_id not in CLAUSES:
        raise UsageError(
            f"there is no clause {clause_id!r}", remedy=did_you_mean(clause_id, CLAUSES, plural="clauses")
        )
    return CLAUSES[clause_id]


def suite_for(cell: Cell) -> tuple[str, ...]:
    """The clauses that must be recorded for this cell: of the parts of the suite that it names."""
    if cell.guest is None:
        return PROBE_SUITE
    return tuple(name for name in SUITE if name in PROBE_SUITE or CLAUSES[name].part in cell.suite)
