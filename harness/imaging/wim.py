"""The editions on a Windows medium: what its install.wim (or install.esd) holds, as wimlib reads it.

The file has gigabytes, of which a list of its images needs a few kilobytes. wimlib gets a sparse file with just these:
the header, which says where the tables are (Microsoft, "Windows Imaging File Format"), the table of blobs, and the XML.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from harness.config.models import Arch, Model
from harness.deadlines import timeout_factor
from harness.errors import UsageError
from harness.host.tools import require_tool
from harness.imaging.optical import Disc, DiscFile, Extent

INSTALL_FILES = ("sources/install.wim", "sources/install.esd")
HEADER_BYTES = 208
MAGIC = b"MSWIM\0\0\0"
#: Offsets in the header of the entries that say where the table of blobs and the XML are: length and flags, offset.
TABLES = (48, 72)
TABLE_LIMIT = 256 << 20
WIMLIB_S = 60.0
ARCHITECTURES = {"9": Arch.X86_64, "12": Arch.AARCH64}  # PROCESSOR_ARCHITECTURE_AMD64, _ARM64


class Edition(Model):
    """One image of install.wim. `arch` is None for an architecture that no guest here has; `build` 0 when not told."""

    index: int
    name: str
    build: int = 0
    arch: Arch | None = None
    server: bool = False
    languages: tuple[str, ...] = ()


def find_install_file(disc: Disc) -> DiscFile:
    """install.wim or install.esd. Raises UsageError when the medium has neither."""
    for path in INSTALL_FILES:
        found = disc.find(path)
        if found is not None:
            return found
    raise UsageError(
        f"{disc.path} is no Windows installation medium: it has no {' or '.join(INSTALL_FILES)}",
        remedy="media whose install.wim is split (install.swm), and language or feature media, are of no use here",
    )


def editions(disc: Disc) -> tuple[Edition, ...]:
    """What the medium can install. Raises UsageError when its install.wim cannot be read, ToolMissing."""
    file = find_install_file(disc)
    xml = _xml(disc, file)
    try:
        root = ET.fromstring(xml)  # noqa: S314 - expat limits expansion; the text comes from the user's own medium
        found = tuple(_edition(image) for image in root.iter("IMAGE"))
    except (ET.ParseError, ValueError, KeyError) as error:
        raise UsageError(f"{file.path} of {disc.path} does not say what it holds: {error}") from None
    if not found:
        raise UsageError(f"{file.path} of {disc.path} holds no image")
    return found


def choose(found: tuple[Edition, ...], wanted: str, medium: Path) -> Edition:
    """The edition of that name or index. Raises UsageError with what there is."""
    for edition in found:
        if wanted in (edition.name, str(edition.index)):
            return edition
    there = "; ".join(f"{edition.index} = {edition.name}" for edition in found)
    raise UsageError(f"{medium} has no edition {wanted!r}", remedy=f"--edition takes one of: {there}")


def _xml(disc: Disc, file: DiscFile) -> str:
    tool = require_tool("wimlib-imagex")
    with tempfile.TemporaryDirectory(prefix="halpmc-wim-") as folder:
        copy, xml = Path(folder) / "install.wim", Path(folder) / "info.xml"
        _copy_tables(disc, file, copy)
        try:
            done = subprocess.run(
                [tool, "info", copy, f"--extract-xml={xml}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=WIMLIB_S * timeout_factor(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"{file.path} of {disc.path}: wimlib does not come to an end with it") from None
        if done.returncode != 0:
            words = " ".join(done.stderr.replace(str(copy), file.path).split()) or f"exit {done.returncode}"
            raise UsageError(f"{file.path} of {disc.path} cannot be read: {words[:300]}")
        return xml.read_bytes().decode("utf-16")


def _copy_tables(disc: Disc, file: DiscFile, copy: Path) -> None:
    header = disc.read(file, HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise UsageError(f"{file.path} of {disc.path} is no WIM file", remedy="download the medium again")
    with copy.open("wb") as target, disc.path.open("rb") as image:
        target.truncate(file.size)
        target.write(header)
        for at in TABLES:
            size_and_flags, offset = struct.unpack_from("<QQ", header, at)
            size = size_and_flags & 0x00FF_FFFF_FFFF_FFFF
            if size > TABLE_LIMIT or offset + size > file.size:
                raise UsageError(
                    f"{file.path} of {disc.path} is cut off or damaged", remedy="download the medium again"
                )
            for part in _parts(file, offset, size):
                image.seek(part.offset)
                target.seek(offset)
                target.write(image.read(part.length))
                offset += part.length


def _parts(file: DiscFile, offset: int, size: int) -> list[Extent]:
    """Where `size` bytes from `offset` of a file lie in the image."""
    parts, begin = [], 0
    for extent in file.extents:
        first, last = max(offset, begin), min(offset + size, begin + extent.length)
        if first < last:
            parts.append(Extent(extent.offset + first - begin, last - first))
        begin += extent.length
    return parts


def _edition(image: ET.Element) -> Edition:
    windows = image.find("WINDOWS")

    def text(path: str) -> str:
        found = windows.findtext(path) if windows is not None else None
        return found.strip() if found else ""

    languages = windows.findall("LANGUAGES/LANGUAGE") if windows is not None else []
    return Edition(
        index=int(image.attrib["INDEX"]),
        name=(image.findtext("NAME") or "").strip(),
        build=int(text("VERSION/BUILD") or 0),
        arch=ARCHITECTURES.get(text("ARCH")),
        server="Server" in text("PRODUCTTYPE"),
        languages=tuple(language.text or "" for language in languages),
    )
