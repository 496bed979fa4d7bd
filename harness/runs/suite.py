"""The contract suite as a process of its own: pytest with the options of no other project."""

from __future__ import annotations

import os
import sys

from harness.paths import contract_suite, project_root


def suite_command(*options: str) -> list[str]:
    """The argument vector that runs the suite with these options; those of the project's own tests do not reach it."""
    return [
        *(sys.executable, "-m", "pytest", str(contract_suite())),
        *("-v", "-p", "no:cacheprovider", "--tb=short"),
        *("-p", "no:hypothesispytest"),  # importing it takes longer than collecting the suite
        *("-c", os.devnull, f"--rootdir={project_root()}"),
        *options,
    ]
