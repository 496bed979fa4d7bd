"""Wrong test drivers on a PMU that counts: the contract has to turn red, and to say where."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell
from harness.contract.judgement import Judgement, combine
from harness.contract.outcomes import Outcome
from harness.contract.presence import judge_counting_everywhere, judge_left_at_rest
from harness.contract.verdict import realisation
from harness.driver import build
from harness.paths import driver_sources
from harness.probe.models import ProbeAnswer
from harness.probe.run import run_probe
from harness.runs.guest import Grant
from harness.runs.start import GuestStarter

CELL = Cell(
    id="wrong",
    guest="embedded-arm64",
    arch=Arch.AARCH64,
    machine="virt",
    accel=Accel.TCG,
    cpu="neoverse-n1",
    pmu=True,
    memory_mib=768,
)
ARM, CORE, COUNT = "pmu/pmu_arm64.c", "pmu/pmu_core.c", "driver/count.c"
RUN = "/* The control register (type or filter), the value"
MEASURE = "\tresult->status = (ULONG)(index != NULL"
CHANGES = {
    "never enabled": [(ARM, "recipe->start_count = 2;", "recipe->start_count = 1;")],
    "left running, and one software event too many": [
        (ARM, "recipe->stop_count = 1;", "recipe->stop_count = 0;"),
        (CORE, "i < PMU_SOFTWARE_WRITES;", "i <= PMU_SOFTWARE_WRITES;"),
    ],
    "started again": [
        (
            CORE,
            "	restore(report, counter, recipe, saved, done);\n",
            "	restore(report, counter, recipe, saved, done);\n"
            "	write_all(report, counter, recipe, recipe->start, recipe->start_count);\n",
        )
    ],
    "CPU 0 only": [
        (ARM, RUN, f"extern int on_cpu_0;\nint on_cpu_0;\n\n{RUN}"),
        (ARM, "recipe->start_count = 2;", "recipe->start_count = on_cpu_0 ? 2 : 0;"),
        (COUNT, '#include "driver.h"\n', '#include "driver.h"\nextern int on_cpu_0;\n'),
        (COUNT, MEASURE, f"	on_cpu_0 = number == 0;\n{MEASURE}"),
    ],
}


def changed_sources(folder: Path, changes: Iterable[tuple[str, str, str]]) -> Path:
    """A copy of the driver's sources with these changes; each place is there exactly once."""
    copy = folder / "guest_driver"
    shutil.copytree(driver_sources(), copy)
    for name, old, new in changes:
        text = (copy / name).read_text()
        assert text.count(old) == 1, f"{name} does not have this once: {old}"
        (copy / name).write_text(text.replace(old, new))
    return copy


def ask_probe(pmu: str) -> ProbeAnswer:
    return run_probe(CELL.arch, Accel.TCG, CELL.machine, f"{CELL.cpu},pmu={pmu}", smp=CELL.smp)


def run(folder: Path) -> tuple[Judgement, Grant]:
    """VIRT-1 as the contract judges it, and the first grant, in a clone whose PMU is on."""
    starter = GuestStarter(CELL, load_guest("embedded-arm64"), accel=Accel.TCG)
    starter.prepare(folder)
    with starter.start(folder) as guest:
        with guest.open() as device:
            first = device.allocate()
            counted = {cpu: device.count(cpu=cpu) for cpu in range(CELL.smp)}
            device.free(first.handle)
            assert device.allocate().succeeded
            last = {cpu: device.count(cpu=cpu) for cpu in range(CELL.smp)}
        grant = guest.first_grant()
        assert grant is not None
        judgement = judge_counting_everywhere(ask_probe("on"), first, counted, privileged=guest.privileged)
        return combine(judgement, judge_left_at_rest(counted, last)), grant


@pytest.mark.parametrize(
    ("change", "words", "innocent"),
    [
        ("never enabled", ("on CPU 0 this is not so: started of", "on CPU 1 this is not so: started of"), ()),
        (
            "left running, and one software event too many",
            tuple(
                f"on CPU {cpu} this is not so: {what}"
                for cpu in (0, 1)
                for what in ("stopped of cycle", "restored of cycle", "in_range of event0 (sw-incr)")
            ),
            ("started of",),
        ),
        (
            "started again",
            tuple(
                f"on CPU {cpu} these were left enabled: cycle (cycles), event0 (cycles), event1"
                for cpu in (0, 1)
            ),
            ("not so", "do not count"),
        ),
        ("CPU 0 only", ("on CPU 1 these do not count", "sw-incr"), ("on CPU 0",)),
    ],
)
def test_a_wrong_driver_is_caught(
    change: str,
    words: tuple[str, ...],
    innocent: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = changed_sources(tmp_path, CHANGES[change])
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    judgement, _ = run(tmp_path)
    assert judgement.outcome is Outcome.FAIL, judgement
    assert [word for word in words if word not in judgement.reason] == [], judgement
    assert [word for word in innocent if word in judgement.reason] == [], judgement


def test_the_right_driver_passes_and_a_probe_of_another_machine_does_not(tmp_path: Path) -> None:
    judgement, grant = run(tmp_path)
    assert judgement.outcome is Outcome.PASS, judgement
    assert realisation(CELL, ask_probe("on"), cpus=CELL.smp, counted=grant.view) == ()
    (_, different) = realisation(CELL, ask_probe("off"), cpus=CELL.smp, counted=grant.view)
    assert different == (
        "guest and probe have different PMUs: "
        "the driver finds pmuv3 with 6 general counters, the probe no PMU"
    )
