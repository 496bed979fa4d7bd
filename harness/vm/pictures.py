"""The machine's screen as a PNG file, from any QEMU."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from harness.deadlines import Deadline
from harness.errors import QemuError
from harness.vm.qmp import Qmp

#: P6, width, height and depth, with comments between them, then one white space (netpbm's ppm(5)).
_PPM = re.compile(rb"P6(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_PNG = b"\x89PNG\r\n\x1a\n"
_COMPRESSION = 1  # screens are flat: more effort gains little


class NoDisplay(QemuError):
    """The machine has no display device, so there is no screen to look at."""


def take_screen(qmp: Qmp, path: Path, *, timeout_s: float) -> None:
    """Write the screen to `path` as PNG: by QEMU itself (7.1 and newer, with libpng), else from its PPM.

    Raises NoDisplay, QemuError, DeadlineExceeded; then there is no file.
    """
    deadline = Deadline("the machine's screen", timeout_s)
    try:
        _screendump(qmp, path, deadline, format="png")
    except NoDisplay:
        raise
    except QemuError:  # the option or libpng is missing
        path.write_bytes(ppm_to_png(take_ppm(qmp, path.with_suffix(".ppm"), deadline)))


def take_ppm(qmp: Qmp, scratch: Path, deadline: Deadline) -> bytes:
    """The screen as PPM, by way of a file that is gone afterwards. Raises as `take_screen`."""
    _screendump(qmp, scratch, deadline)
    data = scratch.read_bytes()
    scratch.unlink()
    return data


def _screendump(qmp: Qmp, path: Path, deadline: Deadline, **options: str) -> None:
    try:
        qmp.execute(
            "screendump", timeout_s=deadline.remaining_unscaled(), filename=str(path.absolute()), **options
        )
    except QemuError as error:
        path.unlink(missing_ok=True)
        if "no console" in error.message:
            raise NoDisplay("the machine has no display device") from None
        raise


def ppm_to_png(ppm: bytes) -> bytes:
    """A binary PPM of 8 bits a channel as PNG. Raises QemuError when it is none."""
    found = _PPM.match(ppm)
    width, height, depth = (int(text) for text in found.groups()) if found else (0, 0, 0)
    start = found.end() if found else 0
    if depth != 255 or len(ppm) - start < 3 * width * height:
        raise QemuError("QEMU's screendump is no PPM picture")
    rows = (ppm[at : at + 3 * width] for at in range(start, start + 3 * width * height, 3 * width))
    pixels = b"".join(b"\0" + row for row in rows)  # each line starts with its filter: none
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(pixels, _COMPRESSION)
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
