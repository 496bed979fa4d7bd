"""The folder of a run: `runs/<time>-<name>/`, and what lies where in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from harness.caching import require_space
from harness.errors import InfrastructureError

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
