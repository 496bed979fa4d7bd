"""The JSON Schemas of the public formats, by name. docs/schemas/ has them as files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from harness.config.schema import matrix_json_schema
from harness.doctor.finding import Finding
from harness.driver.protocol import json_schema as protocol_json_schema
from harness.errors import UsageError
from harness.imaging.check import CheckReport
from harness.probe.models import ProbeAnswer
from harness.report.bundle import Manifest
from harness.report.comparison import Comparison
from harness.report.history import History
from harness.report.nightly import Nightly
from harness.report.summary import Summary
from harness.runs.forecast import Forecast
from harness.runs.record import RECORD

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCHEMAS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "records": ("One line of a run's records.jsonl", partial(RECORD.json_schema, mode="serialization")),
    "summary": ("A run's summary.json", partial(Summary.model_json_schema, mode="serialization")),
    "history": ("Answer of halpmc history --json", partial(History.model_json_schema, mode="serialization")),
    "comparison": (
        "Answer of halpmc compare --json",
        partial(Comparison.model_json_schema, mode="serialization"),
    ),
    "nightly": (
        "Answer of halpmc nightly --json, and nightly.json",
        partial(Nightly.model_json_schema, mode="serialization"),
    ),
    "bundle": (
        "manifest.json in an archive of halpmc bundle",
        partial(Manifest.model_json_schema, mode="serialization"),
    ),
    "plan": ("Answer of halpmc plan --json", partial(Forecast.model_json_schema, mode="serialization")),
    "probe": ("Answer of halpmc probe --json", partial(ProbeAnswer.model_json_schema, mode="serialization")),
    "doctor": (
        "Findings of halpmc doctor --json",
        partial(TypeAdapter(list[Finding]).json_schema, mode="serialization"),
    ),
    "guest-check": (
        "Answer of halpmc guest check --json",
        partial(CheckReport.model_json_schema, mode="serialization"),
    ),
    "matrix": ("A matrix file", matrix_json_schema),
    "protocol": ("The protocol between the harness and the client in the guest", protocol_json_schema),
}

NAMES = tuple(_SCHEMAS)
"""The names of all public formats."""


def json_schema(name: str) -> dict[str, Any]:
    """The schema of the format with this name. Raises UsageError when there is none."""
    if name not in _SCHEMAS:
        raise UsageError(f"there is no schema {name!r}", remedy=f"there are: {', '.join(NAMES)}")
    title, build = _SCHEMAS[name]
    return {**build(), "$schema": _DIALECT, "title": title}
