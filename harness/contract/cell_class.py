"""The class of a cell: cells of one guest and class should show the same where the documentation is silent."""

from __future__ import annotations

from harness.config.models import Cell, Generation, HalKind
from harness.probe.models import PmuVerdict, ProbeAnswer


def cell_class(cell: Cell, hal: HalKind, generation: Generation, probe: ProbeAnswer | None, cpus: int) -> str:
    """Generation, the PMU that the probe found, what the reference HAL does without one, and the number of CPUs;
    where it is asked for, the size of processor groups, and that Windows runs on its own hypervisor.

    Not what was asked for (`pmu=on`, a CPU model), but what is there; nothing that differs from run to run.
    """
    parts = [str(generation), _pmu(probe)]
    if hal is HalKind.REFERENCE and (probe is None or probe.verdict is PmuVerdict.ABSENT):
        parts.append(str(cell.hal.without_pmu))
    groups = f"_{cell.group_size}each" if cell.group_size and cpus > cell.group_size else ""
    return "-".join([*parts, f"smp{cpus}{groups}", *(["vbs"] if cell.vbs else [])])


def _pmu(probe: ProbeAnswer | None) -> str:
    if probe is None:
        return "pmu_unknown"
    if probe.verdict is PmuVerdict.ABSENT:
        return "pmu_absent"
    what = f"{probe.interface}_v{probe.version}_{probe.general_counters}+{probe.fixed_counters}"
    return what if probe.verdict is PmuVerdict.COUNTING else f"{what}_dead"
