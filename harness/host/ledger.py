"""Memory that all harnesses of this user have promised to their VMs, kept so that two of them never promise the same.

One file per promise in a folder of the cache. Its owner holds a lock (flock) on it for as long as the promise stands,
and the kernel frees that lock when the owner dies, however it dies: a file that nobody holds is swept up by the next
who looks. Who has to wait leaves a file, too, and the oldest of those goes first: a large VM is not passed by small
ones for ever.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import psutil
from pydantic import ValidationError

from harness.config.models import Model
from harness.deadlines import timeout_factor
from harness.errors import CacheBusy
from harness.host.resources import MIB
from harness.host.slots import Held
from harness.paths import cache_dir

LOCK_WAIT_S = 30.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

#: Says why so much memory cannot be given beside what is held; empty when it can.
Rule = Callable[[Sequence[Held]], str]


class Entry(Model):
    """What a file of the ledger says. `user` is the process that uses the memory, 0 before it has started."""

    owner: int
    label: str
    memory_mib: int
    granted: bool = False
    user: int = 0
    user_started: float = 0.0


def ledger_folder() -> Path:
    """The ledger of this host since it was booted: the cache may be shared with other hosts over a network."""
    return cache_dir() / "host" / f"slots-{BOOT_ID.read_text().strip()}"


class Reservation:
    """Memory for one VM: asked for, granted, given back. Only its own process may use the object."""

    def __init__(self, label: str, memory_mib: int, folder: Path | None = None) -> None:
        self.entry = Entry(owner=os.getpid(), label=label, memory_mib=memory_mib)
        self._folder = folder or ledger_folder()
        self._path: Path | None = None
        self._fd = -1

    def claim(self, rule: Rule) -> str:
        """Try to get the memory: empty when it is granted, else why not. Raises CacheBusy.

        From the first call on this reservation has its place in the queue, until it is released.
        """
        with _locked(self._folder):
            own = self._path or self._enter()
            granted: list[Entry] = []
            for path, entry in living(self._folder):
                if path == own:
                    continue
                if entry.granted:
                    granted.append(entry)
                elif path < own:
                    return (
                        f"{entry.label} of process {entry.owner} is waiting for memory, too, and came first"
                    )
            # What VMs have taken is looked up only where it can make the difference: that costs 5 ms a VM.
            if rule([Held(entry.memory_mib, 0) for entry in granted]) and (
                reason := rule([Held(entry.memory_mib, resident_mib(entry)) for entry in granted])
            ):
                return reason
            self._write(granted=True)
            return ""

    def used_by(self, pid: int) -> None:
        """Say which process uses the memory: what it has taken already is then not counted twice."""
        with _locked(self._folder), suppress(psutil.NoSuchProcess):
            self._write(user=pid, user_started=psutil.Process(pid).create_time())

    def release(self) -> None:
        """Give the memory, or the place in the queue, back. Idempotent."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._path = None

    def _enter(self) -> Path:
        """Under the ledger's lock, so that the names are in the order of arrival."""
        number = 1 + max((int(path.name.partition("-")[0]) for path in _files(self._folder)), default=0)
        path = self._folder / f"{number:08}-{time.time_ns()}.json"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = path
        self._write()
        return path

    def _write(self, **changes: object) -> None:
        self.entry = self.entry.model_copy(update=changes)
        data = self.entry.model_dump_json().encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)


def living(folder: Path) -> list[tuple[Path, Entry]]:
    """All entries whose owner lives, in the order of their arrival; those of the dead are removed."""
    entries = []
    for path in _files(folder):
        try:
            with path.open("rb") as file:
                if _abandoned(file.fileno()):
                    path.unlink(missing_ok=True)
                    continue
                entries.append((path, Entry.model_validate_json(file.read())))
        except (FileNotFoundError, ValidationError):
            continue  # given back a moment ago
    return entries


def resident_mib(entry: Entry) -> int:
    """Memory that the processes of an entry have to themselves: pages of files can be dropped, and are not counted."""
    try:
        user = psutil.Process(entry.user) if entry.user else None
        if user is None or user.create_time() != entry.user_started:
            return 0
        family = [user, *user.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        with suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - memory.shared
    return total // MIB


@contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=LOCK_WAIT_S * timeout_factor())
    except filelock.Timeout:
        raise CacheBusy(
            f"another process holds {lock.lock_file} for too long",
            remedy="end that process; the lock frees itself when it dies",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _abandoned(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
