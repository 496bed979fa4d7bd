"""Who uses an image keeps it from being removed: by a shared lock on its folder, which ends with the process."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from harness.errors import UsageError

#: Descriptors that are kept open, and with them the locks, as long as this process lives.
_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Keep the folder from being removed as long as this process lives. FileNotFoundError: it is gone."""
    if folder in _held and _is(folder, _held[folder]):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    if not _is(folder, fd):  # somebody removed it in between
        os.close(fd)
        raise FileNotFoundError(folder)
    _held[folder] = fd


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder. The look itself is a lock for a moment."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove(folder: Path) -> None:
    """Remove a folder that nobody holds, at once for whoever looks. Raises UsageError when somebody does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder} is in use", remedy="let the runs that use this guest end, and try again"
            ) from None
        gone = folder.with_name(f".{folder.name}.tmp-removed-{os.getpid()}")
        folder.rename(gone)
    finally:
        os.close(fd)
    shutil.rmtree(gone)


def _is(folder: Path, fd: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
