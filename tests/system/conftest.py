"""What the system tests share: runs of `halpmc` as a user starts them, on small matrices of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.driver.build import build_driver
from harness.imaging.store import find_guest
from harness.paths import cache_dir
from harness.probe.build import build_probe
from harness.report.summary import Summary, summarize

# A shell that starts this in the background ignores Ctrl-C for it and for every child. The children are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

HALPMC = [sys.executable, "-m", "harness.cli"]


def cache_without_templates(home: Path) -> Path:
    """A cache of its own: everything but templates comes from the real one, by links.

    Templates made in it name the images by these links, and are of no use to anybody else.
    """
    find_guest("embedded")
    build_driver(Arch.X86_64)
    build_probe(Arch.X86_64)
    cache = home / "cache"
    cache.mkdir()
    for kind in ("guests", "driver", "probe"):
        (cache / kind).symlink_to(cache_dir() / kind)
    return cache


@pytest.fixture
def write_matrix(tmp_path: Path) -> Callable[[str], Path]:
    """Write a matrix file; its text comes without the two lines that every matrix has."""

    def write(text: str) -> Path:
        path = tmp_path / "matrix.yaml"
        path.write_text(f"schema: 1\nname: test\n{text}")
        return path

    return write


@pytest.fixture
def run_matrix(tmp_path: Path) -> Callable[..., tuple[int, Summary, str]]:
    """Run `halpmc run` to its end: exit code, summary, output."""

    def run(matrix: Path, *options: str) -> tuple[int, Summary, str]:
        done = subprocess.run(
            [*HALPMC, "run", str(matrix), "--runs-dir", str(tmp_path / "runs"), *options],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        folders = sorted((tmp_path / "runs").glob("*/")) if (tmp_path / "runs").exists() else []
        assert folders, done.stdout + done.stderr
        return done.returncode, summarize(folders[-1]), done.stdout + done.stderr

    return run
