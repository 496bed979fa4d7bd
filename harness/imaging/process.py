"""Running a recipe: its output goes to a log, its stages to the user, and all it started ends with the harness."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from harness.caching import Say
from harness.deadlines import Deadline
from harness.errors import BuildError
from harness.host.tools import require_tool

STAGE_MARK = "halpmc: stage "


def run_recipe(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    limit_s: float,
    first_stage: str,
    say: Say,
) -> dict[str, float]:
    """Run a recipe to its end; returns the seconds of each of its stages, in order.

    As root the recipe runs in process and mount namespaces of its own: when it ends, for whatever reason, so does every
    process and mount that it made. As another user mmdebstrap makes such namespaces itself, and cleans up when it is
    told to end. Raises BuildError with the log's tail, DeadlineExceeded, ToolMissing.
    """
    deadline = Deadline(log.stem, limit_s)
    isolated = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    root = os.geteuid() == 0
    namespaces: list[str | Path] = [require_tool("unshare"), *isolated] if root else []
    end = signal.SIGKILL if root else signal.SIGTERM
    # Should the harness be killed, the kernel sends this to the first process, and with that all others end.
    argv = [require_tool("setpriv"), "--pdeathsig", end.name.removeprefix("SIG"), *namespaces, *command]
    stages: dict[str, float] = {}
    stage, began = first_stage, time.monotonic()
    say(f"{deadline.name}: {stage}")
    with (
        log.open("w") as record,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        ) as process,
    ):
        output = cast(IO[str], process.stdout)  # a pipe, as asked for above
        watchdog = threading.Timer(deadline.remaining(), process.send_signal, [end])
        watchdog.start()
        try:
            for line in output:
                record.write(line)
                deadline.last_seen = line.strip()
                if line.startswith(STAGE_MARK):
                    stages[stage] = round(time.monotonic() - began, 1)
                    stage, began = line.removeprefix(STAGE_MARK).strip(), time.monotonic()
                    say(f"{deadline.name}: {stage}")
            code = process.wait()
        finally:
            watchdog.cancel()
            process.send_signal(end)
    stages[stage] = round(time.monotonic() - began, 1)
    if deadline.expired():
        raise deadline.error()
    if code != 0:
        raise BuildError(
            f"{deadline.name} failed in stage {stage!r} (exit status {code})",
            remedy="see the end of its log",
            evidence={"log": "\n".join(log.read_text(errors="replace").splitlines()[-60:])},
        )
    return stages
