"""The contract suite as a process of its own: pytest with the options of no other project."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.paths import contract_suite


def suite_command(*options: str) -> list[str]:
    """The argument vector that runs the suite with these options; those of the project's own tests do not reach it."""
    return [
        *(sys.executable, "-P"),  # whatever packages lie in the folder that we are in, they are not ours
        *("-m", "pytest", str(contract_suite())),
        *("-v", "-p", "no:cacheprovider", "--tb=short"),
        *("-p", "no:hypothesispytest"),  # importing it takes longer than collecting the suite
        *("-c", os.devnull, f"--rootdir={contract_suite()}"),
        *options,
    ]


def recorded_name(path: Path, nodeid: str) -> str:
    """A test's id for records: one of the suite has the same, wherever the suite and the session's root are."""
    suite, file = contract_suite(), path.resolve()
    if not file.is_relative_to(suite):
        return nodeid
    return f"tests/contract/{file.relative_to(suite).as_posix()}::{nodeid.partition('::')[2]}"
