"""What a user gives for the installation of a Windows guest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WindowsRequest:
    """What the user gave. `edition` is a name or an index; None is the definition's."""

    iso: Path
    sha256: str | None = None
    edition: str | None = None
    virtio_iso: Path | None = None
    openssh: Path | None = None
    product_key: str | None = None
    ems: bool = False
