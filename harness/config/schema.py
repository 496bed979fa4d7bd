"""The form of a matrix file: its keys and the types of their values; the JSON Schema for editors."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict

from harness.config.models import (
    Accel,
    Arch,
    Boot,
    Enlightenments,
    Expect,
    Generation,
    GroupSize,
    Icount,
    Kd,
    Model,
    Start,
    SuitePart,
    WithoutPmu,
)
from harness.config.requirements import CpuVendor

ID_PATTERN = r"^[a-z0-9][a-z0-9+._-]{0,119}$"
"""Cell ids are folder names, arguments of pytest -k and words of a shell line."""

UNTIL_PATTERN = r"^(\d{4}-\d{2}-\d{2}|build \d{1,9})$"
BUILD = "build "

PROBE_ONLY = "none"
"""The guest of a cell that runs the PMU probe and nothing else."""

NO_DEFECT = "none"
"""The defect of a cell whose HAL is sound."""

_QEMU_OPTIONS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(,[+-]?[A-Za-z0-9._-]+(=[A-Za-z0-9._:+/-]+)?)*")


def _on_off(value: Any) -> Any:
    """YAML 1.1 reads on and off as booleans, YAML 1.2 as text: both are meant."""
    if isinstance(value, str):
        value = {"on": True, "off": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        raise ValueError(f"must be on or off, not {value!r}")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _qemu_options(value: str) -> str:
    if not _QEMU_OPTIONS.fullmatch(value):
        raise ValueError(f"{value!r} is not a model with flags such as 'Nehalem,+rdrand' (no spaces)")
    return value


def _without_pmu_flag(value: str) -> str:
    if any(re.split(r"=", flag.lstrip("+-"))[0] == "pmu" for flag in value.split(",")[1:]):
        raise ValueError(f"{value!r} sets the PMU by a flag; use the key pmu instead")
    return value


def _cell_id(value: str) -> str:
    if not re.fullmatch(ID_PATTERN, value):
        raise ValueError(
            f"{value!r} is not an id: small letters, digits and + . _ -, at most 120, "
            "beginning with a letter or a digit"
        )
    return value


def _until(value: str) -> str:
    """A day that is in the calendar, or a build number."""
    if not re.fullmatch(UNTIL_PATTERN, value):
        raise ValueError(f"must be a day such as 2027-03-31, or a build such as 'build 26200', not {value!r}")
    if not value.startswith(BUILD):
        try:
            date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no day: {error}") from None
    return value


def _no_defect(value: Any) -> Any:
    """Without a defect: YAML's null, or the word for it that ids and expressions have."""
    return None if value == NO_DEFECT else value


