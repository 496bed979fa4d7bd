"""The kill matrix: which clause noticed which defect of the reference HAL, and which defect nobody noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.contract.outcomes import Outcome

CellConfig = Mapping[str, Any]


class Kill(BaseModel):
    """A defect in one generation of the contract, in the cell that has it.

    `promised` are the clauses of which one has to notice. `killed_by` are those that did, in the order of the suite:
    by a violation, or, those in `changed`, by recording something else than the cell that is the same but sound.
    `survived` when no promised clause is among them; `judged` when all promised clauses that apply could be judged, at
    least one, which for those that record needs the sound cell in the same run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    defect: str
    generation: str
    cell: str
    promised: tuple[str, ...]
    killed_by: tuple[str, ...]
    changed: tuple[str, ...]
    survived: bool
    judged: bool

    @property
    def verdict(self) -> str:
        """In words: killed, survived, or that nobody can say."""
        if not self.survived:
            return "killed"
        return "survived" if self.judged else "not judged"


class Seen(BaseModel):
    """What a cell's kill depends on: its configuration, and its clauses with their outcomes and reasons."""

    model_config = ConfigDict(frozen=True)
    cell: str
    config: dict[str, Any]
    promised: tuple[str, ...]
    outcomes: dict[str, Outcome]
    reasons: dict[str, str]


def kills(cells: Iterable[Seen]) -> tuple[Kill, ...]:
    """One for each cell with a defect, in their order."""
    cells = tuple(cells)
    sound = {_machine(cell.config): cell for cell in cells if _defect(cell.config) is None}
    return tuple(
        _kill(cell, sound.get(_machine(cell.config)))
        for cell in cells
        if _defect(cell.config) is not None and cell.promised
    )


def _kill(cell: Seen, sound: Seen | None) -> Kill:
    changed = tuple(
        clause
        for clause, outcome in cell.outcomes.items()
        if sound is not None
        and outcome is sound.outcomes.get(clause) is Outcome.RECORDED
        and cell.reasons.get(clause) != sound.reasons.get(clause)
    )
    killed_by = tuple(
        clause for clause, outcome in cell.outcomes.items() if outcome is Outcome.FAIL or clause in changed
    )
    unjudged = (Outcome.ERROR, None) if sound is not None else (Outcome.ERROR, Outcome.RECORDED, None)
    return Kill(
        defect=str(_defect(cell.config)),
        generation=str(cell.config["hal"]["generation"]),
        cell=cell.cell,
        promised=cell.promised,
        killed_by=killed_by,
        changed=changed,
        survived=not set(killed_by) & set(cell.promised),
        judged=all(cell.outcomes.get(clause) not in unjudged for clause in cell.promised)
        and any(cell.outcomes.get(clause) is not Outcome.SKIPPED for clause in cell.promised),
    )


def _defect(config: CellConfig) -> str | None:
    name: str | None = (config.get("hal") or {}).get("defect")
    return name


def _machine(config: CellConfig) -> str:
    """The configuration without its id and its defect: the same for a broken cell and its sound twin."""
    rest = {key: value for key, value in config.items() if key not in ("id", "hal")}
    hal = {key: value for key, value in (config.get("hal") or {}).items() if key != "defect"}
    return repr((sorted(rest.items()), sorted(hal.items())))
