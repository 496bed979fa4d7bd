"""The bug checks of Windows by number: their names, and which parameter points at the code at fault."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from harness.config.models import Model

#: 64-bit values do not survive JavaScript's numbers, so JSON has them as "0x…".
Hex = Annotated[
    int,
    BeforeValidator(lambda value: int(value, 16) if isinstance(value, str) else value),
    PlainSerializer(lambda value: f"0x{value:x}", return_type=str, when_used="json"),
]


@dataclass(frozen=True)
class KnownBugcheck:
    """One line of the table. `code_parameter` is 1 to 4, or 0 where no parameter is an address of code."""

    name: str
    code_parameter: int = 0


@cache
def table() -> dict[int, KnownBugcheck]:
    """The public bug checks by code, as bugchecks.tsv lists them."""
    lines = Path(__file__).with_name("bugchecks.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {int(row[0], 16): KnownBugcheck(row[1], int(row[2]) if len(row) > 2 else 0) for row in rows}


class Bugcheck(Model):
    """A bug check that happened."""

    code: Hex
    name: str
    parameters: tuple[Hex, Hex, Hex, Hex]

    def __str__(self) -> str:
        values = ", ".join(f"0x{value:x}" for value in self.parameters)
        return f"bugcheck 0x{self.code:X}{f' {self.name}' if self.name else ''} ({values})"


def bugcheck(code: int, parameters: tuple[int, int, int, int]) -> Bugcheck:
    """The bug check with its name, which is empty when the code is not a public one."""
    known = table().get(code)
    return Bugcheck(code=code, name=known.name if known else "", parameters=parameters)
