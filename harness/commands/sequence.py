"""`halpmc replay CELL_DIR --sequence …`: one sequence of calls, each with what was expected and seen."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from itertools import count
from pathlib import Path

from harness.commands import say
from harness.config.models import Cell
from harness.errors import EXIT_OK, EXIT_VIOLATION, HalpmcError, UsageError


def replay_sequence(cell: Cell, text: str, *, as_json: bool) -> int:
    """Run the sequence in a guest of this cell in which nothing ran before; the exit code.

    Raises UsageError for a line that is no sequence, or a cell without a guest.
    """
    from harness.config.load import load_guest
    from harness.contract.sequence import parse_sequence
    from harness.probe.accelerator import choose_accelerator
    from harness.runs.sequences import SequenceRunner
    from harness.runs.start import GuestStarter

    steps = parse_sequence(text)
    if cell.guest is None:
        raise UsageError(f"cell {cell.id} has no guest: it is the PMU probe alone")
    definition = load_guest(cell.guest)
    accel = choose_accelerator(cell.accel, cell.arch, cell.machine, say=say).accel
    starter = GuestStarter(cell, definition, accel=accel)
    folder = Path(tempfile.mkdtemp(prefix="halpmc-sequence-"))
    numbers = count(1)
    try:
        say(f"starting {definition.title} ({definition.kind})")
        starter.prepare(folder)
        with SequenceRunner(lambda: starter.start(folder / str(next(numbers)))) as runner:
            trace, _ = runner.run(steps)
    except HalpmcError as error:
        error.evidence["logs"] = str(folder)
        raise
    shutil.rmtree(folder)
    if as_json:
        calls = [asdict(line) for line in trace]
        result = {"schema_version": 1, "cell": cell.id, "guest_kind": str(definition.kind), "calls": calls}
        print(json.dumps(result, indent=2))
    else:
        for line in trace:
            print(line)
    return EXIT_VIOLATION if trace[-1].wrong else EXIT_OK
