"""All guests that there are, and what can be removed: nothing that a process uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from harness.config.load import guest_names, load_guest, stored_definition
from harness.config.models import Arch, GuestDefinition, GuestKind, Model
from harness.errors import InfrastructureError, UsageError
from harness.imaging.check import CheckReport, read_report
from harness.imaging.manifest import Manifest
from harness.imaging.recipe import EMBEDDED, KIND, image_folder, name_of
from harness.imaging.store import GuestImage, open_image
from harness.imaging.use import in_use, remove
from harness.paths import cache_dir, guest_store

BLOCK = 512  # what st_blocks counts (stat(2))


class State(StrEnum):
    """`unchecked`: imported, and to be checked before a matrix may use it."""

    READY = "ready"
    UNCHECKED = "unchecked"
    ABSENT = "not built"
    DAMAGED = "damaged"


class GuestEntry(Model):
    """A guest in the list. `bytes` is what its folder takes on its disk; `detail` says what is damaged."""

    name: str
    title: str
    kind: GuestKind
    arch: Arch
    state: State
    imported: bool
    in_use: bool = False
    bytes: int = 0
    built_at: datetime | None = None
    folder: Path | None = None
    detail: str = ""


class GuestDetails(Model):
    """All that is known of a guest."""

    entry: GuestEntry
    definition: GuestDefinition
    manifest: Manifest | None
    check: CheckReport | None


class Removed(Model):
    """A folder that was removed, or would be, and why."""

    folder: Path
    bytes: int
    why: str


def list_guests() -> list[GuestEntry]:
    """Every guest that a matrix could name, by name."""
    return [describe(name).entry for name in guest_names()]


def describe(name: str) -> GuestDetails:
    """One guest. Raises UsageError when there is no such guest, ConfigError when its definition is wrong."""
    definition = load_guest(name)
    folder = image_folder(definition)
    image: GuestImage | None = None
    state, detail = State.ABSENT, ""
    if folder.is_dir():
        try:
            image = open_image(definition, folder)
            state = State.READY if image.host_key else State.UNCHECKED
        except InfrastructureError as error:
            state, detail = State.DAMAGED, error.message
    there = state is not State.ABSENT
    entry = GuestEntry(
        name=name,
        title=definition.title,
        kind=definition.kind,
        arch=definition.arch,
        state=state,
        imported=stored_definition(name).is_file(),
        in_use=there and in_use(folder),
        bytes=_allocated(folder) if there else 0,
        built_at=image.manifest.built_at if image else None,
        folder=folder if there else None,
        detail=detail,
    )
    return GuestDetails(
        entry=entry,
        definition=definition,
        manifest=image.manifest if image else None,
        check=read_report(folder) if there else None,
    )


def remove_guest(name: str) -> Removed:
    """Remove a guest's image; of an imported guest everything. Raises UsageError when it is used or not there."""
    if name not in guest_names() and (guest_store() / name).is_dir() and name == Path(name).name:
        folder = guest_store() / name  # damaged so far that it has no definition any more
    else:
        folder = image_folder(load_guest(name))
    if not folder.is_dir():
        raise UsageError(f"guest {name!r} has no image")
    removed = Removed(folder=folder, bytes=_allocated(folder), why="asked for")
    remove(folder)
    return removed


def collect_garbage(*, dry_run: bool = False) -> list[Removed]:
    """Remove what nothing can use any more: images of older recipes, templates of guests that are gone, and what
    killed builds, imports and removals left. Whatever a process uses stays. Returns what was, or would be, removed.
    """
    done = []
    for folder, why in _garbage():
        item = Removed(folder=folder, bytes=_allocated(folder), why=why)
        if not dry_run:
            _remove_if_unused(folder)
            if folder.exists():
                continue
        elif in_use(folder):
            continue
        done.append(item)
    return done


def _garbage() -> Iterator[tuple[Path, str]]:
    cache = cache_dir()
    for home in (cache / KIND, cache / "templates", guest_store()):
        for scratch in sorted(home.glob(".*.tmp-*")):
            if _abandoned(scratch):
                yield scratch, "left by a process that was killed"
    current = {image_folder(load_guest(name)) for name in guest_names()}
    for folder in sorted((cache / KIND).glob("[!.]*")):
        if folder.is_dir() and folder not in current and _is_ours(name_of(folder)):
            yield folder, "its recipe has changed"
    for folder in sorted((cache / "templates").glob("[!.]*")):
        name = name_of(folder)
        if name and folder.is_dir() and name not in guest_names():
            yield folder, f"guest {name} is gone"


def _is_ours(name: str) -> bool:
    """Whether this checkout knows the guest, and therefore which of its images is current."""
    return name in guest_names() and load_guest(name).recipe == EMBEDDED


def _abandoned(scratch: Path) -> bool:
    """Whether nobody is filling this folder: its maker holds a lock as long as it lives, and a remover the folder."""
    if ".tmp-removed-" in scratch.name:
        return True
    lock = FileLock(scratch.with_name(scratch.name.partition(".tmp-")[0] + ".lock"))
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False


def _remove_if_unused(folder: Path) -> None:
    if ".tmp-" in folder.name:
        shutil.rmtree(folder, ignore_errors=True)
    elif not in_use(folder):
        remove(folder)


def _allocated(folder: Path) -> int:
    return sum(path.lstat().st_blocks * BLOCK for path in folder.rglob("*"))
