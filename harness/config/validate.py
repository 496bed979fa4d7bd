"""A document against a model: every complaint names file, line and column, and says what would be right."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.config.document import Document, Location
from harness.config.suggest import did_you_mean
from harness.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

_WANTED = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "on or off",
    "finite_number": "a finite number",
}

_BOUNDS = {"greater_than_equal": "at least", "less_than_equal": "at most", "greater_than": "more than"}


def validate(document: Document, model: type[M]) -> M:
    """The document as a model, without any conversion between types (the text "2" is no number).

    Raises ConfigError for the complaint that stands first in the file; its evidence lists the others.
    """
    try:
        # Through JSON: only there does pydantic's strict mode take a list for a tuple, a text for an enum.
        return model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        complaints = [
            _complaint(document, model, details) for details in error.errors() if not _echo(details)
        ]
    complaints.sort(key=lambda complaint: (complaint.line, complaint.column))
    first, *others = complaints
    if others:
        first.evidence["more errors in this file"] = "\n".join(str(other) for other in others)
    raise first


def _echo(details: ErrorDetails) -> bool:
    """Whether this only repeats an error inside: a list whose only item is wrong counts as too short."""
    return details["type"] == "too_short" and bool(details["input"])


def _complaint(document: Document, model: type[BaseModel], details: ErrorDetails) -> ConfigError:
    location: Location = details["loc"]
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        remedy = did_you_mean(str(location[-1]), _known_keys(model, location[:-1]), plural="known keys")
        return document.error(
            location, f"unknown key {location[-1]!r}{_inside(location)}", remedy=remedy, key=True
        )
    if kind == "missing":
        return document.error(location[:-1], f"the key {location[-1]!r} is missing{_inside(location)}")
    where, remedy = spelled(location), ""
    if kind == "too_short":
        problem = "has no values"
    elif kind == "string_too_short":
        problem = "is an empty text"
    elif kind in ("enum", "literal_error"):
        problem = f"must be {context['expected']}, not {_seen(value)}"
        words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        remedy = did_you_mean(value, words) if kind == "enum" and isinstance(value, str) else ""
        remedy = remedy if remedy.startswith("did") else ""
    elif kind == "string_pattern_mismatch":
        problem = f"must look like {context['pattern']}, not {_seen(value)}"
    elif kind in _WANTED:
        problem = f"must be {_WANTED[kind]}, not {_seen(value)}"
        if kind == "string_type" and isinstance(value, int | float):
            remedy = "put it in quotes if it is meant as text"
    elif kind in _BOUNDS:
        bound = next(iter(context.values()))
        problem = f"must be {_BOUNDS[kind]} {bound:g}, not {value}"
    else:
        problem = details["msg"].removeprefix("Value error, ")
    return document.error(location, f"{where or 'the file'} {problem}", remedy=remedy)


def spelled(location: Location) -> str:
    """A location as a reader of the file would say it: axes.cpu[1], counted from 0 as in JSON paths."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _inside(location: Location) -> str:
    return f" in {spelled(location[:-1])}" if len(location) > 1 else ""


def _seen(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a boolean (YAML reads on, off, yes, no so)"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that are allowed at `location`, from the model's own JSON Schema."""
    schema = model.model_json_schema(by_alias=True)
    node: dict[str, Any] = schema
    for step in (None, *location):
        if step is not None:
            node = (
                node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
            )
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node.get("properties", {}))
