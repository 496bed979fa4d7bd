"""The pages as a site (mkdocs.yml), built into a folder of a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.deadlines import timeout_factor
from harness.paths import project_root


def build(into: Path, checkout: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What ci/test does, with another folder for the site.

    With --quiet MkDocs would count no warning, and --strict would fail nothing.
    """
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", into],
        cwd=checkout or project_root(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120 * timeout_factor(),
    )
