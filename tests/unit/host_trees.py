"""Recorded hosts: the files of /proc and /sys that the readers look at, written below a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1000 kB\nMemAvailable:    8192000 kB\nSwapTotal: 0 kB\n"
EVERY_HOST = {"proc/meminfo": MEMINFO, "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-3,8-11\n"}


def write_tree(root: Path, *trees: Mapping[str, str]) -> Path:
    """Write the files of all trees below `root`, the later ones over the earlier; returns `root`."""
    for tree in trees:
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root
