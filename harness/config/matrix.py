"""From a matrix file to its cells: the combinations of the axes, less exclusions, plus inclusions."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.defects import DEFECTS
from harness.config.document import Document, Location
from harness.config.ids import cell_id
from harness.config.machine_axes import fill_in, forget, impossible
from harness.config.models import Accel, Arch, Cell, Expect, GuestDefinition, HalSettings, Icount, Kd, Model
from harness.config.requirements import Requirements
from harness.config.schema import ID_PATTERN, PROBE_ONLY, KnownIssue, MatrixFile
from harness.config.strategy import pairwise, sample
from harness.config.suggest import did_you_mean

MAX_COMBINATIONS = 100_000
"""More is a slip of the pen: at a minute a cell it would run for two months."""

EVERY_DEFECT = "all"
_HAL_KEYS = frozenset(HalSettings.model_fields)
_DEFAULTS = {
    key: field.default
    for key, field in (Cell.model_fields | HalSettings.model_fields).items()
    if key not in ("id", "hal", "arch", "machine", "memory_mib")  # these are the guest's, unless written
}
_PROBE_MACHINE = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}

GuestOf = Callable[[str, Location], GuestDefinition]
"""Looks a guest definition up by name; the location says where the name was asked for."""


class Excluded(NamedTuple):
    """A combination that the matrix leaves out, and why."""

    id: str
    reason: str


class Traits(Model):
    """What belongs to a cell and is no setting of its VM: by what it is chosen, and what it needs of the host."""

    tags: tuple[str, ...] = ()
    requires: Requirements = Requirements()


class Matrix(Model):
    """A matrix, expanded. `cells` and `excluded` are sorted by id; no id occurs twice among both.

    `traits` has the cells that have any. `strategy` says in words what the axes' combinations were reduced to; those
    that it left out are in no list.
    """

    name: str
    path: Path
    sha256: str
    expect: Expect = Expect.CONFORM
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]
    traits: Mapping[str, Traits] = {}
    known_issues: tuple[KnownIssue, ...] = ()
    strategy: str = ""

    def traits_of(self, cell: Cell) -> Traits:
        """The tags and requirements of a cell."""
        return self.traits.get(cell.id, _NO_TRAITS)


_NO_TRAITS = Traits()


@dataclass(frozen=True)
class _Candidate:
    """Settings of a cell to be, and where each of them is written; `own` are those that no override changes."""

    id: str
    settings: Mapping[str, Any]
    where: Mapping[str, Location]
    origin: Location
    own: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    requires: Mapping[str, Any] = field(default_factory=dict)


class _Expansion:
    """The expansion of one file; counts what each exclusion and override matched, so that none is there in vain."""

    def __init__(self, file: MatrixFile, document: Document, guest_of: GuestOf) -> None:
        self.file, self.document, self._guest_of = file, document, guest_of
        self.order: list[str] = list(
            (document.data.get("axes") or {}) if isinstance(document.data, dict) else {}
        )
        self.excluded_by = [0] * len(file.exclude)
        self._overridden_by = [0] * len(file.override)
        self._traits: dict[tuple[Any, ...], Traits] = {}
        self.traits: dict[str, Traits] = {}

    def settings_of(self, candidate: _Candidate) -> dict[str, Any]:
        """The candidate's settings with overrides, and with what its guest brings; its traits are noted."""
        settings = _completed(candidate, document=self.document, guest_of=self._guest_of)
        matching = [n for n, rule in enumerate(self.file.override) if rule.when.items() <= settings.items()]
        if matching:
            candidate = self._overridden(candidate, matching)
            settings = _completed(candidate, document=self.document, guest_of=self._guest_of)
        tags = dict.fromkeys((*self.file.tags, *candidate.tags))
        requires = {**self.file.requires, **candidate.requires}
        if tags or requires:
            key = (tuple(tags), *sorted(requires.items()))
            if key not in self._traits:
                self._traits[key] = Traits(tags=tuple(tags), requires=Requirements(**requires))
            self.traits[candidate.id] = self._traits[key]
        return settings

    def _overridden(self, candidate: _Candidate, matching: list[int]) -> _Candidate:
        settings, where = dict(candidate.settings), dict(candidate.where)
        tags: list[str] = []
        requires: dict[str, Any] = {}
        for number in matching:
            self._overridden_by[number] += 1
            rule = self.file.override[number]
            changed = {key: value for key, value in rule.set.items() if key not in candidate.own}
            settings |= changed
            where |= {key: ("override", number, "set", key) for key in changed}
            tags += rule.tags
            requires |= rule.requires
        return replace(
            candidate,
            settings=settings,
            where=where,
            tags=(*tags, *candidate.tags),
            requires={**requires, **candidate.requires},
        )

    def exclusion(self, settings: Mapping[str, Any]) -> str | None:
        """Why a combination is left out: the reason of the first exclusion that matches it; None when none does."""
        matching = [n for n, rule in enumerate(self.file.exclude) if rule.when.items() <= settings.items()]
        for number in matching:
            self.excluded_by[number] += 1
        return self.file.exclude[matching[0]].reason if matching else None

    def impossible(
        self, settings: Mapping[str, Any], candidate: _Candidate, *, written: bool = False
    ) -> str | None:
        """Why a combination cannot be, where an axis leads to it; None when it can.

        ConfigError, at the setting, for one that no axis leads to, or that is `written` so.
        """
        probe_only = settings["guest"] == PROBE_ONLY
        guest = None if probe_only else self._guest_of(settings["guest"], candidate.origin)
        found = impossible(settings, guest)
        if found is None:
            return None
        if not written and any(key in self.order for key in (found.key, *found.others)):
            return found.reason
        raise self.document.error(candidate.where.get(found.key, candidate.origin), found.reason)

    def refuse_idle_rules(self) -> None:
        """Raise ConfigError for an exclusion or an override that matched nothing."""
        remedy = "compare its values with the axes, or remove it"
        for number, count in enumerate(self.excluded_by):
            if count == 0:
                raise self.document.error(
                    ("exclude", number, "when"), "this exclusion matches no combination", remedy=remedy
                )
        for number, count in enumerate(self._overridden_by):
            if count == 0:
                raise self.document.error(
                    ("override", number, "when"), "this override matches no cell", remedy=remedy
                )

    def refuse_odd_overrides(self) -> None:
        """Raise ConfigError for an override that changes nothing, or something that cells' ids tell otherwise."""
        for number, rule in enumerate(self.file.override):
            if not (rule.set or rule.tags or rule.requires):
                raise self.document.error(("override", number), "this override changes nothing")
            for key in rule.set:
                if key in self.order:
                    raise self.document.error(
                        ("override", number, "set", key),
                        f"{key} is an axis: the ids of the cells would tell another value",
                        key=True,
                        remedy="exclude the combination and include the cell that is meant",
                    )


