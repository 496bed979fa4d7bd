"""What an image is made of, written beside it when it is built."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from harness.config.models import Arch, Firmware, GuestKind, Model
from harness.errors import InfrastructureError

FILE_NAME = "manifest.json"


class InstalledWindows(Model):
    """What a Windows image was installed from, and how that went.

    `answer_sha256` is over the files of the answer medium, with the image's own password and key in them. The devices
    are those that its drivers were installed for, the firmware the one that started it. `evaluation_ends` is when an
    evaluation stops to work at the earliest, counted from the installation.
    """

    medium: str
    medium_sha256: str
    edition: str
    build: int
    disk_device: str
    net_device: str
    firmware: Firmware | None = None
    virtio_sha256: str | None = None
    openssh_sha256: str | None = None
    answer_sha256: str
    reboots: int
    phases_without_mark: tuple[str, ...] = ()
    evaluation_ends: datetime | None = None


class Source(Model):
    """The disk that an image was converted from."""

    file: str
    format: str
    bytes: int
    sha256: str


class Manifest(Model):
    """Identity and ingredients of a guest image.

    `packages` maps each Debian package in the image to its version; `tools` the same for the programs of the host that
    made it. `stage_seconds` tells how long each stage of the build took. `kernel_options` is the command line of a
    kernel that lies beside the disk, too, for QEMU to boot without firmware; None where there is none. What is said of
    packages, tools, recipe and stages is empty for an image that nobody built here; that has a `source`.
    """

    name: str
    kind: GuestKind
    os: str
    arch: Arch
    wine_version: str | None = None
    kernel: str = ""
    kernel_options: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    tools: dict[str, str] = Field(default_factory=dict)
    recipe_hash: str = ""
    build_mode: str = ""
    built_at: datetime
    built_by: str
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    source: Source | None = None
    disk_sha256: str
    disk_bytes: int
    disk_mtime_ns: int
    windows: InstalledWindows | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest in an image's folder. Raises InfrastructureError when it is missing or damaged."""
    path = folder / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InfrastructureError(
            f"{path} is no manifest",
            remedy=f"delete {folder} and build the guest again",
            evidence={"error": str(error)},
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
