"""Which runs of a folder stay: nothing is ever deleted but what somebody asked to have deleted."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from harness.caching import Say
from harness.errors import InfrastructureError, UsageError
from harness.runs.folder import leading
from harness.runs.record import RECORD, RunRecord, now
from harness.runs.record_file import FILE_NAME

LOCK = ".nightly.lock"


@contextmanager
def only_one(runs_dir: Path, what: str) -> Generator[None, None, None]:
    """While this lasts no other process that asks for the same leads one in this folder; a killed one gives it up.

    Raises InfrastructureError when another does, and when the folder cannot be used.
    """
    path = runs_dir / LOCK
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InfrastructureError(
            f"{runs_dir} cannot be used: {error.strerror}", remedy="choose another --runs-dir"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = os.read(handle, 200).decode("utf-8", "replace").strip() or "not known which"
            raise InfrastructureError(
                f"another {what} still goes on in {runs_dir}: {held}",
                remedy="wait for its end; start them further apart, or give each its own --runs-dir",
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} since {now():%Y-%m-%d %H:%M:%S} UTC\n".encode())
        yield
    finally:
        os.close(handle)


def prune(
    runs_dir: Path, name: str, keep: int, spare: Collection[Path] = (), *, say: Say = lambda _: None
) -> tuple[str, ...]:
    """Delete all runs of the matrix with this name but the `keep` newest; their names are returned.

    Runs in `spare`, runs that go on, and what is no run stay. What cannot be deleted is said, and stays.
    """
    spared = {path.resolve() for path in spare}
    runs = sorted(_runs_of(runs_dir, name), reverse=True)
    gone = []
    for _, folder in runs[keep:]:
        if folder.resolve() in spared:
            continue
        try:
            with leading(folder):
                (folder / FILE_NAME).unlink()  # first: what is left of a half-deleted run is none
                shutil.rmtree(folder)
            gone.append(folder.name)
        except UsageError as error:
            say(f"not deleted: {error.message}")
        except OSError as error:
            say(f"{folder} cannot be deleted: {error.strerror}")
    return tuple(gone)


def _runs_of(runs_dir: Path, name: str) -> Generator[tuple[datetime, Path], None, None]:
    """The runs of a matrix and when they began. A link to a folder elsewhere is none."""
    for path in runs_dir.glob(f"*/{FILE_NAME}"):
        if path.parent.is_symlink():
            continue
        try:
            with path.open("rb") as file:
                first = RECORD.validate_json(file.readline())
        except (OSError, ValidationError):
            continue
        if isinstance(first, RunRecord) and first.name == name:
            yield first.time, path.parent
