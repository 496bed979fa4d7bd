"""A cell's folder on its way home: packed within a bound, and unpacked with no trust in who packed it."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.errors import InfrastructureError

MIB = 1 << 20
#: What comes home of one cell, before compression. Dumps of a guest's memory may be larger, logs and screens are not.
MOST_BYTES = 256 * MIB
MOST_FILES = 20_000


@dataclass(frozen=True)
class Parcel:
    """A packed folder (tar, gzip), and the files that were left out, each with its size in words."""

    data: bytes
    left_out: tuple[str, ...] = ()


def pack(folder: Path, most_bytes: int = MOST_BYTES) -> Parcel:
    """The regular files of a folder, the small ones first: what does not fit is the large ones."""
    files = sorted(
        (
            (path.lstat().st_size, path)
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        ),
        key=lambda found: (found[0], str(found[1])),
    )
    left, room, kept = [], most_bytes, 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for size, path in files:
            name = path.relative_to(folder).as_posix()
            if size > room or kept == MOST_FILES:
                left.append(f"{name} ({size / MIB:.1f} MiB)")
                continue
            tar.add(path, name, recursive=False)
            room, kept = room - size, kept + 1
    return Parcel(buffer.getvalue(), tuple(left))


def unpack(data: bytes, folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Put the files of a parcel in place of `folder`, all at once.

    Raises InfrastructureError, and leaves the folder as it was, for anything but regular files inside of it, for more
    of them than a parcel holds, and for data that is no parcel.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        try:
            _extract(data, scratch, most_bytes)
        except (tarfile.TarError, EOFError, OSError) as error:  # OSError: also gzip's word for damage
            raise _refused(str(error)) from None
        scratch.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(data: bytes, folder: Path, most_bytes: int) -> None:
    room = most_bytes
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for number, member in enumerate(tar):
            name = PurePosixPath(member.name)
            if not member.isreg() or name.is_absolute() or ".." in name.parts or not name.parts:
                raise _refused(f"{member.name!r} is not a file inside of it")
            room -= member.size
            if room < 0 or number >= MOST_FILES:
                raise _refused(f"it holds more than {most_bytes // MIB} MiB or {MOST_FILES} files")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is None:
                raise _refused(f"{member.name!r} cannot be read")
            with source, path.open("xb") as target:
                shutil.copyfileobj(source, target)
            path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _refused(why: str) -> InfrastructureError:
    return InfrastructureError(
        f"what a worker sent as a cell's folder was refused: {why}",
        remedy="is the worker the one that you mean? (docs/lab.md, about trust)",
    )
