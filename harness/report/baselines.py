"""Baselines: what was seen where the documentation is silent, reviewed, in a file per guest and class of cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.contract.clauses import CLAUSES, JudgementKind
from harness.contract.outcomes import Outcome
from harness.errors import UsageError
from harness.paths import is_installed, shipped_baselines
from harness.report.changes import difference
from harness.report.loading import CellView, RunView, load_run
from harness.report.text import write_atomically
from harness.runs.record import BaselineEntry, BaselineRecord, ClauseRecord
from harness.runs.record_file import Recorder

SCHEMA_VERSION = 1
HEADER = """\
# What was observed where the documentation is silent (docs/baselines.md).
# Written by `halpmc baseline accept`: review what changes.
"""
SKIPPED = "skipped: "

Observations = dict[str, dict[str, tuple[str, ...]]]
"""Clause → test → what it recorded, part by part."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+.-]+$")]


class Baseline(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = Field(alias="schema", ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    guest: Name
    cell_class: Name = Field(alias="class")
    observations: Observations


def default_baselines() -> Path:
    """The baselines that come with the project."""
    return shipped_baselines()


def own_baselines() -> Path:
    """The project's baselines, where they can be changed. Raises UsageError in an installed wheel: it is read-only."""
    if is_installed():
        raise UsageError(
            f"the baselines in {shipped_baselines()} belong to the installed package and are not changed",
            remedy="give a folder of yours with --baselines, here and to halpmc run",
        )
    return shipped_baselines()


def observations(cell: CellView) -> Observations:
    """What a cell's record-clauses recorded, without what differs from run to run.

    A clause that had to be skipped is an observation, too; one that went wrong, or is of the other generation, is none.
    """
    generation = cell.provenance.get("generation", "")
    found: Observations = {}
    for clause, records in cell.clauses.items():
        known = CLAUSES.get(clause)
        if known is not None and generation and generation not in known.generations:
            continue
        silent = known is not None and known.judgement is JudgementKind.RECORD
        for record in records:
            if record.outcome is Outcome.RECORDED or (silent and record.outcome is Outcome.SKIPPED):
                tests = found.setdefault(clause, {})
                name = record.test.rpartition("::")[2]
                tests[name] = tests.get(name, ()) + _parts(record)
    return {clause: dict(sorted(tests.items())) for clause, tests in sorted(found.items())}


def _parts(record: ClauseRecord) -> tuple[str, ...]:
    text = _steady(record.reason)
    return (f"{SKIPPED}{text}",) if record.outcome is Outcome.SKIPPED else tuple(text.split("; "))


def _steady(text: str) -> str:
    """Without handles and addresses (a status has eight capital digits) and without times."""
    text = re.sub(r"\b0x(?![0-9A-F]{8}\b)[0-9a-f]+\b", "0x…", text)
    return re.sub(r"\b\d+(?:\.\d+)? ?(ms|us|s|seconds)\b", r"… \1", text)


def baseline_path(folder: Path, guest: str, cell_class: str) -> Path:
    """Where the baseline of this guest and class is, or would be."""
    return folder / guest / f"{cell_class}.yaml"


def load_baseline(path: Path) -> Observations:
    """What the file holds, nothing when there is none. Raises UsageError for a file that is no baseline."""
    try:
        return Baseline.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).observations
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        item = error.errors()[0]
        place = ".".join(map(str, item["loc"])) or "file"
        raise UsageError(f"{path} is no baseline: {place}: {item['msg']}") from None


def check_baselines(folder: Path) -> None:
    """Before a run: each file can be read. Raises UsageError."""
    for path in sorted(folder.glob("*/*.yaml")):
        load_baseline(path)


def compare(old: Observations, new: Observations) -> list[BaselineEntry]:
    """Each observation against the baseline. What only the baseline has was not observed, and says nothing."""
    return [
        BaselineEntry(
            clause=clause,
            test=test,
            state="new" if before is None else "same" if before == seen else "changed",
            old=before or (),
            new=seen,
        )
        for clause, tests in new.items()
        for test, seen in tests.items()
        for before in [old.get(clause, {}).get(test)]
    ]


def record_comparison(folder: Path, baselines: Path, *, strict: bool) -> None:
    """Compare a run that has just ended with the baselines, and append the result to its records.

    Raises UsageError for a baseline that cannot be read.
    """
    view = load_run(folder)
    recorder = Recorder(folder)
    try:
        for cell in view.cells.values():
            place = _place(cell)
            if place is None:
                continue
            path = baseline_path(baselines, *place)
            entries = tuple(compare(load_baseline(path), observations(cell)))
            recorder.write(
                BaselineRecord(
                    cell=cell.id,
                    cell_class=place[1],
                    file=str(path) if path.is_file() else "",
                    strict=strict,
                    entries=entries,
                )
            )
    finally:
        recorder.close()


def _place(cell: CellView) -> tuple[str, str] | None:
    """Guest and class of a cell; None for one that did not get that far."""
    guest, kind = cell.provenance.get("guest"), cell.provenance.get("class")
    return (guest, kind) if guest and kind else None


@dataclass
class Accepted:
    """One baseline that was written, or is as it was: `entries` are the observations that are not the same."""

    path: Path
    entries: list[BaselineEntry] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def accept(folder: Path, baselines: Path) -> list[Accepted]:
    """Make a run's observations the baselines. What a whole run no longer has is taken out.

    Raises UsageError for a run without observations, and for cells of one class that differ from each other.
    """
    view = load_run(folder)
    seen: dict[tuple[str, str], tuple[str, Observations]] = {}
    for cell in view.cells.values():
        place = _place(cell)
        if place is None or cell.end is None:
            continue
        new = observations(cell)
        first, known = seen.setdefault(place, (cell.id, new))
        differing = [entry for entry in compare(known, new) if entry.state == "changed"]
        if differing:
            raise UsageError(
                f"{first} and {cell.id} are both {place[0]} {place[1]}, but differ in {differing[0].clause}: "
                f"{difference(differing[0])}",
                remedy="accept a run in which they agree, or tell their classes apart",
            )
        for clause, tests in new.items():
            known.setdefault(clause, {}).update(tests)
    if not seen:
        raise UsageError(f"{folder} has no cell whose guest was observed")
    return [_write(view, baselines, place, new) for place, (_, new) in sorted(seen.items())]


def _write(view: RunView, baselines: Path, place: tuple[str, str], new: Observations) -> Accepted:
    path = baseline_path(baselines, *place)
    old = load_baseline(path)
    entries = [entry for entry in compare(old, new) if entry.state != "same"]
    gone = [
        f"{clause} {test}"
        for clause, tests in old.items()
        for test in tests
        if test not in new.get(clause, {})
    ]
    kept = {} if not view.run.partial else old
    merged = {
        clause: dict(sorted({**kept.get(clause, {}), **new.get(clause, {})}.items()))
        for clause in sorted({*kept, *new})
    }
    if merged != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, HEADER + _text(place, merged))
    return Accepted(path, entries, [] if view.run.partial else gone)


def _text(place: tuple[str, str], merged: Mapping[str, Mapping[str, tuple[str, ...]]]) -> str:
    plain = {clause: {test: list(parts) for test, parts in tests.items()} for clause, tests in merged.items()}
    data = {"schema": SCHEMA_VERSION, "guest": place[0], "class": place[1], "observations": plain}
    return yaml.safe_dump(data, sort_keys=False, width=1000, allow_unicode=True)
