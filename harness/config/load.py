"""Loading what the user configures. Nothing happens here but reading: no VM, image or tool is touched."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from harness.config.document import Location, read_document
from harness.config.extend import read_extended
from harness.config.known import check_known_issues
from harness.config.matrix import Matrix, expand
from harness.config.models import Arch, GuestDefinition
from harness.config.schema import PROBE_ONLY, MatrixFile, matrix_json_schema
from harness.config.suggest import did_you_mean
from harness.config.validate import validate
from harness.errors import UsageError
from harness.paths import guest_store, image_sources

__all__ = [
    "guest_names",
    "load_guest",
    "load_guest_file",
    "load_guest_for",
    "load_matrix",
    "matrix_json_schema",
    "stored_definition",
]


def guests_folder() -> Path:
    """Where the guest definitions are: images/guests of the checkout."""
    return image_sources() / "guests"


def stored_definition(name: str) -> Path:
    """Where the definition of a guest that was imported is."""
    return guest_store() / name / f"{name}.yaml"


def guest_names(folder: Path | None = None) -> tuple[str, ...]:
    """Names of all guest definitions, sorted: the project's, or those in `folder`, and of guests in the store."""
    names = {path.stem for path in (folder or guests_folder()).glob("*.yaml")}
    stored = () if folder else (path.name for path in guest_store().glob("[!.]*"))
    return tuple(sorted(names.union(name for name in stored if stored_definition(name).is_file())))


def load_guest(name: str, folder: Path | None = None) -> GuestDefinition:
    """The guest definition of that name. UsageError: there is none; ConfigError: its file is wrong."""
    known = guest_names(folder)
    if name not in known:
        raise UsageError(f"there is no guest {name!r}", remedy=did_you_mean(name, known, plural="guests"))
    stored = stored_definition(name)  # what an image was made with counts before what is made next
    return load_guest_file(
        stored if folder is None and stored.is_file() else (folder or guests_folder()) / f"{name}.yaml"
    )


def load_guest_for(name: str, arch: Arch, folder: Path | None = None) -> GuestDefinition:
    """The guest of that name, or the one that the same recipe makes for another architecture.

    UsageError: there is none; ConfigError.
    """
    guest = load_guest(name, folder)
    others = (load_guest(other, folder) for other in guest_names(folder))
    for found in (guest, *others):
        if (found.recipe, found.arch) == (guest.recipe, arch):
            return found
    raise UsageError(
        f"there is no {arch} guest of the recipe {guest.recipe!r}",
        remedy="add its definition to images/guests",
    )


def load_guest_file(path: Path) -> GuestDefinition:
    """The guest definition in a file that bears the guest's name. ConfigError for anything wrong in it."""
    document = read_document(path)
    guest = validate(document, GuestDefinition)
    if guest.name != path.stem:
        raise document.error(("name",), f"the guest is called {guest.name!r}, but its file {path.name!r}")
    if guest.name == PROBE_ONLY:
        raise document.error(("name",), f"{PROBE_ONLY!r} is no name for a guest: it means a cell without one")
    return guest


def load_matrix(path: Path, guests: Path | None = None, *, clauses: Collection[str] = ()) -> Matrix:
    """The matrix in a file, expanded to its cells; `guests` is the folder of guest definitions.

    Known issues are checked against `clauses`, the ids of all that there are, when they are given.
    ConfigError, with line and column, for anything wrong in the file; UsageError when there is no such file.
    """
    document = read_extended(path)
    file = validate(document, MatrixFile)
    check_known_issues(file, document, clauses)
    known = (*guest_names(guests), PROBE_ONLY)
    loaded: dict[str, GuestDefinition] = {}

    def guest_of(name: str, location: Location) -> GuestDefinition:
        if name not in known:
            raise document.error(
                location, f"there is no guest {name!r}", remedy=did_you_mean(name, known, plural="guests")
            )
        if name not in loaded:
            loaded[name] = load_guest(name, guests)
        return loaded[name]

    return expand(file, document, guest_of)