def expand(file: MatrixFile, document: Document, guest_of: GuestOf) -> Matrix:
    """All cells of a matrix file. ConfigError names the line of whatever does not fit together."""
    if not file.axes and not file.include:
        raise document.error((), "the matrix is empty: it has neither axes nor include")
    expansion = _Expansion(file, document, guest_of)
    expansion.refuse_odd_overrides()
    combinations = _combinations(file, expansion.order, document)
    inclusions = [_inclusion(file, index, expansion.order) for index in range(len(file.include))]
    _refuse_duplicates([*combinations, *inclusions], expansion.order, document)

    allowed: dict[str, tuple[_Candidate, dict[str, Any]]] = {}
    excluded = []
    for candidate in combinations:
        settings = expansion.settings_of(candidate)
        reason = _hidden(settings, candidate, document) or expansion.exclusion(settings)
        reason = reason or expansion.impossible(settings, candidate)
        if reason is None:
            allowed[candidate.id] = candidate, settings
        else:
            excluded.append(Excluded(candidate.id, reason))
            expansion.traits.pop(candidate.id, None)
    chosen, strategy = _chosen(expansion, allowed)
    cells = [_cell(*allowed[name], document) for name in chosen]
    for candidate in inclusions:
        settings = expansion.settings_of(candidate)
        cells.append(_cell(candidate, settings, document))
        if hidden := _hidden(settings, candidate, document):
            raise document.error(candidate.origin, hidden)
        expansion.impossible(settings, candidate, written=True)
    expansion.refuse_idle_rules()
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
        traits={cell.id: expansion.traits[cell.id] for cell in cells if cell.id in expansion.traits},
        known_issues=file.known_issues,
        strategy=strategy,
    )


def _chosen(
    expansion: _Expansion, allowed: Mapping[str, tuple[_Candidate, dict[str, Any]]]
) -> tuple[Collection[str], str]:
    """The ids of the combinations that the strategy takes, and in words what it did."""
    strategy, error = expansion.file.strategy, expansion.document.error
    if not strategy:
        return allowed, ""
    pairs, count, seed = strategy.get("pairwise", False), strategy.get("sample"), strategy.get("seed", 0)
    if pairs == (count is not None):
        raise error(("strategy",), "a strategy is either pairwise: on, or sample: N", key=True)
    if not expansion.order:
        raise error(("strategy",), "a strategy chooses among combinations, and there are no axes", key=True)
    if pairs:
        axes = {name: {key: found[key] for key in expansion.order} for name, (_, found) in allowed.items()}
        chosen, kind = pairwise(axes, seed), "every pair of values"
    else:
        chosen, kind = sample(list(allowed), count or 0, seed), "a sample"
    return chosen, f"{kind}: {len(chosen)} of {len(allowed)} combinations (seed {seed})"


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


