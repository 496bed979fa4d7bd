"""Content-hashed build cache: an entry is built once, published atomically, and never half there.

An entry is a folder `<cache>/<kind>/<name>-<hash>/`. It is built in a sibling temporary folder and renamed into place,
so whoever sees it sees all of it. A file lock makes concurrent processes build it once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import filelock

from harness.deadlines import timeout_factor
from harness.errors import CacheBusy, NoSpace
from harness.paths import cache_dir

LOCK_WAIT_S = 1800.0
GIB = 1 << 30

Say = Callable[[str], None]


def content_hash(files: Iterable[Path], extra: Iterable[str] = ()) -> str:
    """16 hex digits over names, modes' execute bits and contents of `files` (folders are walked), and over `extra`."""
    digest = hashlib.sha256()
    for text in extra:
        digest.update(b"text\0" + text.encode() + b"\0")
    for top in sorted(files):
        members = (
            sorted(p for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
            if top.is_dir()
            else [top]
        )
        for path in members:
            name = str(path.relative_to(top)) if top.is_dir() else path.name
            executable = b"x" if os.access(path, os.X_OK) else b"-"
            digest.update(
                b"file\0" + name.encode() + b"\0" + executable + hashlib.sha256(path.read_bytes()).digest()
            )
    return digest.hexdigest()[:16]


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise NoSpace when the file system of `folder` (which may not exist yet) has less than `needed` bytes free."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise NoSpace(
            f"{purpose} needs {needed / GIB:.1f} GiB in {existing}, which has {free / GIB:.1f} GiB free",
            remedy="free some space, or set HALPMC_CACHE to a folder on a larger disk",
        )


def cached(
    kind: str,
    name: str,
    digest: str,
    build: Callable[[Path], None],
    *,
    needs_bytes: int = 0,
    say: Say = lambda _: None,
    lock_wait_s: float = LOCK_WAIT_S,
) -> Path:
    """The folder of the cache entry, built by `build(folder)` when it is not there yet; see `built_once`."""
    entry = cache_dir() / kind / f"{name}-{digest}"
    title = f"{kind}/{name}"
    return built_once(entry, title, build, needs_bytes=needs_bytes, say=say, lock_wait_s=lock_wait_s)


def built_once(
    entry: Path,
    title: str,
    build: Callable[[Path], None],
    *,
    needs_bytes: int = 0,
    say: Say = lambda _: None,
    lock_wait_s: float = LOCK_WAIT_S,
) -> Path:
    """The folder `entry`, built by `build(folder)` when it is not there yet.

    Raises CacheBusy when another process keeps building it beyond the deadline, NoSpace, and whatever `build` raises;
    nothing half-built stays behind.
    """
    home = entry.parent
    if entry.is_dir():
        return entry
    require_space(home, needs_bytes, f"building {title}")
    home.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home / f".{entry.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"another process is building {title}; waiting for it")
        try:
            lock.acquire(timeout=lock_wait_s * timeout_factor())
        except filelock.Timeout:
            raise CacheBusy(
                f"{title} is still being built by another process (lock {lock.lock_file})",
                remedy="let it finish, or end that process; the lock frees itself when it dies",
            ) from None
    try:
        if entry.is_dir():
            return entry
        for stale in home.glob(f".{entry.name}.tmp-*"):  # of a process that was killed: we hold its lock now
            shutil.rmtree(stale, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{entry.name}.tmp-", dir=home))
        try:
            build(scratch)
            scratch.chmod(0o755)
            scratch.rename(entry)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return entry
    finally:
        lock.release()
