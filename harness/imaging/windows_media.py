"""A Windows medium before it is used: its hash, its editions, and what else the user gave. Nothing is made yet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from harness.caching import Say
from harness.config.document import read_document
from harness.config.models import GuestDefinition, Model
from harness.config.validate import validate
from harness.config.windows import WindowsSetup
from harness.errors import UsageError
from harness.imaging.optical import open_disc
from harness.imaging.wim import Edition, choose, editions
from harness.imaging.windows_answer import VIRTIO_DRIVERS, OpenSsh
from harness.paths import image_sources

CHUNK = 16 << 20
PRODUCT_KEY = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}")
OPENSSH_MAGIC: dict[bytes, OpenSsh] = {b"PK\x03\x04": "zip", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "msi"}
LISTED = 3


class KnownMedium(Model):
    """A medium whose hash is known, with where it was read."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    name: str
    guest: str
    evaluation: bool
    sources: tuple[str, ...] = Field(min_length=1)


class KnownMedia(Model):
    """images/media.yaml."""

    schema_: int = Field(alias="schema", ge=1, le=1)
    media: tuple[KnownMedium, ...]


@dataclass(frozen=True)
class Medium:
    """A medium that fits a definition. `known` is its row in the table of known media, if it has one."""

    path: Path
    sha256: str
    edition: Edition
    known: KnownMedium | None


def known_media(path: Path | None = None) -> tuple[KnownMedium, ...]:
    """The table of known media. Raises ConfigError."""
    return validate(read_document(path or image_sources() / "media.yaml"), KnownMedia).media


def examine(
    path: Path,
    definition: GuestDefinition,
    windows: WindowsSetup,
    *,
    edition: str | None,
    sha256: str | None,
    say: Say,
) -> Medium:
    """Look at everything that can be wrong with a medium, the quick things first.

    Raises UsageError: no such file, no Windows medium, another architecture or release, no such edition, another hash.
    """
    wanted = sha256.strip().lower() if sha256 else None
    if wanted is not None and not re.fullmatch("[0-9a-f]{64}", wanted):
        raise UsageError(f"--sha256 {sha256!r} is no SHA-256", remedy="it has 64 hexadecimal digits")
    with open_disc(path) as disc:
        chosen = choose(_fitting(editions(disc), definition, windows, path), edition or windows.edition, path)
    if chosen.build and chosen.build != windows.build:
        say(
            f"note: install.wim tells build {chosen.build}, the definition {windows.build}; the guest's own is checked"
        )
    say(f"reading {path.name} for its hash ({path.stat().st_size >> 20} MiB)")
    seen = _sha256(path)
    if wanted is not None and seen != wanted:
        raise UsageError(f"{path} has the SHA-256 {seen}, not {wanted}", remedy="download it again")
    known = next((medium for medium in known_media() if medium.sha256 == seen), None)
    if known is not None:
        say(f"known medium: {known.name}")
    elif wanted is None:
        say(f"warning: nobody has vouched for this medium: its SHA-256 {seen} is not in images/media.yaml")
    return Medium(path, seen, chosen, known)


def detect(path: Path, definitions: Iterable[GuestDefinition]) -> GuestDefinition:
    """The definition that a medium is for, by what its install.wim tells. Raises UsageError when not exactly one is."""
    with open_disc(path) as disc:
        found = editions(disc)
    fitting = [
        (definition, windows)
        for definition in definitions
        if (windows := definition.windows) is not None
        and any(edition.arch is definition.arch for edition in found)
        and all(any(word in edition.name for word in windows.images) for edition in found)
    ]
    exact = [d for d, windows in fitting if any(edition.build == windows.build for edition in found)]
    chosen = exact or [definition for definition, _ in fitting]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(definition.name for definition in chosen)
    raise UsageError(
        f"{path} has {_listed(found)}, which fits {f'several guests: {names}' if chosen else 'no guest definition'}",
        remedy="name the guest instead of `windows`, or write a definition and give it with --definition",
    )


def _listed(found: Sequence[Edition]) -> str:
    return "; ".join(edition.name for edition in found[:LISTED]) + ("; …" if len(found) > LISTED else "")


def _fitting(
    found: tuple[Edition, ...], definition: GuestDefinition, windows: WindowsSetup, path: Path
) -> tuple[Edition, ...]:
    names = _listed(found)
    if all(edition.arch is not definition.arch for edition in found):
        raise UsageError(
            f"{path} is not for {definition.arch}, which guest {definition.name!r} is: it has {names}"
        )
    if not all(any(word in edition.name for word in windows.images) for edition in found):
        raise UsageError(
            f"{path} is not for guest {definition.name!r}: it has {names}",
            remedy="see `halpmc guest list` for the definitions there are",
        )
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def language_of(edition: Edition, wanted: str) -> str:
    """The wanted language where the edition has it, else its first: Setup stops and asks for one that it has not."""
    if not edition.languages or wanted.lower() in (language.lower() for language in edition.languages):
        return wanted
    return edition.languages[0]


def product_key(text: str) -> str:
    """A product key as Setup wants it, however it was typed. Raises UsageError."""
    key = text.strip().upper()
    if not PRODUCT_KEY.fullmatch(key):
        raise UsageError(
            f"--product-key {text!r} is no product key", remedy="it is five times five letters and digits"
        )
    return key


def openssh_kind(path: Path) -> OpenSsh:
    """Whether a file is a zip or an MSI, by its content. Raises UsageError when it is neither."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    for magic, kind in OPENSSH_MAGIC.items():
        if start.startswith(magic):
            return kind
    raise UsageError(
        f"{path} is neither a zip nor an MSI", remedy="take a release of Win32-OpenSSH for the guest's CPU"
    )


def check_virtio(path: Path, windows: WindowsSetup) -> None:
    """The virtio-win medium must have the drivers for this release. Raises UsageError."""
    with open_disc(path) as disc:
        for driver in VIRTIO_DRIVERS:
            folder = f"{driver}/{windows.virtio_folder}"
            if not disc.has_folder(folder):
                raise UsageError(
                    f"{path} has no folder {folder}",
                    remedy="take a newer virtio-win medium, or correct windows.virtio_folder in the definition",
                )
