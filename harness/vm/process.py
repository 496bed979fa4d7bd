"""The processes of a VM (QEMU, its TPM): started so that they cannot outlive the harness, and always reaped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from harness.deadlines import timeout_factor
from harness.errors import QemuError
from harness.host.tools import require_tool

TAIL_BYTES = 4000
KILL_WAIT_S = 10.0

#: The kernel delivers the death signal that setpriv asks for when the parent dies later; a parent that is
#: gone already is noticed by its id, which the shell reads when it starts.
_ONLY_WITH_PARENT = 'test "$PPID" -eq "$0" && exec "$@"'


@cache
def _spawner(_pid: int) -> ThreadPoolExecutor:
    """The one thread that forks.

    The parent-death signal is tied to the thread that forked, not to its process: a child started by a
    short-lived thread would die with that thread. This one lives as long as the process. (Keyed by the
    process id, since a forked child of the harness would inherit the pool without its thread.)
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="qemu-spawner")


def tail(path: Path, limit: int = TAIL_BYTES) -> str:
    """The end of a text file as far as it can be read; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
        return file.read().decode(errors="replace").strip()


class ChildProcess:
    """A child process in its own session, so that Ctrl-C on the terminal reaches the harness and not the VM."""

    def __init__(self, argv: Sequence[str], log: Path, *, pass_fds: Sequence[int] = ()) -> None:
        self.log = log
        self._argv = list(argv)
        self._pass_fds = tuple(pass_fds)
        self._spawning: Future[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; stdout and stderr go to the log. Raises ToolMissing, QemuError.

        When the caller is interrupted meanwhile, `kill` still finds the process.
        """
        guard: list[str | Path] = [require_tool("setpriv"), "--pdeathsig", "KILL", "--"]
        guard += ["sh", "-c", _ONLY_WITH_PARENT, str(os.getpid())]
        command = [*guard, require_tool(self._argv[0]), *self._argv[1:]]
        self._spawning = _spawner(os.getpid()).submit(self._spawn, command)
        try:
            self._spawning.result()
        except OSError as error:
            raise QemuError(f"{self._argv[0]} cannot be started: {error}") from None

    def _spawn(self, command: Sequence[str | Path]) -> None:
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._pass_fds,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the program itself: its guards replace themselves by it."""
        if self._child is None:
            raise QemuError(f"{self._argv[0]} was not started")
        return self._child.pid

    @property
    def status(self) -> int | None:
        """None while it runs; then the exit status, or minus the signal's number."""
        return self._child.poll() if self._child else None

    def ended(self) -> str:
        """How it ended, in words."""
        status = self.status
        if status is None:
            return "still running"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds (scaled)."""
        if self._child is None:
            return True
        try:
            self._child.wait(seconds * timeout_factor())
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, ask: Callable[[], bool], *, ask_s: float, term_s: float) -> str:
        """Have it end: `ask` it, then SIGTERM, then SIGKILL, each with its time. Returns what it took.

        `ask` says whether it was heard. An interrupt kills the process at once. Idempotent.
        """
        try:
            if self.status is None and self._child is not None:
                if ask() and self.wait(ask_s):
                    return "quit"
                self._child.terminate()
                if self.wait(term_s):
                    return "SIGTERM"
        finally:
            killed = self.kill()
        return "SIGKILL" if killed else "gone"

    def kill(self) -> bool:
        """SIGKILL and reap; True when there was something to kill. Raises QemuError when it survives that."""
        if self._spawning is not None:
            self._spawning.exception()  # an interrupted start may still be forking
        if self._child is None or self.status is not None:
            return False
        self._child.kill()
        if not self.wait(KILL_WAIT_S):
            raise QemuError(
                f"{self._argv[0]} (pid {self.pid}) does not die of SIGKILL",
                remedy="it hangs in the kernel: see dmesg; the host may need a reboot",
            )
        return True


def process_report(pid: int) -> str:
    """A process as the host sees it: one line about it, then one per thread. Raises OSError when it is gone."""
    folder = Path(f"/proc/{pid}")
    facts = _status(folder)
    lines = [
        f"pid {pid}, {facts['State']}, {facts['Threads']} threads, {facts.get('VmRSS', '?')} of memory in use"
    ]
    for task in sorted(folder.joinpath("task").iterdir(), key=lambda path: int(path.name)):
        thread = _status(task)
        user, system = task.joinpath("stat").read_text().rpartition(")")[2].split()[11:13]
        where = task.joinpath("wchan").read_text()
        used = f"user {user:>6}, system {system:>6} ticks"
        lines.append(f"{task.name:>8}  {thread['Name']:16} {thread['State']:16} {used}, in {where or '?'}")
    return "\n".join(lines)


def _status(folder: Path) -> dict[str, str]:
    rows = (line.partition(":") for line in folder.joinpath("status").read_text().splitlines())
    return {key: value.strip() for key, _, value in rows}
