"""The details of one cell for its page: configuration, phases, observations, evidence with pictures, files."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.report.axes import axes_of
from harness.report.loading import CellView
from harness.report.reasons import seen
from harness.report.summary import CellSummary, Incident
from harness.runs.record import ClauseRecord

LINE = 150
"""Characters of an observed value that stay on one line."""
MAX_SHOWN = 4000
"""Characters of one observation or piece of evidence that the page shows; records.jsonl has all of it."""
MAX_TAIL = 6000
"""Bytes of a log's end, or of run.sh, that the page shows."""
PICTURE_BYTES = 400 << 10
"""The largest picture that is put into the page; a larger one is linked."""
PICTURES_BYTES = 6 << 20
"""What all pictures of a page may have together: it has to fit into a mail."""
EVIDENCE = "evidence"
INDEX = "index.json"


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    what: str = ""
    size: int = 0


class _Note(BaseModel):
    model_config = ConfigDict(extra="ignore")
    step: str
    why: str


class _Index(BaseModel):
    """As much of a piece of evidence's index.json as is shown."""

    model_config = ConfigDict(extra="ignore")
    triage: str = ""
    files: tuple[_File, ...] = ()
    notes: tuple[_Note, ...] = ()


class Details:
    """Makes the details of cells of one run's folder; pictures only as long as there is room for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._room = PICTURES_BYTES

    def of(self, cell: CellSummary, view: CellView) -> dict[str, Any]:
        """All that the page of a cell shows beyond the line of results."""
        home = self._inside(f"cells/{cell.id}")
        return {
            "config": axes_of(cell.config),
            "provenance": cell.provenance,
            "probe": cell.probe_answer.model_dump(mode="json") if cell.probe_answer else None,
            "phases": _phases(view),
            "results": {
                clause: [_result(record) for record in records] for clause, records in view.clauses.items()
            },
            "incidents": [
                self._incident(incident, retried)
                for incidents, retried in ((cell.incidents, False), (cell.retries, True))
                for incident in incidents
            ],
            "evidence": list(self._evidence(home)) if home else [],
            "run": _beginning(home / "run.sh") if home else "",
            "files": self._files(home) if home else [],
        }

    def _incident(self, incident: Incident, retried: bool) -> dict[str, Any]:
        return {
            "branch": incident.branch,
            "message": shorten(incident.message),
            "retried": retried,
            "evidence": [
                {"title": title, "href": self._href_of(text), "text": shorten(text)}
                for title, text in incident.evidence.items()
            ],
        }

    def _evidence(self, home: Path) -> Iterator[dict[str, Any]]:
        """Each folder of evidence of a cell: what to read first, then what there is."""
        for path in sorted((home / EVIDENCE).glob(f"*/{INDEX}")):
            try:
                index = _Index.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue  # its files are in the list of files all the same
            files = [self._evidence_file(path.parent, file) for file in index.files]
            yield {
                "test": path.parent.name,
                "triage": shorten(index.triage),
                "files": [file for file in files if file],
                "notes": [note.model_dump() for note in index.notes],
            }

    def _evidence_file(self, folder: Path, file: _File) -> dict[str, Any] | None:
        path = folder / file.name
        if Path(file.name).name != file.name or path.is_symlink() or not path.is_file():
            return None
        shown: dict[str, Any] = {
            "name": file.name,
            "what": file.what,
            "size": path.stat().st_size,
            "href": self._href(path),
        }
        if path.suffix == ".png":
            shown["picture"] = self._picture(path)
        elif path.suffix in (".log", ".txt"):
            shown["tail"] = _tail(path)
        return shown

    def _picture(self, path: Path) -> str:
        """A PNG as base64, or an empty text when it is none, or there is no room for it."""
        size = path.stat().st_size
        if size > min(PICTURE_BYTES, self._room):
            return ""
        data = path.read_bytes()
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ""
        self._room -= size
        return base64.b64encode(data).decode("ascii")

    def _files(self, home: Path) -> list[list[Any]]:
        """What lies in a cell's folder (name, address, bytes), run.sh first: it is what one needs to see it again."""
        paths = sorted(
            (path for path in home.rglob("*") if path.is_file() and not path.is_symlink()),
            key=lambda path: (path.name != "run.sh", str(path)),
        )
        return [[str(path.relative_to(home)), self._href(path), path.stat().st_size] for path in paths]

    def _href_of(self, text: str) -> str:
        """The address of a piece of evidence that is a file of the run, or an empty text when it is none."""
        path = self._inside(text)
        return self._href(path) if path and path.is_file() else ""

    def _inside(self, name: str) -> Path | None:
        """The path of that name in the folder; None for what is no name, or leads out of the folder."""
        if not name or len(name) > 1000 or "\0" in name or "\n" in name:
            return None
        try:
            path = (self._folder / name).resolve()
        except (OSError, RuntimeError, ValueError):
            return None
        return path if path.is_relative_to(self._folder) else None

    def _href(self, path: Path) -> str:
        return quote(str(path.relative_to(self._folder)))


def _phases(cell: CellView) -> list[list[Any]]:
    """Phases on the time axis of their cell: name, beginning and length in seconds; recorded when they end."""
    spans = [(phase, phase.time.timestamp() - phase.seconds) for phase in cell.phases]
    begin = min((start for _, start in spans), default=0.0)
    return [[phase.name, round(start - begin, 3), phase.seconds] for phase, start in spans]


def _result(record: ClauseRecord) -> dict[str, Any]:
    return {
        "test": record.test,
        "outcome": str(record.outcome),
        "reason": shorten(seen(record.clause, record.reason)),  # the clause's sentence stands beside it
        "seconds": record.duration_s,
        "seen": [[title, shorten(value_text(value))] for title, value in record.observations],
    }


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def value_text(value: Any) -> str:
    """An observed value as text: JSON, in which each part is on one line where that is short."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) > MAX_SHOWN else _laid_out(value)


def _laid_out(value: Any, indent: str = "") -> str:
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= LINE or not isinstance(value, list | dict):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_laid_out(item, inner)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _laid_out(item, inner) for item in value) + f"\n{indent}]"


def shorten(text: str) -> str:
    """The beginning of a long text, saying how much is not shown and where it is."""
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}\n… {len(text) - MAX_SHOWN:,} more characters are in records.jsonl"
