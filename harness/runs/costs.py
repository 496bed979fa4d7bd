"""What a cell will cost: how long cells of the same configuration took in earlier runs, or else a stated guess."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from harness.config.models import Cell
from harness.contract.outcomes import Verdict
from harness.errors import UsageError
from harness.runs.record import RECORD, CellEndRecord, PhaseRecord, Record, RunRecord
from harness.runs.record_file import FILE_NAME

#: Seconds, without any history: a cell of the demo on two cores (docs/performance.md), and one that only probes.
DEFAULT_GUEST_S = 15.0
DEFAULT_PROBE_S = 3.0
NEWEST_RUNS = 20
#: A cell's process from its start to its end, as the phase that its run's leader records.
PROCESS_PHASE = "process"
_WANTED = (b'"type":"run"', b'"type":"cell-end"', b'"name":"process"')


class Cost(NamedTuple):
    """Expected seconds, and where the figure comes from."""

    seconds: float
    source: str


class _Row(BaseModel):
    """A cell in the JSON of `halpmc plan`, as far as it is read here."""

    id: str
    cost_s: float


class _Plan(BaseModel):
    cells: tuple[_Row, ...]


@dataclass
class Costs:
    """Durations by configuration, by kind of cell, and by id; an id counts only where a plan gave the figures."""

    by_configuration: Mapping[str, Sequence[float]] = field(default_factory=dict)
    by_kind: Mapping[tuple[str, ...], Sequence[float]] = field(default_factory=dict)
    planned: Mapping[str, float] = field(default_factory=dict)

    def of(self, cell: Cell) -> Cost:
        """What this cell will cost."""
        if cell.id in self.planned:
            return Cost(self.planned[cell.id], "the plan")
        if self.by_configuration and (found := self.by_configuration.get(_configuration(cell))):
            return Cost(
                round(statistics.median(found), 1), f"{len(found)} earlier run{'s' * (len(found) > 1)}"
            )
        if found := self.by_kind.get(_kind(cell)):
            return Cost(round(statistics.median(found), 1), "cells of its kind")
        return Cost(DEFAULT_GUEST_S if cell.guest else DEFAULT_PROBE_S, "default")


def load_costs(runs: Path, *, given: Path | None = None) -> Costs:
    """Costs from a folder of runs (the newest count), or from the JSON of `halpmc plan`.

    `given` is what somebody asked for instead of `runs`, and has to be there; `runs` that have not been made yet are an
    empty history. Raises UsageError for a file that is no plan, and for `given` that is not there.
    """
    source = given or runs
    if given and not given.exists():
        raise UsageError(
            f"there is no {given} with costs",
            remedy="give a folder of runs, or what halpmc plan MATRIX --json printed",
        )
    if source.is_dir() or not source.exists():
        return _from_runs(source)
    try:
        plan = _Plan.model_validate_json(source.read_bytes())
    except (OSError, ValidationError):
        raise UsageError(
            f"{source} is no plan with costs", remedy="make one with: halpmc plan MATRIX --json > plan.json"
        ) from None
    return Costs(planned={row.id: row.cost_s for row in plan.cells})


def _from_runs(folder: Path) -> Costs:
    by_configuration: dict[str, list[float]] = defaultdict(list)
    by_kind: dict[tuple[str, ...], list[float]] = defaultdict(list)
    runs = sorted((path.parent for path in folder.glob(f"*/{FILE_NAME}")), reverse=True)
    for run in runs[:NEWEST_RUNS]:
        for cell, seconds in _durations(run / FILE_NAME):
            by_configuration[_configuration(cell)].append(seconds)
            by_kind[_kind(cell)].append(seconds)
    return Costs(by_configuration, by_kind)


def _durations(path: Path) -> Iterator[tuple[Cell, float]]:
    """The cells of a run that came to a verdict, and how long each took; of its process where that is recorded."""
    cells: dict[str, Cell] = {}
    seconds: dict[str, float] = {}
    for record in _records(path):
        match record:
            case RunRecord():
                if record.partial:  # its cells were shorter than whole ones
                    return
                cells = dict(_cells(record))
            case CellEndRecord():
                if record.verdict is not Verdict.UNKNOWN:
                    seconds[record.cell] = record.duration_s
            case PhaseRecord():
                if record.cell in seconds:
                    seconds[record.cell] = record.seconds
            case _:
                pass
    for name, duration in seconds.items():
        if name in cells:
            yield cells[name], duration


def _records(path: Path) -> Iterator[Record]:
    """The few records that tell durations; the others are not even parsed."""
    try:
        with path.open("rb") as file:
            for line in file:
                if any(mark in line for mark in _WANTED):
                    try:
                        yield RECORD.validate_json(line)
                    except ValidationError:
                        continue
    except OSError:
        return


def _cells(run: RunRecord) -> Iterator[tuple[str, Cell]]:
    for planned in run.cells:
        try:
            yield planned.id, Cell.model_validate(planned.config)
        except ValidationError:  # of a version that had other settings
            continue


def _configuration(cell: Cell) -> str:
    return cell.model_dump_json(exclude={"id"})


def _kind(cell: Cell) -> tuple[str, ...]:
    return (str(cell.guest), cell.arch, cell.accel, cell.start)


def partition(costs: Iterable[tuple[str, float]], parts: int) -> tuple[tuple[str, ...], ...]:
    """Ids in so many parts of about the same cost: the longest first, each to the part that has the least so far."""
    loads = [0.0] * parts
    found: list[list[str]] = [[] for _ in range(parts)]
    for name, cost in sorted(costs, key=lambda item: (-item[1], item[0])):
        least = min(range(parts), key=lambda part: (loads[part], len(found[part])))
        found[least].append(name)
        loads[least] += cost
    return tuple(tuple(sorted(part)) for part in found)


def fingerprint(costs: Iterable[tuple[str, float]]) -> str:
    """Eight digits for a partition of these costs: shards that show different ones do not fit together."""
    return hashlib.sha256(json.dumps(sorted(costs)).encode()).hexdigest()[:8]
