"""A command at a terminal of its own (a pty), as a person has it; and how it ended, with nothing left behind."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
import psutil

from harness.deadlines import Deadline, wait_for

ANSWER_S = 60
GONE_S = 20


@contextmanager
def at_terminal(
    command: list[str], environment: Mapping[str, str], *, timeout_s: float, cwd: Path | None = None
) -> Generator[pexpect.spawn[str], None, None]:
    """The command at a terminal that is wide enough for paths; whatever is expected of it comes in `timeout_s`."""
    child = pexpect.spawn(
        command[0],
        command[1:],
        cwd=cwd,
        env={**os.environ, **environment},
        encoding="utf-8",
        codec_errors="replace",
        dimensions=(40, 400),
        timeout=timeout_s,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def found(child: pexpect.spawn[str], pattern: str) -> str:
    """What the pattern's group matched in the text that came next."""
    child.expect(pattern)
    assert isinstance(child.match, re.Match)
    return str(child.match[1])


def end(child: pexpect.spawn[str]) -> int:
    """Wait for its end; its exit code."""
    child.expect(pexpect.EOF, timeout=ANSWER_S)
    child.wait()
    assert child.exitstatus is not None, f"ended by signal {child.signalstatus}"
    return child.exitstatus


def no_process_left(home: Path) -> None:
    """Wait until no process has this folder in its arguments."""

    def attempt(deadline: Deadline) -> bool | None:
        left = [
            " ".join(process.info["cmdline"])[:200]
            for process in psutil.process_iter(["cmdline"])
            if any(str(home) in argument for argument in process.info["cmdline"] or ())
        ]
        deadline.last_seen = "; ".join(left)
        return None if left else True

    wait_for("end of the VMs", GONE_S, attempt)
