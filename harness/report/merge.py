"""Several runs of one matrix as one run: shards put together again, and every cell that a lost shard owes named.

The honesty guard holds over the union: what any shard's plan says of the other shards' cells is part of the merged
plan, so a shard that left no run is a shortage and red, as a cell without records is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from harness.caching import Say
from harness.errors import EXIT_OK, InfrastructureError, NoSpace, UsageError
from harness.report.loading import RunView, load_run
from harness.report.summary import summarize_run
from harness.report.text import count
from harness.runs.folder import create_run_folder
from harness.runs.planned import PlannedIssue
from harness.runs.record import CellRecord, RunEndRecord, RunRecord
from harness.runs.record_file import FILE_NAME, Recorder

MAX_NAMED = 4
_RUN_END = b'"type":"run-end"'


@dataclass(frozen=True)
class Part:
    """A run that is merged, and its folder."""

    folder: Path
    view: RunView

    @property
    def unexplained(self) -> int:
        """An exit code with which the run ended and which its records do not account for; 0 when there is none."""
        if self.view.end is None or self.view.end.exit_code == EXIT_OK:
            return EXIT_OK
        blank = replace(self.view, end=self.view.end.model_copy(update={"exit_code": EXIT_OK}))
        return EXIT_OK if summarize_run(blank).exit_code else self.view.end.exit_code


def find_runs(places: Iterable[Path]) -> list[Path]:
    """The folders of runs among these, or up to two levels below them, where CI services unpack artifacts.

    Raises UsageError for a place that is not there.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UsageError(
                f"{place} is no folder", remedy="give folders of runs, or one that has them in it"
            )
        for pattern in (FILE_NAME, f"*/{FILE_NAME}", f"*/*/{FILE_NAME}"):
            found.update({path.parent.resolve(): None for path in sorted(place.glob(pattern))})
    return list(found)


def planned_ids(plan: Path) -> frozenset[str]:
    """The ids of the cells in the JSON of `halpmc plan`, skipped ones too: another host may well run them.

    Raises UsageError for a file that is none.
    """
    try:
        found = _Plan.model_validate_json(plan.read_bytes())
        return frozenset(row.id for row in (*found.cells, *found.skipped))
    except (OSError, ValidationError):
        raise UsageError(f"{plan} is no plan", remedy="make one with: halpmc plan MATRIX --json") from None


class _Row(BaseModel):
    id: str


class _Plan(BaseModel):
    """As much as is read here of what `halpmc plan --json` prints."""

    cells: tuple[_Row, ...]
    skipped: tuple[_Row, ...]


def merge_runs(
    folders: Sequence[Path],
    into: Path,
    *,
    wanted: frozenset[str] = frozenset(),
    say: Say = lambda _: None,
) -> Path:
    """A new run in the folder `into` with the records, logs and evidence of all these runs; it is returned.

    `wanted` are cells that there must be (of the plan that the shards were made from). Raises UsageError when the runs
    do not belong together or share a cell, InfrastructureError when there is none, or one holds no plan; NoSpace.
    """
    if not folders:
        raise InfrastructureError(
            "there is no run to merge: no shard left one", remedy="look at the logs of the shards' jobs"
        )
    parts = sorted((Part(folder, load_run(folder)) for folder in folders), key=_order)
    _check_alike(parts)
    merged = _merged_plan(parts)
    known = {cell.id for cell in merged.cells} | {cell.id for cell in merged.skipped}
    if wanted - known:
        raise UsageError(
            f"the plan has {count(len(wanted - known), 'cell')} that no shard knows of: {_some(wanted - known)}",
            remedy="merge the shards of this very plan",
        )
    for part in parts:
        say(f"merging {part.folder.name}: {count(len(part.view.cells), 'cell')}")
    folder = create_run_folder(into, merged.name)
    try:
        for part in parts:
            if (part.folder / "cells").is_dir():
                shutil.copytree(part.folder / "cells", folder / "cells", symlinks=True, dirs_exist_ok=True)
        _write_records(folder, merged, parts)
    except (OSError, shutil.Error) as error:
        raise NoSpace(
            f"{folder} cannot be written: {error}", remedy="free some space, then merge again"
        ) from None
    return folder


def _order(part: Part) -> tuple[int, str]:
    shard = part.view.run.shard
    return (shard.number if shard else 0, part.folder.name)


