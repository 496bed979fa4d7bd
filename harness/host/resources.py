"""What this host can give to VMs: memory and CPUs, as far as the control groups of this process let it have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")
MIB = 1 << 20


@dataclass(frozen=True)
class HostResources:
    """Memory in MiB: all that this process and its children may ever use, and what is free of it now; CPUs.

    `limited_by` names the control group whose limit is the tightest on memory; empty when the host itself is.
    """

    memory_mib: int
    available_mib: int
    cpus: float
    limited_by: str = ""


class _Group(NamedTuple):
    """A control group of this process: its folder, and whether it is of version 2."""

    folder: Path
    unified: bool


def read_resources(root: Path = ROOT) -> HostResources:
    """The host's resources from /proc and /sys below `root`, limits of control groups (both versions) applied."""
    info = _numbers((root / "proc/meminfo").read_text())
    total, available = info["MemTotal"] // 1024, info["MemAvailable"] // 1024
    limited_by = ""
    for group in _groups(root, "memory"):
        limit = _memory_limit(group)
        if limit is None:
            continue
        available = min(available, max(0, limit - _memory_used(group)) // MIB)
        if limit // MIB < total:
            total, limited_by = limit // MIB, f"/{group.folder.relative_to(root)}"
    cpus = float(_allowed_cpus(root))
    for group in _groups(root, "cpu"):
        cpus = min(cpus, _cpu_limit(group) or cpus)
    return HostResources(total, available, cpus, limited_by)


def read_text(path: Path) -> str:
    """The text of a file of the kernel without its line end; empty when there is none or it may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _numbers(table: str) -> dict[str, int]:
    """Lines such as `MemTotal:  123 kB` and `inactive_file 123`, by name."""
    return {name: int(value) for name, value in re.findall(r"^(\w+):?\s+(\d+)", table, re.MULTILINE)}


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """The groups of this process that a controller has, the process's own first, then those above it.

    A container may see its own group as the root of the mounted tree, or only from there on.
    """
    mounts = [line.split(" - ", 1) for line in read_text(root / "proc/self/mountinfo").splitlines()]
    for line in read_text(root / "proc/self/cgroup").splitlines():
        number, controllers, own = line.split(":", 2)
        unified = number == "0"
        if not unified and controller not in controllers.split(","):
            continue
        for place, kind in mounts:
            tree, point = place.split()[3:5]
            filesystem, _source, options = kind.split(" ", 2)
            if filesystem != ("cgroup2" if unified else "cgroup"):
                continue
            if not unified and controller not in options.split(","):
                continue
            top = root / point.lstrip("/")
            inside = own.removeprefix(tree).strip("/") if own.startswith(tree) else ""
            folder = top / inside
            while folder != top:
                yield _Group(folder, unified)
                folder = folder.parent
            yield _Group(top, unified)
            break


def _memory_limit(group: _Group) -> int | None:
    """Bytes, or None when the group has no limit of its own."""
    text = read_text(group.folder / ("memory.max" if group.unified else "memory.limit_in_bytes"))
    return int(text) if text.isdigit() else None


def _memory_used(group: _Group) -> int:
    """Bytes that are in use and cannot be taken back at once: files that nobody looks at are dropped first."""
    used = read_text(group.folder / ("memory.current" if group.unified else "memory.usage_in_bytes"))
    stat = _numbers(read_text(group.folder / "memory.stat"))
    idle = stat.get("inactive_file" if group.unified else "total_inactive_file", 0)
    return max(0, int(used or 0) - idle)


def _allowed_cpus(root: Path) -> int:
    """How many CPUs the scheduler may put this process on."""
    found = re.search(r"^Cpus_allowed_list:\s*(\S+)$", read_text(root / "proc/self/status"), re.MULTILINE)
    ranges = re.findall(r"(\d+)(?:-(\d+))?", found.group(1)) if found else []
    return max(1, sum(int(last or first) - int(first) + 1 for first, last in ranges))


def _cpu_limit(group: _Group) -> float | None:
    """CPUs' worth of time, or None when the group has no limit of its own."""
    if group.unified:
        quota, _, period = read_text(group.folder / "cpu.max").partition(" ")
    else:
        quota = read_text(group.folder / "cpu.cfs_quota_us")
        period = read_text(group.folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
