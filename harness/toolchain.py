"""The one pinned toolchain: zig (clang, lld and mingw-w64 headers in one package), for guests, probe and helpers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from harness.deadlines import Deadline
from harness.errors import BuildError, ToolMissing
from harness.paths import cache_dir

LAST_LINES = 40


def zig_package() -> Path:
    """The folder of the ziglang package: the program, its headers and libraries. Raises ToolMissing."""
    package = util.find_spec("ziglang")
    if package is None or package.origin is None:
        raise ToolMissing("zig", "ziglang")
    return Path(package.origin).parent


def zig_program() -> Path:
    """The zig program. Raises ToolMissing."""
    return zig_package() / "zig"


def zig(arguments: Sequence[str], deadline: Deadline) -> None:
    """Run zig. Raises BuildError with its output, DeadlineExceeded, ToolMissing."""
    run_build([str(zig_program()), *arguments], deadline)


def run_build(command: Sequence[str], deadline: Deadline) -> None:
    """Run one program of a build, with zig's caches in the cache folder so that nothing else is written.

    Raises BuildError with the program's last lines, DeadlineExceeded.
    """
    caches = str(cache_dir() / "zig")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": caches, "ZIG_LOCAL_CACHE_DIR": caches}
    deadline.last_seen = f"{Path(command[0]).name} running"
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=max(deadline.remaining(), 0.001),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise deadline.error() from None
    if done.returncode != 0:
        lines = done.stdout.splitlines() or ["no message"]
        first = next((line for line in lines if "error: " in line), lines[-1])
        raise BuildError(
            f"{deadline.name} failed: {first.strip()}",
            remedy="see the compiler's last lines",
            evidence={"command": " ".join(command), "last lines": "\n".join(lines[-LAST_LINES:])},
        )