OnOff = Annotated[
    bool, BeforeValidator(_on_off), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}]})
]
GuestName = Annotated[
    str, Field(min_length=1, description="A guest definition, or none: the PMU probe only.")
]
Machine = Annotated[str, AfterValidator(_qemu_options), Field(description="QEMU machine type, such as q35.")]
Cpu = Annotated[
    str,
    AfterValidator(_qemu_options),
    AfterValidator(_without_pmu_flag),
    Field(description="QEMU CPU model with its flags, without pmu, which is a key of its own."),
]
Smp = Annotated[int, Field(ge=1, le=256, description="Number of virtual CPUs.")]
MemoryMib = Annotated[int, Field(ge=64, le=1 << 20, description="Memory in MiB.")]
Tag = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$", description="Small letters, digits, _ . -")
]
MaxCpus = Annotated[
    int, Field(ge=1, le=256, description="Room for so many CPUs, of which smp are there when it starts.")
]
Firmware = Annotated[
    Boot, Field(description="How the machine starts; the guest's own, unless it is written.")
]
SecureBoot = Annotated[OnOff, Field(description="UEFI with Microsoft's keys enrolled.")]
Tpm = Annotated[OnOff, Field(description="A TPM 2.0 of the machine's own; needs swtpm.")]
Hyperv = Annotated[
    Enlightenments,
    Field(description="What of Hyper-V's interface KVM offers; the guest's own, unless written."),
]
Vbs = Annotated[
    OnOff | None,
    Field(
        description="Windows' virtualization-based security with memory integrity; null: as the image has it."
    ),
]
Verifier = Annotated[
    OnOff | None, Field(description="Driver Verifier for the test driver; null: as the image has it.")
]
Groups = Annotated[
    GroupSize | None, Field(description="At most so many CPUs in a processor group of Windows.")
]
Starve = Annotated[OnOff, Field(description="Hold all counters of the host while the cell runs (KVM).")]
Suite = Annotated[
    tuple[SuitePart, ...],
    Field(min_length=1, description="Parts of the suite that run in the cell; all, unless it is written."),
]
Id = Annotated[str, AfterValidator(_cell_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
NonEmpty = Field(min_length=1)
DefectName = Annotated[
    str | None,
    BeforeValidator(_no_defect),
    Field(
        description="A way to break the reference HAL on purpose (docs/defects.md); none or null: it is sound."
    ),
]
EveryDefect = Annotated[
    Literal["all"],
    Field(description="None, and every defect of the catalogue in the generations it shows in."),
]

_CLOSED = ConfigDict(extra="forbid")


class Settings(TypedDict, total=False):
    """Settings of cells: the keys of a cell and, flattened, of the reference HAL."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    guest: GuestName
    arch: Arch
    accel: Accel
    machine: Machine
    cpu: Cpu
    pmu: OnOff
    smp: Smp
    memory_mib: MemoryMib
    start: Start
    icount: Icount
    suite: Suite
    max_cpus: MaxCpus | None
    kd: Annotated[Kd, Field(description="A port for Windows' kernel debugger (x86_64, with a guest).")]
    gdb: Annotated[OnOff, Field(description="Open QEMU's stub for gdb, a socket in the VM's folder.")]
    firmware: Firmware
    secure_boot: SecureBoot
    tpm: Tpm
    enlightenments: Hyperv
    vbs: Vbs
    verifier: Verifier
    group_size: Groups
    starve_pmu: Starve
    generation: Generation
    without_pmu: WithoutPmu
    defect: DefectName


class Axes(TypedDict, total=False):
    """The values of each axis. Cells are all combinations; their ids name the axes in the written order."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    guest: Annotated[tuple[GuestName, ...], NonEmpty]
    arch: Annotated[tuple[Arch, ...], NonEmpty]
    accel: Annotated[tuple[Accel, ...], NonEmpty]
    machine: Annotated[tuple[Machine, ...], NonEmpty]
    cpu: Annotated[tuple[Cpu, ...], NonEmpty]
    pmu: Annotated[tuple[OnOff, ...], NonEmpty]
    smp: Annotated[tuple[Smp, ...], NonEmpty]
    memory_mib: Annotated[tuple[MemoryMib, ...], NonEmpty]
    start: Annotated[tuple[Start, ...], NonEmpty]
    icount: Annotated[tuple[Icount, ...], NonEmpty]
    max_cpus: Annotated[tuple[MaxCpus | None, ...], NonEmpty]
    firmware: Annotated[tuple[Firmware, ...], NonEmpty]
    secure_boot: Annotated[tuple[SecureBoot, ...], NonEmpty]
    tpm: Annotated[tuple[Tpm, ...], NonEmpty]
    enlightenments: Annotated[tuple[Hyperv, ...], NonEmpty]
    vbs: Annotated[tuple[Vbs, ...], NonEmpty]
    verifier: Annotated[tuple[Verifier, ...], NonEmpty]
    group_size: Annotated[tuple[Groups, ...], NonEmpty]
    starve_pmu: Annotated[tuple[Starve, ...], NonEmpty]
    generation: Annotated[tuple[Generation, ...], NonEmpty]
    without_pmu: Annotated[tuple[WithoutPmu, ...], NonEmpty]
    defect: Annotated[tuple[DefectName, ...], NonEmpty] | EveryDefect


class Requires(TypedDict, total=False):
    """What the host must have; a cell that asks for more is skipped, with the condition that failed as its reason."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    kvm: Annotated[OnOff, Field(description="Whether /dev/kvm opens.")]
    vpmu: Annotated[
        OnOff, Field(description="Whether the host's kernel has what a virtual PMU under KVM needs.")
    ]
    arch: Annotated[Arch, Field(description="The host's own architecture.")]
    cpu_vendor: Annotated[CpuVendor, Field(description="Whose CPU the host has.")]
    cpus: Annotated[int, Field(ge=1, description="At least so many CPUs.")]
    memory_mib: Annotated[int, Field(ge=1, description="At least so much memory in MiB.")]
    guest: Annotated[
        Literal["present"], Field(description="The cell's guest image has been built or imported.")
    ]
    qemu: Annotated[
        str, Field(pattern=r"^\d+(\.\d+){0,2}$", description="At least this version of QEMU, in quotes.")
    ]


class Include(Settings, total=False):
    """A cell beside the combinations: the defaults, changed as written here; it may bring its own id."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    id: Id
    tags: tuple[Tag, ...]
    requires: Requires


class Exclude(Model):
    """Combinations that are left out: those where every setting of `when` has the given value."""

    when: Annotated[Settings, NonEmpty]
    reason: Annotated[str, Field(min_length=1, description="Why; every report shows it.")]


class Override(Model):
    """Other settings, tags or requirements for the cells where every setting of `when` has the given value."""

    when: Settings = Field(default=Settings(), description="Which cells; without it, all of them.")
    set: Settings = Field(
        default=Settings(), description="Settings that these cells get; none of them an axis."
    )
    tags: tuple[Tag, ...] = ()
    requires: Requires = Requires()


class Strategy(TypedDict, total=False):
    """Fewer cells than all combinations: enough for every pair of values to meet, or a sample."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    pairwise: OnOff
    sample: Annotated[int, Field(ge=1, description="So many combinations.")]
    seed: Annotated[int, Field(ge=0, description="Another seed gives other combinations (default: 0).")]


class KnownIssue(Model):
    """Clauses that are known to fail in some cells until a day, or until a guest's build that mends it."""

    id: Annotated[str, Field(min_length=1, description="Where it is tracked; shown in every report.")]
    reason: Annotated[str, Field(min_length=1, description="What is wrong, in one sentence.")]
    cells: str = Field(default="", description="Which cells: an expression such as guest~win and pmu=on.")
    clauses: tuple[str, ...] = Field(default=(), description="Which clauses; without it, all of them.")
    until: Annotated[str, AfterValidator(_until)] = Field(
        description="The last day (2027-03-31), or the first build without it (build 26200).",
        json_schema_extra={"pattern": UNTIL_PATTERN},
    )


class MatrixFile(Model):
    """A matrix of VM configurations: axes that expand to cells, with exclusions that carry their reason."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this format.")
    name: Id = Field(description="Name of the matrix; part of the name of the folder of its runs.")
    extends: str = Field(
        default="", description="Another matrix, below this one; relative to this file. Its lists come first."
    )
    expect: Expect = Field(
        default=Expect.CONFORM,
        description="When a run is green: conform, no clause is violated; killed, every cell with a defect is "
        "noticed by a clause that promises against it, and the others conform.",
    )
    defaults: Settings = Settings()
    axes: Axes = Axes()
    strategy: Strategy = Strategy()
    exclude: tuple[Exclude, ...] = ()
    include: tuple[Include, ...] = ()
    override: tuple[Override, ...] = ()
    tags: tuple[Tag, ...] = Field(default=(), description="Tags of every cell.")
    requires: Requires = Field(default=Requires(), description="What every cell needs of the host.")
    known_issues: tuple[KnownIssue, ...] = ()


def matrix_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a matrix file, for editors and other tools."""
    schema = MatrixFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "halpmc matrix"}
