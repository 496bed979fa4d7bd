"""A real worker of a lab whose cells run a small program instead of the suite: argv is the scheduler, a name, a home.

What a cell does is in files of the home: it begins by `began-CELL-HOST`, and ends when there is `end-CELL` with its
exit status in it. The worker's host name is its own name, so that several of them on one host look like several.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.cluster.announcement import announce
from harness.cluster.worker import serve
from harness.runs.executor import CellJob

CELL = """
import json, os, pathlib, signal, sys, time
home, worker, run, cell = (pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4])
def write(**record):
    with (run / "records.jsonl").open("ab", buffering=0) as file:
        file.write(json.dumps({"cell": cell, "time": "2026-01-01T00:00:00Z", **record}).encode() + b"\\n")
def wait(condition):
    # Whoever is to say when may have died: nobody waits for ever.
    until = time.monotonic() + 120
    while not condition():
        if time.monotonic() > until:
            sys.exit("nobody said how this shall end")
        time.sleep(0.01)
def stop(*_):
    wait(lambda: not (home / f"slow-{cell}").exists())
    write(type="incident", branch="infrastructure", message=f"stopped on {worker}")
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
write(type="phase", name=f"begun on {worker}", seconds=0.1)
write(type="clause", clause="PROBE-1", test="t", outcome="fail", reason=f"of {worker}")
folder = run / "cells" / cell
(folder / "evidence").mkdir()
(folder / "evidence" / "seen.txt").write_text(f"seen on {worker}")
guests = os.environ.get("HALPMC_GUESTS", "")
(folder / "environment.json").write_text(json.dumps({k: v for k, v in os.environ.items() if k.startswith("HALPMC_")}))
print(f"a line of {cell}", flush=True)
scratch = home / f"scratch-{cell}-{worker}"
scratch.write_text(str(os.getpid()))
scratch.rename(home / f"began-{cell}-{worker}")
wait(lambda: (home / f"end-{cell}").exists())
status = int((home / f"end-{cell}").read_text())
if (home / f"foreign-{cell}").exists():
    write(type="phase", name="foreign", seconds=1.0, **{"cell": "another"})
write(type="cell-end", verdict="absent", reason="", realised=True, duration_s=0.1)
sys.exit(status)
"""


def main(scheduler: str, name: str, home: Path, slots: str) -> None:
    """Be a worker until told to end."""

    def command(job: CellJob, run: Path) -> list[str]:
        return [sys.executable, "-c", CELL, str(home), name, str(run), job.cell.id]

    said = announce(int(slots), prove=False).model_copy(update={"host": name})
    if name.startswith("old"):
        said = said.model_copy(update={"version": "0.0.9+0123456789abcdef"})
    serve(
        scheduler, said, name=name, command=command, say=lambda text: print(text, file=sys.stderr, flush=True)
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
