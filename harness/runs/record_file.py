"""The file of a run's records: a JSON line each, appended at once, and read back while it is still written."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from harness.errors import InfrastructureError, NoSpace, UsageError
from harness.runs.record import RECORD, Record

FILE_NAME = "records.jsonl"


class Recorder:
    """Appends records to `records.jsonl`. Several processes may append to one file: a line is one write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        #: Hears of each record that this recorder has written.
        self.on_record: Callable[[Record], None] = lambda _: None

    def write(self, record: Record) -> None:
        """Append one line; when this returns it is in the file. Raises NoSpace when it cannot be written."""
        self._write(_line(record), "a record")
        self.on_record(record)

    def append(self, lines: bytes) -> None:
        """Append whole lines that another recorder wrote: all in one write. Raises NoSpace."""
        self._write(lines, "records")

    def _write(self, line: bytes, what: str) -> None:
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise NoSpace(
                f"{self.path} cannot be written: {error.strerror}", remedy="free some space, then run again"
            ) from None
        if written != len(line):
            raise NoSpace(
                f"{self.path} took only {written} of the {len(line)} bytes of {what}",
                remedy="free some space, then run again",
            )

    def write_first(self, record: Record) -> None:
        """Write a record unless there are records already: of several processes one does."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if os.fstat(self._fd).st_size == 0:
                self.write(record)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _line(record: Record) -> bytes:
    """A record as one line. Half a surrogate pair, which UTF-8 cannot carry, becomes `?`."""
    try:
        return record.model_dump_json().encode() + b"\n"
    except PydanticSerializationError:
        text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"


def drop_unfinished_line(folder: Path) -> None:
    """Cut off a last line that was in flight when its writer was killed, so that more can be appended."""
    with (folder / FILE_NAME).open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def scan_records(folder: Path) -> tuple[list[Record], list[str]]:
    """All records of a run's folder in order, and one sentence for each line that is none.

    A last line without an end was in flight when the writer was killed; it is left out and no damage. Raises
    UsageError when there is no file.
    """
    try:
        lines = (folder / FILE_NAME).read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"{folder} is not the folder of a run: {FILE_NAME}: {error.strerror}",
            remedy="give the folder that `halpmc run` printed",
        ) from None
    records: list[Record] = []
    damage: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                records.append(RECORD.validate_json(line))
        except ValidationError as error:
            if number < len(lines):
                damage.append(f"{FILE_NAME}:{number} is not a record: {error.errors()[0]['msg']}")
    return records, damage


def read_records(folder: Path) -> Iterator[Record]:
    """All records of a run's folder, in order. A last line cut short by a kill is left out.

    Raises InfrastructureError for any other line that is not a record, UsageError when there is no file.
    """
    records, damage = scan_records(folder)
    if damage:
        raise InfrastructureError(
            f"{folder / FILE_NAME} is damaged: {damage[0]}", remedy="run the matrix again"
        )
    yield from records


def tail_records(folder: Path, offset: int) -> tuple[list[Record], int]:
    """The complete records behind byte `offset`, and the offset to continue from: for live progress.

    Lines that are no records are passed over: the reports name them.
    """
    with (folder / FILE_NAME).open("rb") as file:
        file.seek(offset)
        data = file.read()
    complete = data.rfind(b"\n") + 1
    records: list[Record] = []
    for line in data[:complete].split(b"\n"):
        with suppress(ValidationError):
            if line:
                records.append(RECORD.validate_json(line))
    return records, offset + complete
