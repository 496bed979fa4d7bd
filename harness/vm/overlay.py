"""The file that takes a guest's writes and is gone with it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import IO

from harness.errors import InfrastructureError, QemuError
from harness.host.tools import require_tool, run_tool
from harness.vm.state import copy_sparse

CREATE_S = 30.0


ROOM = "free some space there, or set TMPDIR to a folder that has some"


def _nameless(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise InfrastructureError(
            f"no overlay can be made in {folder}: {error.strerror}", remedy=ROOM
        ) from None


def nameless_copy(overlay: Path, folder: Path) -> IO[bytes]:
    """A copy of an overlay, as an open file without a name; see `nameless_overlay`.

    Raises InfrastructureError when the overlay cannot be read or the folder not be written.
    """
    file = _nameless(folder)
    try:
        copy_sparse(overlay, file.fileno())
    except OSError as error:
        file.close()
        raise InfrastructureError(
            f"{overlay} cannot be copied to {folder}: {error.strerror}",
            remedy=ROOM if error.errno == errno.ENOSPC else "",
        ) from None
    except BaseException:
        file.close()
        raise
    return file


def nameless_overlay(base: Path, base_format: str, folder: Path) -> IO[bytes]:
    """An empty qcow2 overlay over `base`, as an open file on the file system of `folder` that has no name.

    It is freed when the last process that has it open ends, however that ends; a named one, even one that QEMU
    unlinks as soon as it can (snapshot=on), is left behind when the harness is killed in between. Use it by
    `fd_path` in a process that inherits it. Raises QemuError with qemu-img's words about the base, ToolMissing,
    InfrastructureError when the folder cannot be written.
    """
    file = _nameless(folder)
    command: list[str | Path] = [require_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", base_format]
    try:
        command += ["-b", base.absolute(), fd_path(file.fileno())]
        done = run_tool(command, f"qemu-img create over {base}", CREATE_S, pass_fds=[file.fileno()])
        if done.returncode != 0:
            words = " ".join(done.stderr.split())
            full = os.strerror(errno.ENOSPC) in words
            remedy = ROOM if full else "look at the image with qemu-img check"
            raise QemuError(f"no overlay over {base} in {folder}: {words}", remedy=remedy)
    except BaseException:
        file.close()
        raise
    return file


def fd_path(fd: int) -> Path:
    """The path by which a process opens a file that it has inherited."""
    return Path(f"/proc/self/fd/{fd}")
