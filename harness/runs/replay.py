"""A cell again, from the folder that an earlier run left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from harness.config.load import guest_names
from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.config.suggest import did_you_mean
from harness.errors import UsageError
from harness.runs.folder import CONFIG


def replay_matrix(folder: Path) -> Matrix:
    """A matrix of the one cell whose folder (`runs/…/cells/ID`) this is: same configuration, same kind of start.

    Raises UsageError when the folder is none of a cell, or its guest is not known here.
    """
    path = folder / CONFIG
    try:
        data = path.read_bytes()
        cell = Cell.model_validate_json(data)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", remedy="give the folder of a cell, such as runs/<run>/cells/<id>"
        ) from None
    except ValidationError as error:
        raise UsageError(f"{path} is no cell's configuration: {error.errors()[0]['msg']}") from None
    if cell.guest is not None and cell.guest not in guest_names():
        remedy = did_you_mean(cell.guest, guest_names(), plural="guests")
        raise UsageError(f"{path}: there is no guest {cell.guest!r}", remedy=remedy)
    digest = hashlib.sha256(data).hexdigest()
    return Matrix(name=f"replay-{cell.id}", path=path, sha256=digest, cells=(cell,), excluded=())
