"""How a guest definition is turned into an image: the recipe's folder, its parameters, and the hash over all of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.caching import content_hash
from harness.config.models import Arch, GuestDefinition
from harness.errors import UsageError
from harness.imaging.manifest import FILE_NAME
from harness.paths import cache_dir, guest_store, image_sources

KIND = "guests"
EMBEDDED = "embedded"
IMPORTED = "import"

#: Debian's suite per architecture. The measured Wine of each is in it.
SUITES = {Arch.X86_64: "bookworm", Arch.AARCH64: "trixie"}


@dataclass(frozen=True)
class Recipe:
    """A folder below images/, and what it is called with."""

    folder: Path
    suite: str
    arch: Arch

    @property
    def digest(self) -> str:
        """Hash of everything that decides what is built, except the versions of Debian's packages of the day."""
        parameters = [self.suite, self.arch.value, f"ziglang {metadata.version('ziglang')}"]
        return content_hash([self.folder], parameters)


def recipe_of(definition: GuestDefinition) -> Recipe:
    """The recipe that a guest is built by. Raises UsageError when there is none."""
    folder = image_sources() / definition.recipe
    if definition.recipe != EMBEDDED or not folder.is_dir():
        raise UsageError(
            f"guest {definition.name!r} has the recipe {definition.recipe!r}, which does not exist",
            remedy=f"use the recipe {EMBEDDED!r}",
        )
    return Recipe(folder, SUITES[definition.arch], definition.arch)


def image_folder(definition: GuestDefinition) -> Path:
    """Where the image of this definition is, or would be.

    One of our own recipe is in the cache, under the recipe's hash; an imported or installed guest in the store, by its
    name: it cannot be built again from the checkout alone. A store may also hold one of our own recipe, by its name: a
    host that was given the image of another one has it there, whatever it would have built itself.
    """
    stored = guest_store() / definition.name
    if definition.recipe == EMBEDDED and not (stored / FILE_NAME).is_file():
        return cache_dir() / KIND / f"{definition.name}-{recipe_of(definition).digest}"
    return stored


def name_of(folder: Path) -> str:
    """The guest's name in the name of a folder that has a hash behind it; empty when it has none."""
    named = re.fullmatch(r"(.+)-[0-9a-f]{16}", folder.name)
    return named.group(1) if named else ""