def _hidden(settings: Mapping[str, Any], candidate: _Candidate, document: Document) -> str:
    """Why a cell would not show its defect; empty when it does, or has none. ConfigError for a name that is none."""
    name, generation = settings["defect"], settings["generation"]
    if name is None:
        return ""
    if name not in DEFECTS:
        raise document.error(
            candidate.where.get("defect", candidate.origin),
            f"there is no defect {name!r}",
            remedy=did_you_mean(name, DEFECTS, plural="defects"),
        )
    shows = generation in DEFECTS[name].generations
    return "" if shows else f"the defect {name} does not show in the {generation} generation"


def _inclusion(file: MatrixFile, index: int, order: list[str]) -> _Candidate:
    written: dict[str, Any] = dict(file.include[index])
    own_id = written.pop("id", None)
    tags, requires = written.pop("tags", ()), written.pop("requires", {})
    settings = {**_DEFAULTS, **file.defaults, **written}
    where: dict[str, Location] = {key: ("defaults", key) for key in file.defaults}
    where |= {key: ("include", index, key) for key in written}
    named = [key for key in order if key in written] + [key for key in written if key not in order]
    origin: Location = ("include", index, "id") if own_id else ("include", index)
    name = str(own_id or cell_id(settings, named))
    return _Candidate(name, settings, where, origin, frozenset(written), tags, requires)


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
        raise document.error(here, f"duplicate cell id {candidate.id!r}: also from {document.place(there)}")


def _completed(candidate: _Candidate, *, document: Document, guest_of: GuestOf) -> dict[str, Any]:
    """The settings, with machine and architecture filled in from the guest unless they contradict it."""
    settings, where = dict(candidate.settings), candidate.where
    room = settings["max_cpus"]
    if room is not None and room < settings["smp"]:
        raise document.error(where["max_cpus"], f"max_cpus: {room} is less than smp: {settings['smp']}")
    if settings["guest"] == PROBE_ONLY:
        settings.setdefault("memory_mib", Cell.model_fields["memory_mib"].default)
        arch = settings.setdefault("arch", Arch.X86_64)
        settings.setdefault("machine", _PROBE_MACHINE[arch])
        forget(settings, where)
        return settings
    guest = guest_of(settings["guest"], where.get("guest", candidate.origin))
    settings.setdefault("memory_mib", guest.usual_memory_mib)
    if settings.setdefault("arch", guest.arch) != guest.arch:
        raise document.error(where["arch"], f"guest {guest.name!r} is {guest.arch}, not {settings['arch']}")
    settings.setdefault("machine", guest.machine)
    fill_in(settings, guest)
    return settings


def _refuse_impossible_icount(candidate: _Candidate, settings: Mapping[str, Any], document: Document) -> None:
    """Counting instructions is the emulator's, and it can do it for one CPU."""
    where = candidate.where
    if settings["icount"] != Icount.EXACT:
        return
    if settings["accel"] == Accel.KVM:
        raise document.error(
            where.get("accel", candidate.origin),
            "icount: exact needs the emulator, not kvm",
            remedy="set accel to tcg or auto",
        )
    if settings["smp"] != 1:
        raise document.error(
            where.get("smp", where.get("icount", candidate.origin)),
            f"icount: exact runs one CPU, not {settings['smp']}",
            remedy="set smp: 1",
        )


def _refuse_idle_debugger(candidate: _Candidate, settings: Mapping[str, Any], document: Document) -> None:
    """A port at which nobody could ever answer."""
    wanted = {"kd": settings["kd"] != Kd.NONE, "gdb": settings["gdb"]}
    for key in (key for key, asked in wanted.items() if asked and settings["guest"] == PROBE_ONLY):
        place = candidate.where.get(key, candidate.origin)
        raise document.error(place, f"{key} needs a guest, and this cell has none", remedy="leave it away")
    if wanted["kd"] and settings["arch"] != Arch.X86_64:
        place = candidate.where.get("kd", candidate.origin)
        raise document.error(
            place,
            f"kd: {settings['kd']} is for x86_64 guests, not {settings['arch']}",
            remedy="use gdb: on, which every machine has",
        )


def _cell(candidate: _Candidate, settings: Mapping[str, Any], document: Document) -> Cell:
    _refuse_impossible_icount(candidate, settings, document)
    _refuse_idle_debugger(candidate, settings, document)
    hal = HalSettings(**{key: value for key, value in settings.items() if key in _HAL_KEYS})
    plain = {key: value for key, value in settings.items() if key not in _HAL_KEYS and key != "guest"}
    guest = None if settings["guest"] == PROBE_ONLY else settings["guest"]
    return Cell(id=candidate.id, guest=guest, hal=hal, **plain)
