"""Checks of what is in the cache: its size, what killed processes left, and the guests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from harness.caching import GIB
from harness.config.load import guest_names
from harness.doctor.finding import Finding, failed, ok, warn
from harness.errors import HalpmcError, UsageError
from harness.imaging.store import find_guest
from harness.paths import cache_dir

BLOCK = 512  # of st_blocks, whatever the file system's own are (stat(2))


def check_cache() -> Iterator[Finding]:
    """The cache by kind, builds that go on, and what interrupted ones left behind."""
    cache = cache_dir()
    kinds = sorted(path for path in cache.glob("*") if path.is_dir())
    sizes = {kind.name: allocated_bytes(kind) for kind in kinds}
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in sizes.items())
    yield ok("cache.size", f"{cache}: {sum(sizes.values()) / GIB:.2f} GiB ({parts or 'empty'})")
    building = [lock for kind in kinds for lock in kind.glob(".*.lock") if is_locked(lock)]
    if building:
        yield ok("cache.locks", f"being built now: {', '.join(_entry(lock) for lock in building)}")
    else:
        yield ok("cache.locks", "nothing is being built; lock files that nobody holds do no harm")
    left = [
        scratch
        for kind in kinds
        for scratch in sorted(kind.glob(".*.tmp-*"))
        if not is_locked(scratch.with_name(scratch.name.partition(".tmp-")[0] + ".lock"))
    ]
    if left:
        size = sum(map(allocated_bytes, left)) / GIB
        yield warn(
            "cache.leftovers",
            f"{size:.2f} GiB of builds that were killed: {', '.join(map(str, left))}",
            "delete these folders; building the same entry again does it, too",
        )
    else:
        yield ok("cache.leftovers", "none")


def check_guests() -> Iterator[Finding]:
    """Each guest definition: whether its image is built or imported, up to date and whole."""
    for name in guest_names():
        check = f"guest.{name}"
        try:
            image = find_guest(name)
        except UsageError as error:
            yield warn(check, error.message, error.remedy)
        except HalpmcError as error:
            yield failed(check, error)
        else:
            built = f"{image.manifest.os}, built {image.manifest.built_at:%Y-%m-%d}"
            yield ok(check, f"{image.definition.title} ({built}), {image.manifest.disk_bytes / GIB:.2f} GiB")


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock file of the cache. The look itself is a shared lock for a moment."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def allocated_bytes(folder: Path) -> int:
    """What a folder really takes on its disk: the RAM files of templates have holes."""
    total = 0
    for top, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(top, name)).st_blocks * BLOCK  # noqa: PTH118 - thousands of files
            except FileNotFoundError:
                continue  # a build that goes on
    return total


def _entry(lock: Path) -> str:
    return f"{lock.parent.name}/{lock.name.removeprefix('.').removesuffix('.lock')}"
