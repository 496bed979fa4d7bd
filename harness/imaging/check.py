"""The report of a check: kept beside the image, and printed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, ValidationError
from rich.console import Console
from rich.text import Text

from harness.config.models import GuestKind, Model
from harness.guest.requirements import GuestState, Requirement, Status

FILE_NAME = "check.json"
COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "cyan"}


class CheckReport(Model):
    """What a guest was when it was booted from its image for a look.

    `seconds`: from power-on until somebody was logged in, and of the steps of that login.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)
    schema_version: Literal[1] = 1
    guest: str
    kind: GuestKind
    image_sha256: str
    accelerator: str
    checked_at: datetime
    seconds: dict[str, float]
    requirements: tuple[Requirement, ...]
    state: GuestState


def exit_code(report: CheckReport) -> int:
    """0 when no requirement failed, else 3."""
    return 3 if any(one.status is Status.FAIL for one in report.requirements) else 0


def read_report(folder: Path) -> CheckReport | None:
    """The report beside an image; None when there is none that can be read."""
    try:
        return CheckReport.model_validate_json((folder / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def print_report(report: CheckReport, console: Console) -> None:
    """Every requirement in a line, with its remedy in the next."""
    console.print(
        Text(f"guest {report.guest} ({report.kind}), booted with {report.accelerator}"), soft_wrap=True
    )
    for one in report.requirements:
        line = Text(f"{one.status:8}", COLOURS[one.status]) + Text(f"{one.name}: {one.detail}")
        console.print(line, soft_wrap=True)
        if one.remedy:
            console.print(Text(f"        -> {one.remedy}"), soft_wrap=True)
    counts = Counter(one.status for one in report.requirements)
    said = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    console.print(Text(f"{len(report.requirements)} requirements: {said}"), soft_wrap=True)
