"""Builds the records of runs that never happened: every verdict and outcome, broken runs, hostile guests."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.config.models import Accel, Arch, Cell, Expect, Generation, HalSettings, WithoutPmu
from harness.contract.clauses import CLAUSES, JudgementKind, suite_for
from harness.contract.outcomes import Outcome, Verdict
from harness.probe.models import Counter, CounterState, PmuVerdict, ProbeAnswer
from harness.runs.planned import ExcludedCell, PlannedCell, PlannedIssue
from harness.runs.record import (
    CellEndRecord,
    CellRecord,
    ClauseRecord,
    IncidentRecord,
    PhaseRecord,
    ProbeRecord,
    Record,
    RunEndRecord,
    RunRecord,
)
from harness.runs.record_file import Recorder

RECORDED_ONLY = {name for name, clause in CLAUSES.items() if clause.judgement is JudgementKind.RECORD}
START = datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC)
HOST = {
    "cpu": "Example CPU @ 2.10 GHz",
    "cpus": "2",
    "kernel": "6.1.0-1-amd64",
    "memory": "7.7 GiB",
    "os": "Debian 12",
}


class RunBuilder:
    """Writes a run's records one after another, with a clock that only moves when it is told to."""

    def __init__(
        self,
        folder: Path,
        cells: Sequence[Cell],
        *,
        name: str = "synthetic",
        clauses: Mapping[str, tuple[str, ...]] | None = None,
        excluded: Iterable[tuple[str, str]] = (),
        begin: datetime = START,
        provenance: Mapping[str, str] | None = None,
        host: Mapping[str, str] | None = None,
        cell_s: Mapping[str, float] | None = None,
        promised: Mapping[str, tuple[str, ...]] | None = None,
        partial: bool = False,
        issues: Sequence[PlannedIssue] = (),
    ) -> None:
        """`promised` makes it a run whose defects are to be noticed: by these clauses, by cell."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cells = {cell.id: cell for cell in cells}
        self.clauses = dict(clauses or {cell.id: suite_for(cell) for cell in cells})
        self.clock = begin
        self._provenance = dict(provenance or {})
        self._cell_s = dict(cell_s or {})
        self._recorder = Recorder(folder)
        self.write(
            RunRecord(
                time=self.clock,
                name=name,
                matrix=f"ci/matrices/{name}.yaml",
                matrix_sha256="ab" * 32,
                expect=Expect.CONFORM if promised is None else Expect.KILLED,
                cells=tuple(
                    PlannedCell(
                        id=cell.id,
                        config=cell.model_dump(mode="json"),
                        clauses=self.clauses[cell.id],
                        promised=(promised or {}).get(cell.id, ()),
                    )
                    for cell in cells
                ),
                excluded=tuple(ExcludedCell(id=cell_id, reason=reason) for cell_id, reason in excluded),
                partial=partial,
                known_issues=tuple(issues),
                host={**HOST, **(host or {})},
                versions={"halpmc": "0.1.0", "qemu": "7.2.22"},
            )
        )

    def write(self, record: Record) -> None:
        self._recorder.write(record)

    def pass_time(self, seconds: float) -> datetime:
        self.clock += timedelta(seconds=seconds)
        return self.clock

    def probe(self, cell_id: str, verdict: PmuVerdict = PmuVerdict.ABSENT) -> None:
        cell = self.cells[cell_id]
        self.phase(cell_id, "probe", 0.21)
        self.write(ProbeRecord(time=self.clock, cell=cell_id, answer=probe_answer(cell, verdict)))

    def start(self, cell_id: str, kind: str = "wine") -> None:
        title = {"wine": "Debian 12 with Wine 8.0", "windows": "Windows Server 2025"}.get(kind, "")
        guest = {
            "guest": "embedded",
            "guest_title": title,
            "hal": "reference HAL (our model of the documentation)",
            "start": "cold",
            "image_sha256": "1f" * 32,
            "driver_sha256": "2e" * 32,
            "client_sha256": "3d" * 32,
        }
        self.write(
            CellRecord(
                time=self.clock,
                cell=cell_id,
                provenance={
                    "accelerator": "tcg (KVM: the probe did not answer within 5.0 s)",
                    "guest_kind": kind,
                    **(guest if title else {}),
                    **(self._provenance if title else {}),
                },
            )
        )

    def phase(self, cell_id: str, name: str, seconds: float) -> None:
        self.write(PhaseRecord(time=self.pass_time(seconds), cell=cell_id, name=name, seconds=seconds))

    def clause(
        self,
        cell_id: str,
        clause: str,
        outcome: Outcome = Outcome.PASS,
        reason: str = "",
        *,
        test: str = "",
        observations: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        if not reason and outcome not in (Outcome.PASS, Outcome.RECORDED):
            reason = f"{clause} was {outcome} for a reason"
        test = test or f"tests/contract/test_contract.py::test_{clause.lower().replace('-', '_')}"
        self.write(
            ClauseRecord(
                time=self.pass_time(0.1),
                cell=cell_id,
                clause=clause,
                test=test,
                outcome=outcome,
                reason=reason,
                observations=observations,
                duration_s=0.1,
            )
        )

    def incident(
        self,
        cell_id: str,
        message: str,
        branch: str = "infrastructure",
        evidence: Mapping[str, str] | None = None,
    ) -> None:
        self.write(
            IncidentRecord(
                time=self.clock, cell=cell_id, branch=branch, message=message, evidence=dict(evidence or {})
            )
        )

    def end(
        self,
        cell_id: str,
        verdict: Verdict,
        reason: str = "",
        *,
        not_realised: tuple[str, ...] = (),
        realised: bool | None = None,
    ) -> None:
        self.write(
            CellEndRecord(
                time=self.clock,
                cell=cell_id,
                verdict=verdict,
                reason=reason or f"it was {verdict}",
                realised=not not_realised if realised is None else realised,
                not_realised=not_realised,
                duration_s=self._cell_s.get(cell_id, 11.2),
            )
        )

    def cell(
        self,
        cell_id: str,
        verdict: Verdict,
        *,
        probe: PmuVerdict = PmuVerdict.ABSENT,
        kind: str = "wine",
        outcomes: Mapping[str, Outcome] | None = None,
        reason: str = "",
        not_realised: tuple[str, ...] = (),
    ) -> None:
        """A whole cell; clauses that are not named pass or are recorded, as their kind is."""
        self.probe(cell_id, probe)
        probe_only = self.cells[cell_id].guest is None
        self.start(cell_id, "none (probe only)" if probe_only else kind)
        if probe_only:
            for clause in self.clauses[cell_id]:
                self.clause(cell_id, clause)
        else:
            for name, duration in (
                ("qemu", 0.3),
                ("boot", 4.1),
                ("deploy", 0.8),
                ("client", 1.2),
                ("driver", 0.9),
            ):
                self.phase(cell_id, name, duration)
            before = self.clock
            for clause in self.clauses[cell_id]:
                usual = Outcome.RECORDED if clause in RECORDED_ONLY else Outcome.PASS
                self.clause(
                    cell_id, clause, (outcomes or {}).get(clause, usual), observations=_observations(clause)
                )
            spent = (self.clock - before).total_seconds()
            self.write(PhaseRecord(time=self.clock, cell=cell_id, name="contract", seconds=spent))
            self.phase(cell_id, "shutdown", 0.6)
        self.end(cell_id, verdict, reason, not_realised=not_realised)

    def finish(self, exit_code: int = 0) -> Path:
        self.write(RunEndRecord(time=self.pass_time(0.1), exit_code=exit_code))
        return self.folder

    def tear_last_line(self) -> None:
        """What a kill in the middle of a write leaves behind."""
        with self._recorder.path.open("ab") as file:
            file.write(b'{"type":"clause","cell":"so')


def guest_cell(name: str, **settings: Any) -> Cell:
    return Cell(id=name, **settings)


def probe_cell(name: str, **settings: Any) -> Cell:
    return Cell(id=name, guest=None, arch=Arch.AARCH64, machine="virt", **settings)


def probe_answer(cell: Cell, verdict: PmuVerdict) -> ProbeAnswer:
    arm = cell.arch is Arch.AARCH64
    there = verdict is not PmuVerdict.ABSENT
    state = CounterState.COUNTING if verdict is PmuVerdict.COUNTING else CounterState.DEAD
    counters = (
        Counter(
            name="cycle",
            event="0x11",
            state=state,
            count=4_912_345 if verdict == "counting" else 0,
            loop=1_000_000,
        ),
        Counter(name="event0", event="0x08", state=CounterState.DEAD, count=0, loop=1_000_000),
    )
    return ProbeAnswer(
        arch=cell.arch,
        accel=Accel.TCG,
        machine=cell.machine,
        cpu=cell.cpu_string,
        verdict=verdict,
        interface="pmuv3" if there else "none",
        version=6 if there else 0,
        general_counters=4 if there else 0,
        fixed_counters=0,
        counters=counters if there else (),
        advertised={"id_aa64dfr0": "0x10305106"} if arm else {"cpuid_a.eax": "0x00000000"},
        elapsed_s=0.21,
        qemu_version="7.2.22",
    )


def series(runs: Path, number: int, defects: Mapping[int, Mapping[str, Mapping[str, Outcome]]]) -> list[Path]:
    """So many runs of the demo, a day apart; `defects` are those of some of them."""
    return [
        demo(runs / f"{n:03d}-demo", defects.get(n), begin=START + timedelta(days=n)) for n in range(number)
    ]


def demo(
    folder: Path,
    defects: Mapping[str, Mapping[str, Outcome]] | None = None,
    *,
    begin: datetime = START,
    provenance: Mapping[str, str] | None = None,
    host: Mapping[str, str] | None = None,
    cell_s: Mapping[str, float] | None = None,
) -> Path:
    """The demo matrix as it comes out without KVM; `defects` maps the beginnings of ids to outcomes.

    `provenance` and `host` are told beside or instead of the usual; `cell_s` is how long cells took.
    """
    cells = [
        guest_cell(
            f"embedded-{cpu.lower().replace(',', '')}-pmu_{'on' if pmu else 'off'}-{generation}-{without}",
            cpu=cpu,
            pmu=pmu,
            hal=HalSettings(generation=generation, without_pmu=without),
        )
        for cpu in ("max", "Nehalem,+rdrand")
        for pmu in (True, False)
        for generation in Generation
        for without in WithoutPmu
    ]
    probes = [probe_cell("aarch64-probe-pmu_on"), probe_cell("aarch64-probe-pmu_off", pmu=False)]
    run = RunBuilder(
        folder,
        [*probes, *cells],
        name="demo",
        excluded=[("embedded-kvm64-pmu_on", "needs SSE4.2 and POPCNT, which this model does not have")],
        begin=begin,
        provenance=provenance,
        host=host,
        cell_s=cell_s,
    )
    run.cell(
        "aarch64-probe-pmu_on",
        Verdict.COUNTING,
        probe=PmuVerdict.COUNTING,
        reason="pmuv3 with 4 counters: cycle counted 4,912,345 in a loop of 1,000,000",
    )
    run.cell(
        "aarch64-probe-pmu_off", Verdict.ABSENT, reason="no PMU is advertised: ID_AA64DFR0_EL1.PMUVer is 0"
    )
    for cell in cells:
        outcomes = next((dict(o) for start, o in (defects or {}).items() if cell.id.startswith(start)), {})
        grants = cell.hal.without_pmu is WithoutPmu.GRANT
        other = (
            ("PARAM-X",)
            if cell.hal.generation is Generation.SHARED
            else ("PARAM-1", "PARAM-2", "PARAM-3", "SHARE-2", "SHARE-3", "SHARE-6")
        )
        outcomes = dict.fromkeys(other, Outcome.SKIPPED) | outcomes
        if not grants:
            held = (
                "ALLOC-2",
                "ALLOC-3",
                "ALLOC-4",
                "ALLOC-5",
                "ALLOC-6",
                "SHARE-2",
                "SHARE-3",
                "FREE-1",
                "FREE-2",
                "FREE-5",
                "FREE-6",
                "LIFE-1",
                "LIFE-2",
            )
            outcomes = dict.fromkeys(held, Outcome.SKIPPED) | outcomes
        if Outcome.FAIL in outcomes.values():
            bad = ", ".join(clause for clause, outcome in outcomes.items() if outcome is Outcome.FAIL)
            verdict, reason = Verdict.BROKEN, f"asserted clauses do not hold: {bad}"
        elif grants:
            verdict, reason = (
                Verdict.PHANTOM,
                "granted (STATUS_SUCCESS), and no counter counts: the probe found no PMU",
            )
        else:
            verdict, reason = (
                Verdict.REFUSED,
                "never granted: STATUS_INSUFFICIENT_RESOURCES (0xC000009A), which is documented",
            )
        _files(folder, cell)
        run.cell(
            cell.id,
            verdict,
            outcomes=outcomes,
            reason=reason,
            not_realised=("pmu=on was asked for, the PMU probe found no PMU (TCG has none for x86)",)
            if cell.pmu
            else (),
        )
    return run.finish(1 if defects else 0)


def _files(folder: Path, cell: Cell) -> None:
    home = folder / "cells" / cell.id
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "run.sh").write_text("#!/bin/sh\nexec qemu-system-x86_64\n")
    (home / "serial.log").write_text("Debian GNU/Linux\n" * 40)
    (home / "config.json").write_text(cell.model_dump_json())


def _observations(clause: str) -> tuple[tuple[str, Any], ...]:
    call = {
        "transport": 0,
        "status": 0xC000009A,
        "handle": "0x0",
        "irql_before": 0,
        "irql_after": 0,
        "cpu": 1,
        "group": 0,
        "written": True,
    }
    if clause == "ALLOC-6":
        return (
            ("race", {"threads": 4, "rounds": 2000, "successes": 1990, "refusals": 6010, "frees": 1990}),
            ("log", [[n, n % 4, n // 8, n % 5, 0] for n in range(1500)]),
        )
    return (
        ("first allocate", call | {"status": 0, "handle": "0xfffffa8001234560"}),
        ("second allocate", call),
        ("status", "STATUS_INSUFFICIENT_RESOURCES"),
    )
