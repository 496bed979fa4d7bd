"""Files over SFTP, with the guest's Windows paths: whole files or none."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from paramiko import SFTPClient

from harness.errors import UsageError

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class RemoteFile:
    """A file in the guest: Windows path, size in bytes, time of its last change by the guest's clock."""

    path: str
    size: int
    modified: datetime


_WINDOWS_PATH = re.compile(r'[A-Za-z]:[\\/][^:*?"<>|\x00-\x1f]*')


def sftp_path(windows: str) -> str:
    r"""`C:\x\y` as SFTP servers on Windows want it: `/C:/x/y`. Raises UsageError unless it is absolute."""
    if not _WINDOWS_PATH.fullmatch(windows):
        raise UsageError(f"{windows!r} is not an absolute Windows path", remedy=r"write it as C:\folder\file")
    drive, rest = windows[:2], windows[3:]
    return "/".join(["", drive.upper(), *(part for part in re.split(r"[\\/]+", rest) if part)])


def upload(sftp: SFTPClient, source: BinaryIO, size: int, remote: str, progress: Progress) -> None:
    """Write `source` beside its place in the guest, check its size, and rename it there. Raises OSError."""
    target = sftp_path(remote)
    part = f"{target}.part"
    try:
        try:
            sftp.putfo(source, part, size, progress)
        except FileNotFoundError:
            _make_folders(sftp, target.rpartition("/")[0])
            sftp.putfo(source, part, size, progress)
        _replace(sftp, part, target)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            sftp.remove(part)
        raise


def download(sftp: SFTPClient, remote: str, local: Path, progress: Progress) -> None:
    """Read a file into a sibling of `local`, check its size, and rename it there. Raises OSError."""
    part = local.with_name(f"{local.name}.part")
    try:
        sftp.get(sftp_path(remote), str(part), progress)
        part.replace(local)
    finally:
        part.unlink(missing_ok=True)


def list_files(sftp: SFTPClient, place: str) -> list[RemoteFile]:
    """The file of this path, or the files right below this folder; none where there is neither. Raises OSError."""
    path = sftp_path(place)
    try:
        found = sftp.stat(path)
        if stat.S_ISDIR(found.st_mode or 0):
            below = place.rstrip("\\/") + "\\"
            entries = [(below + entry.filename, entry) for entry in sftp.listdir_attr(path)]
        else:
            entries = [(place, found)]
    except FileNotFoundError:
        return []
    return [
        RemoteFile(name, entry.st_size or 0, datetime.fromtimestamp(entry.st_mtime or 0, UTC))
        for name, entry in entries
        if stat.S_ISREG(entry.st_mode or 0)
    ]


def _replace(sftp: SFTPClient, part: str, target: str) -> None:
    """Rename over whatever is there: at once where the server can (OpenSSH can), else in two steps."""
    try:
        sftp.posix_rename(part, target)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            sftp.remove(target)
        sftp.rename(part, target)


def _make_folders(sftp: SFTPClient, folder: str) -> None:
    """Make `folder` (`/C:/x/y`) and what is missing above it; the drive itself must be there."""
    _, drive, *parts = folder.split("/")
    path = f"/{drive}"
    for part in parts:
        path += f"/{part}"
        try:
            sftp.stat(path)
        except FileNotFoundError:
            sftp.mkdir(path)
