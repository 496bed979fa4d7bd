"""The medium with the answer file: an ISO image that Setup finds by its file autounattend.xml."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import pycdlib

LABEL = "HALPMC"
JOLIET_3 = 3


def write_medium(files: Mapping[str, bytes | Path], path: Path) -> None:
    """Write the files, by their path on the medium, with Joliet, which is what Windows reads. Raises OSError."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=JOLIET_3, vol_ident=LABEL)
    try:
        folders: dict[PurePosixPath, str] = {PurePosixPath("/"): ""}
        for number, (name, content) in enumerate(sorted(files.items())):
            joliet = PurePosixPath("/", name)
            for folder in reversed(joliet.parents):
                if folder not in folders:
                    short = f"{folders[folder.parent]}/D{len(folders)}"
                    image.add_directory(short, joliet_path=str(folder))
                    folders[folder] = short
            # The names of ISO 9660 itself are for nobody: Joliet's count.
            short = f"{folders[joliet.parent]}/F{number}.;1"
            if isinstance(content, Path):
                image.add_file(str(content), short, joliet_path=str(joliet))
            else:
                image.add_fp(BytesIO(content), len(content), short, joliet_path=str(joliet))
        image.write(str(path))
    finally:
        image.close()


def medium_hash(files: Mapping[str, bytes | Path]) -> str:
    """SHA-256 over names and contents, in 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        data = content.read_bytes() if isinstance(content, Path) else content
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