def _check_alike(parts: Sequence[Part]) -> None:
    first = parts[0].view.run
    seen: dict[str, Path] = {}
    for part in parts:
        run = part.view.run
        if (run.name, run.matrix_sha256, run.expect) != (first.name, first.matrix_sha256, first.expect):
            raise UsageError(
                f"{part.folder} is of another matrix than {parts[0].folder}: "
                f"{run.name} ({run.matrix_sha256[:12]}), {first.name} ({first.matrix_sha256[:12]})",
                remedy="merge runs of the same file",
            )
        if run.shard and first.shard and run.shard.partition != first.shard.partition:
            raise UsageError(
                f"the shards do not fit together: {part.folder.name} is of the partition {run.shard.partition}, "
                f"{parts[0].folder.name} of {first.shard.partition}",
                remedy="give each shard the same plan: halpmc run MATRIX --shard K/N --costs plan.json",
            )
        for name in [cell.id for cell in run.cells] + [left.id for left in run.skipped]:
            if name in seen:
                raise UsageError(
                    f"the cell {name} is in {seen[name]} and in {part.folder}",
                    remedy="give one run for each cell",
                )
            seen[name] = part.folder


def _merged_plan(parts: Sequence[Part]) -> RunRecord:
    """The plan of all: what each planned, and what they say that others owe of which there is no run."""
    runs = [part.view.run for part in parts]
    skipped = {left.id: left for run in runs for left in run.skipped}
    owed = {cell.id: cell for run in runs if run.shard for cell in run.shard.elsewhere}
    there = {cell.id: cell for run in runs for cell in run.cells}
    lost = owed.keys() - there.keys() - skipped.keys()
    names = ", ".join(part.folder.name for part in parts[:MAX_NAMED])
    more = f" and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    chosen = runs[0].shard.selection if runs[0].shard else runs[0].selection
    words = [chosen] if chosen else []
    words.append(f"merged from {count(len(parts), 'run')}: {names}{more}")
    if lost:
        words.append(f"no run has {count(len(lost), 'cell')} of the shards' plan: {_some(lost)}")
    return runs[0].model_copy(
        update={
            "time": min(run.time for run in runs),
            "cells": tuple(cell for name, cell in sorted((owed | there).items()) if name not in skipped),
            "skipped": tuple(left for _, left in sorted(skipped.items())),
            "selection": "; ".join(words),
            "shard": None,
            "known_issues": _issues(runs),
            "partial": any(run.partial for run in runs),
            "host": _together([run.host for run in runs]),
            "versions": _together([run.versions for run in runs]),
        }
    )


def _issues(runs: Sequence[RunRecord]) -> tuple[PlannedIssue, ...]:
    found: dict[str, PlannedIssue] = {}
    for issue in (issue for run in runs for issue in run.known_issues):
        before = found.get(issue.id, issue)
        cells = tuple(dict.fromkeys((*before.cells, *issue.cells)))
        found[issue.id] = issue.model_copy(update={"cells": cells})
    return tuple(found.values())


def _together(facts: Sequence[dict[str, str]]) -> dict[str, str]:
    """Facts of several hosts: each value once."""
    keys = dict.fromkeys(key for one in facts for key in one)
    return {key: "; ".join(dict.fromkeys(one[key] for one in facts if key in one)) for key in keys}


def _write_records(folder: Path, merged: RunRecord, parts: Sequence[Part]) -> None:
    """The records beside their place, then moved there: half a merge is no run.

    Lines are taken as they are, so that a damaged one stays damage.
    """
    scratch = folder / f".{FILE_NAME}.new"
    scratch.mkdir()
    recorder = Recorder(scratch)
    try:
        recorder.write(merged)
        for part in parts:
            lines = (part.folder / FILE_NAME).read_bytes().split(b"\n")
            kept = [line for line in lines[1:-1] if line and _RUN_END not in line]
            with recorder.path.open("ab") as file:
                file.writelines(line + b"\n" for line in kept)
            for record in _hosts(part):
                recorder.write(record)
        if all(part.view.end for part in parts):
            recorder.write(RunEndRecord(exit_code=max(part.unexplained for part in parts)))
    finally:
        recorder.close()
    recorder.path.rename(folder / FILE_NAME)
    scratch.rmdir()


def _hosts(part: Part) -> Iterable[CellRecord]:
    """On which host each cell of a part ran: the run's own facts are those of several."""
    run = part.view.run
    told = {
        "host_kernel": run.host.get("kernel", ""),
        "host_cpu": run.host.get("cpu", ""),
        "halpmc": run.versions.get("halpmc", ""),
    }
    facts = {key: value for key, value in told.items() if value}
    for cell in part.view.cells.values():
        if cell.last_time is not None:  # a cell that never began stays one
            missing = {key: value for key, value in facts.items() if key not in cell.provenance}
            yield CellRecord(time=cell.last_time, cell=cell.id, provenance=missing)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - MAX_NAMED} more" if len(ordered) > MAX_NAMED else ""
    return ", ".join(ordered[:MAX_NAMED]) + more
