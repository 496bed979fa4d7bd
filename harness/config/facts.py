"""What expressions can say of a cell: its id, its tags, and every setting by its name in a matrix."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.config.expression import Expression, Facts, Name, parse
from harness.config.models import Cell


def facts_of(cell: Cell, tags: Sequence[str] = ()) -> Facts:
    """The facts of a cell; the settings of the reference HAL stand beside the others, as in a matrix."""
    return {**{name: (_text(value),) for name, value in _settings(cell)}, "tag": tuple(tags)}


def parse_choice(text: str) -> Expression:
    """An expression over the facts of cells. Raises ExpressionError."""
    return parse(text, NAMES)


def _settings(model: BaseModel) -> Iterator[tuple[str, Any]]:
    for name, value in model:
        if isinstance(value, BaseModel):
            yield from _settings(value)
        else:
            yield name, value


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _names(model: type[BaseModel]) -> Iterator[tuple[str, Name]]:
    for name, field in model.model_fields.items():
        union = get_origin(field.annotation) in (types.UnionType, Union)
        kinds = get_args(field.annotation) if union else (field.annotation,)
        may_be_none = ("none",) if types.NoneType in kinds else ()
        kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
        if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
            yield from _names(kinds[0])
        elif kinds == (bool,):
            yield name, Name(choices=("on", "off", *may_be_none))
        elif len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], StrEnum):
            yield name, Name(choices=(*kinds[0], *may_be_none))
        else:
            yield name, Name(numeric=int in kinds or get_origin(kinds[0]) is Literal)


NAMES: Mapping[str, Name] = {**dict(_names(Cell)), "tag": Name()}
"""Every name that an expression may use."""
