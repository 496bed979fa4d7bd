"""qemu-img on an image that somebody else made: measured, converted and compared, with progress and an end."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from harness.caching import Say
from harness.deadlines import Deadline
from harness.errors import InfrastructureError, NoSpace, UsageError
from harness.host.tools import require_tool
from harness.imaging.formats import DiskFormat

MEASURE_S = 120.0
#: For the slowest disk that is worth waiting for, and what every image may take besides.
BYTES_PER_S = 5 << 20
LEAST_S = 300.0
TELL_S = 2.0
#: Formats whose structure QEMU can examine, and the exit status that says it wastes room and is otherwise sound.
CHECKED = (DiskFormat.QCOW2, DiskFormat.VHDX, DiskFormat.VMDK)
LEAKS = 3
PROGRESS = re.compile(rb"\((\d+\.\d+)/100%\)")


def measure(path: Path, kind: DiskFormat) -> tuple[int, int]:
    """Bytes that the image as qcow2 may take, and the size of the disk in it. Raises UsageError when it is damaged.

    An image that was cut short would be converted without a word: what is missing reads as zeros. For raw disks and
    fixed VHDs only a hash could tell.
    """
    if kind in CHECKED:
        _ask("check", "-f", kind.driver, path, good=(0, LEAKS))
    answer = _ask("measure", "-O", "qcow2", "-f", kind.driver, path)
    size = _ask("info", "-f", kind.driver, path)["virtual-size"]
    return int(answer["required"]), int(size)


def convert(path: Path, kind: DiskFormat, target: Path, size: int, say: Say) -> None:
    """Write the image as qcow2, and compare the two. Raises UsageError, NoSpace, DeadlineExceeded."""
    seconds = LEAST_S + size / BYTES_PER_S
    _run("convert", ["convert", "-p", "-f", kind.driver, "-O", "qcow2", path, target], seconds, say)
    _run("compare", ["compare", "-p", "-f", kind.driver, "-F", "qcow2", path, target], seconds, say)


def first_bytes(path: Path, kind: DiskFormat, target: Path) -> None:
    """Write the first MiB of the disk in the image to a raw file."""
    command = ["dd", "-f", kind.driver, "-O", "raw", "bs=1M", "count=1", f"if={path}", f"of={target}"]
    _run("read", command, LEAST_S, lambda _: None)


def _ask(verb: str, *arguments: str | Path, good: Sequence[int] = (0,)) -> Any:
    deadline = Deadline(f"qemu-img {verb}", MEASURE_S)
    try:
        done = subprocess.run(
            [*_program(), verb, "--output=json", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise deadline.error() from None
    if done.returncode not in good:
        raise _failed(verb, done.stderr or f"exit status {done.returncode}")
    return json.loads(done.stdout)


def _program() -> list[str | Path]:
    """qemu-img, which ends with the harness whatever ends that."""
    return [require_tool("setpriv"), "--pdeathsig", "KILL", "--", require_tool("qemu-img")]


def _run(title: str, command: Sequence[str | Path], seconds: float, say: Say) -> None:
    deadline = Deadline(f"qemu-img {title}", seconds)
    with subprocess.Popen(
        [*_program(), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        watchdog = threading.Timer(deadline.remaining(), process.kill)
        watchdog.start()
        try:
            said = _follow(cast(IO[bytes], process.stdout), title, deadline, say)
            code = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
    deadline.check()
    if code != 0:
        raise _failed(title, said)


def _follow(output: IO[bytes], title: str, deadline: Deadline, say: Say) -> str:
    """Tell how far it is now and then; what it printed besides."""
    told, rest = time.monotonic(), b""
    while data := output.read1(1 << 16):  # type: ignore[attr-defined] # a buffered pipe
        rest = (rest + data)[-(1 << 16) :]
        progress = PROGRESS.findall(rest)
        deadline.last_seen = f"{progress[-1].decode()} %" if progress else ""
        if progress and time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            say(f"{title}: {progress[-1].decode()} %")
    return PROGRESS.sub(b"", rest).decode(errors="replace")


def _failed(verb: str, said: str) -> InfrastructureError | UsageError:
    text = " ".join(said.split())
    if "No space left" in text:
        return NoSpace(f"qemu-img does not {verb} the image: {text[-300:]}", remedy="free some space")
    return UsageError(
        f"{verb} the image: {text[-300:]}", remedy="the image is damaged, or of a kind that QEMU cannot read"
    )
