"""The folder of a run: `runs/<time>-<name>/`, and what lies where in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.caching import require_space
from harness.config.models import Cell
from harness.errors import InfrastructureError, UsageError

CONFIG = "config.json"
NEEDED_BYTES = 256 << 20  # logs, records and reports; the disks of VMs are temporary files elsewhere


def create_run_folder(parent: Path, name: str) -> Path:
    """A new, empty folder for one run, named so that listing sorts by time. Raises NoSpace, InfrastructureError."""
    require_space(parent, NEEDED_BYTES, "a run")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for attempt in range(100):
        folder = parent / (f"{stamp}-{name}" if attempt == 0 else f"{stamp}-{name}-{attempt + 1}")
        try:
            (folder / "cells").mkdir(parents=True)
        except FileExistsError:
            continue  # two runs started within one second
        except OSError as error:
            raise InfrastructureError(
                f"cannot create {folder}: {error.strerror}", remedy="choose another place with --runs-dir"
            ) from None
        return folder
    raise InfrastructureError(
        f"{parent} already has 100 runs of this second", remedy="choose another --runs-dir"
    )


def cell_folder(run: Path, cell_id: str) -> Path:
    """Where everything about one cell goes; created when missing."""
    folder = run / "cells" / cell_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_config(folder: Path, cell: Cell) -> None:
    """A cell's configuration into its folder: what its process runs, and what `halpmc replay` reads."""
    (folder / CONFIG).write_text(json.dumps(cell.model_dump(mode="json"), indent=2) + "\n")


@contextmanager
def leading(run: Path) -> Generator[None, None, None]:
    """While this lasts nobody else leads the run in this folder; a harness that dies gives it up by that.

    Raises UsageError when another one does.
    """
    try:
        handle = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"{run} is not the folder of a run: {error.strerror}",
            remedy="give the folder that `halpmc run` printed",
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"the run in {run} still goes on", remedy="wait for its end, or interrupt it"
            ) from None
        yield
    finally:
        os.close(handle)
