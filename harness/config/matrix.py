"""From a matrix file to its cells: the combinations of the axes, less exclusions, plus inclusions."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.defects import DEFECTS
from harness.config.document import Document, Location
from harness.config.ids import cell_id
from harness.config.models import Accel, Arch, Cell, Expect, GuestDefinition, HalSettings, Icount, Model
from harness.config.schema import ID_PATTERN, PROBE_ONLY, MatrixFile
from harness.config.suggest import did_you_mean

MAX_COMBINATIONS = 100_000
"""More is a slip of the pen: at a minute a cell it would run for two months."""

EVERY_DEFECT = "all"
_HAL_KEYS = frozenset(HalSettings.model_fields)
_DEFAULTS = {
    key: field.default
    for key, field in (Cell.model_fields | HalSettings.model_fields).items()
    if key not in ("id", "hal", "arch", "machine")  # arch and machine are the guest's, unless written
}
_PROBE_MACHINE = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}

GuestOf = Callable[[str, Location], GuestDefinition]
"""Looks a guest definition up by name; the location says where the name was asked for."""


class Excluded(NamedTuple):
    """A combination that the matrix leaves out, and why."""

    id: str
    reason: str


class Matrix(Model):
    """A matrix, expanded. `cells` and `excluded` are sorted by id; no id occurs twice among both."""

    name: str
    path: Path
    sha256: str
    expect: Expect = Expect.CONFORM
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]


@dataclass(frozen=True)
class _Candidate:
    """Settings of a cell to be, and where each of them is written."""

    id: str
    settings: Mapping[str, Any]
    where: Mapping[str, Location]
    origin: Location


def expand(file: MatrixFile, document: Document, guest_of: GuestOf) -> Matrix:
    """All cells of a matrix file. ConfigError names the line of whatever does not fit together."""
    if not file.axes and not file.include:
        raise document.error((), "the matrix is empty: it has neither axes nor include")
    order = list((document.data.get("axes") or {}) if isinstance(document.data, dict) else {})
    combinations = _combinations(file, order, document)
    inclusions = [_inclusion(file, index, order) for index in range(len(file.include))]
    _refuse_duplicates([*combinations, *inclusions], order, document)

    cells, excluded = [], []
    hits = [0] * len(file.exclude)
    for candidate in combinations:
        settings = _completed(candidate, document, guest_of)
        matching = [n for n, rule in enumerate(file.exclude) if rule.when.items() <= settings.items()]
        for number in matching:
            hits[number] += 1
        hidden = _hidden(candidate, document)
        if hidden:
            excluded.append(Excluded(candidate.id, hidden))
        elif matching:
            excluded.append(Excluded(candidate.id, file.exclude[matching[0]].reason))
        else:
            cells.append(_cell(candidate, settings, document))
    for candidate in inclusions:
        cells.append(_cell(candidate, _completed(candidate, document, guest_of), document))
        if hidden := _hidden(candidate, document):
            raise document.error(candidate.origin, hidden)

    for number, count in enumerate(hits):
        if count == 0:
            raise document.error(
                ("exclude", number, "when"),
                "this exclusion matches no combination",
                remedy="compare its values with the axes, or remove it",
            )
    if not cells:
        raise document.error(
            ("exclude",), f"the exclusions exclude everything ({len(excluded)} combinations)", key=True
        )
    return Matrix(
        name=file.name,
        path=document.path,
        sha256=document.sha256,
        expect=file.expect,
        cells=tuple(sorted(cells, key=lambda cell: cell.id)),
        excluded=tuple(sorted(excluded)),
    )


def _combinations(file: MatrixFile, order: list[str], document: Document) -> list[_Candidate]:
    if not order:
        return []
    axes: dict[str, Any] = dict(file.axes)
    if axes.get("defect") == EVERY_DEFECT:
        axes["defect"] = (None, *DEFECTS)
    count = math.prod(len(axes[key]) for key in order)
    if count > MAX_COMBINATIONS:
        raise document.error(
            ("axes",),
            f"{count} combinations are more than {MAX_COMBINATIONS}",
            key=True,
            remedy="shorten an axis, or split the matrix",
        )
    base = {**_DEFAULTS, **file.defaults}
    base_where: dict[str, Location] = {key: ("defaults", key) for key in file.defaults}
    candidates = []
    for indexes in itertools.product(*(range(len(axes[key])) for key in order)):
        chosen = dict(zip(order, indexes, strict=True))
        settings = {**base, **{key: axes[key][index] for key, index in chosen.items()}}
        where = {**base_where, **{key: ("axes", key, index) for key, index in chosen.items()}}
        candidates.append(_Candidate(cell_id(settings, order), settings, where, ("axes",)))
    return candidates


def _hidden(candidate: _Candidate, document: Document) -> str:
    """Why a cell would not show its defect; empty when it does, or has none. ConfigError for a name that is none."""
    name, generation = candidate.settings["defect"], candidate.settings["generation"]
    if name is None:
        return ""
    if name not in DEFECTS:
        raise document.error(
            candidate.where["defect"],
            f"there is no defect {name!r}",
            remedy=did_you_mean(name, DEFECTS, plural="defects"),
        )
    shows = generation in DEFECTS[name].generations
    return "" if shows else f"the defect {name} does not show in the {generation} generation"


def _inclusion(file: MatrixFile, index: int, order: list[str]) -> _Candidate:
    written = dict(file.include[index])
    own_id = written.pop("id", None)
    settings = {**_DEFAULTS, **file.defaults, **written}
    where: dict[str, Location] = {key: ("defaults", key) for key in file.defaults}
    where |= {key: ("include", index, key) for key in written}
    named = [key for key in order if key in written] + [key for key in written if key not in order]
    origin: Location = ("include", index, "id") if own_id else ("include", index)
    return _Candidate(str(own_id or cell_id(settings, named)), settings, where, origin)


def _refuse_duplicates(candidates: list[_Candidate], order: list[str], document: Document) -> None:
    seen: dict[str, _Candidate] = {}
    for candidate in candidates:
        if not re.fullmatch(ID_PATTERN, candidate.id):
            raise document.error(
                candidate.origin,
                f"{candidate.id!r} cannot be a cell id (too long)",
                remedy="give the cell an id of its own" if len(candidate.origin) > 1 else "",
            )
        other = seen.setdefault(candidate.id, candidate)
        if other is candidate:
            continue
        here, there = candidate.origin, other.origin
        if here == there:  # both from the axes: two values of one axis are written alike
            here, there = next(
                (candidate.where[key], other.where[key])
                for key in order
                if candidate.where[key] != other.where[key]
            )
        line, column = document.position(there)
        raise document.error(
            here, f"duplicate cell id {candidate.id!r}: also from line {line}, column {column}"
        )


def _completed(candidate: _Candidate, document: Document, guest_of: GuestOf) -> dict[str, Any]:
    """The settings, with machine and architecture filled in from the guest unless they contradict it."""
    settings, where = dict(candidate.settings), candidate.where
    room = settings["max_cpus"]
    if room is not None and room < settings["smp"]:
        raise document.error(where["max_cpus"], f"max_cpus: {room} is less than smp: {settings['smp']}")
    if settings["guest"] == PROBE_ONLY:
        arch = settings.setdefault("arch", Arch.X86_64)
        settings.setdefault("machine", _PROBE_MACHINE[arch])
        return settings
    guest = guest_of(settings["guest"], where.get("guest", candidate.origin))
    if settings.setdefault("arch", guest.arch) != guest.arch:
        raise document.error(where["arch"], f"guest {guest.name!r} is {guest.arch}, not {settings['arch']}")
    settings.setdefault("machine", guest.machine)
    return settings


def _refuse_impossible_icount(candidate: _Candidate, document: Document) -> None:
    """Counting instructions is the emulator's, and it can do it for one CPU."""
    settings, where = candidate.settings, candidate.where
    if settings["icount"] != Icount.EXACT:
        return
    if settings["accel"] == Accel.KVM:
        raise document.error(
            where["accel"], "icount: exact needs the emulator, not kvm", remedy="set accel to tcg or auto"
        )
    if settings["smp"] != 1:
        raise document.error(
            where.get("smp", where["icount"]),
            f"icount: exact runs one CPU, not {settings['smp']}",
            remedy="set smp: 1",
        )


def _cell(candidate: _Candidate, settings: Mapping[str, Any], document: Document) -> Cell:
    _refuse_impossible_icount(candidate, document)
    hal = HalSettings(**{key: value for key, value in settings.items() if key in _HAL_KEYS})
    plain = {key: value for key, value in settings.items() if key not in _HAL_KEYS and key != "guest"}
    guest = None if settings["guest"] == PROBE_ONLY else settings["guest"]
    return Cell(id=candidate.id, guest=guest, hal=hal, **plain)
