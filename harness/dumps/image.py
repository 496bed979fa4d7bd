"""A dump file under bounds checks: whoever reads past its end learns that the file is truncated."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DumpError


class Image:
    """The bytes of a dump file. Integers are little-endian. Every read raises DumpError past the end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def bytes(self, offset: int, count: int) -> bytes:
        """`count` bytes at a file offset."""
        if offset < 0 or count < 0 or offset + count > len(self._data):
            raise DumpError(
                f"{self.path}: truncated: it has {len(self)} bytes, and what it says of itself needs "
                f"{offset + count}"
            )
        return self._data[offset : offset + count]

    def u16(self, offset: int) -> int:
        """The 16-bit unsigned integer at a file offset."""
        return int.from_bytes(self.bytes(offset, 2), "little")

    def u32(self, offset: int) -> int:
        """The 32-bit unsigned integer at a file offset."""
        return int.from_bytes(self.bytes(offset, 4), "little")

    def u64(self, offset: int) -> int:
        """The 64-bit unsigned integer at a file offset."""
        return int.from_bytes(self.bytes(offset, 8), "little")


@contextmanager
def open_image(path: Path) -> Generator[Image, None, None]:
    """The file, mapped. Raises DumpError when it cannot be read or is empty."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Image(path, data)
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # mmap's word for an empty file
        raise DumpError(f"{path}: {error}") from None
