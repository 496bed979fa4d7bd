"""Reading an ISO image: its files by path, and where they lie in it.

Microsoft's media keep their files in UDF and have one text file in ISO 9660; others have Joliet, Rock Ridge, or plain
ISO 9660. Where there is more than one, the file system that an operating system would choose is read.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from harness.errors import UsageError

SECTOR = 2048
SMALL_FILE = 64 << 20


@dataclass(frozen=True)
class Extent:
    """A run of bytes of the image."""

    offset: int
    length: int


@dataclass(frozen=True)
class DiscFile:
    """A file on a medium: its parts in order, as bytes of the image."""

    path: str
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(extent.length for extent in self.extents)


class Disc:
    """An open ISO image; made by `open_disc`."""

    def __init__(self, path: Path, image: Any, kind: str) -> None:
        self.path = path
        self.kind = kind
        self._image = image

    def find(self, path: str) -> DiscFile | None:
        """The file at `path` (`sources/install.wim`), whatever the case of its letters; None when there is none."""
        folder = "/"
        *parents, name = PurePosixPath(path).parts
        for parent in parents:
            found = self._child(folder, parent)
            if found is None:
                return None
            folder = f"{folder.rstrip('/')}/{found[0]}"
        last = self._child(folder, name)
        if last is None or last[1].is_dir():
            return None
        return DiscFile(path, self._extents(last[1]))

    def has_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        folder = "/"
        for part in PurePosixPath(path).parts:
            found = self._child(folder, part)
            if found is None or not found[1].is_dir():
                return False
            folder = f"{folder.rstrip('/')}/{found[0]}"
        return True

    def read(self, file: DiscFile, limit: int = SMALL_FILE) -> bytes:
        """Up to `limit` bytes from the start of a file."""
        content = b""
        with self.path.open("rb") as image:
            for extent in file.extents:
                image.seek(extent.offset)
                content += image.read(min(extent.length, limit - len(content)))
        return content

    def _child(self, folder: str, name: str) -> tuple[str, Any] | None:
        """The real name and the record of what is called so in a folder."""
        for record in self._image.list_children(**{self.kind: folder}):
            seen = self._name(record)
            if seen is not None and seen.lower() == name.lower():
                return seen, record
        return None

    def _name(self, record: Any) -> str | None:
        if record is None or (self.kind != "udf_path" and (record.is_dot() or record.is_dotdot())):
            return None
        if self.kind == "udf_path":
            raw, encoding = record.file_identifier(), record.file_ident.encoding
        elif self.kind == "rr_path":
            raw, encoding = record.rock_ridge.name(), "utf-8"
        else:
            raw = record.file_identifier()
            encoding = "utf-16_be" if self.kind == "joliet_path" else "ascii"
        text = bytes(raw).decode(encoding, errors="replace")
        return text.split(";", maxsplit=1)[0].removesuffix(".") if self.kind != "udf_path" else text

    def _extents(self, record: Any) -> tuple[Extent, ...]:
        if self.kind == "udf_path":
            start = self._image.udf_main_descs.partitions[0].part_start_location
            return tuple(
                Extent((start + d.log_block_num) * SECTOR, d.extent_length & 0x3FFF_FFFF)
                for d in record.alloc_descs
            )
        extents = [Extent(record.extent_location() * SECTOR, record.data_length)]
        while record.data_continuation is not None:
            record = record.data_continuation
            extents.append(Extent(record.extent_location() * SECTOR, record.data_length))
        return tuple(extents)


@contextmanager
def open_disc(path: Path) -> Generator[Disc, None, None]:
    """An ISO image for reading. Raises UsageError when it is none, or cannot be read."""
    image = pycdlib.PyCdlib()
    try:
        try:
            image.open(str(path))
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no such file") from None
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
        except (PyCdlibException, ValueError, IndexError, AttributeError) as error:
            raise UsageError(
                f"{path} is not an ISO image that can be read: {' '.join(str(error).split())}",
                remedy="download it again, and compare its size and hash with the publisher's",
            ) from None
        yield Disc(path, image, _kind(image))
    finally:
        if getattr(image, "_initialized", False):
            image.close()


def _kind(image: Any) -> str:
    if image.has_udf():
        return "udf_path"
    if image.has_joliet():
        return "joliet_path"
    return "rr_path" if image.has_rock_ridge() else "iso_path"
