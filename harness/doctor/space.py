"""Checks of memory and disk space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from harness.caching import GIB
from harness.config.models import Accel, Cell
from harness.doctor.finding import Finding, fail, ok, warn
from harness.host.ledger import Entry
from harness.host.resources import HostResources
from harness.host.slots import VCPUS_PER_CPU, capacity_mib, vm_needs
from harness.imaging.embedded import SPACE_NEEDED
from harness.paths import CACHE_VARIABLE, cache_dir
from harness.runs.folder import NEEDED_BYTES
from harness.vm.vm import OVERLAY_DIR

#: A guest that is installed or updated writes this much into its overlay; a test guest far less.
OVERLAY_WANTED = 2 * GIB
IN_MEMORY = ("tmpfs", "ramfs")


def check_memory(host: HostResources, promised: Sequence[Entry]) -> Iterator[Finding]:
    """Memory and CPUs for VMs, and what other runs have been promised."""
    cell = Cell(id="default")
    need = vm_needs(cell.memory_mib, cell.smp, Accel.TCG, cell.pmu)
    fit = capacity_mib(host) // need.memory_mib
    limit = f" (limit of {host.limited_by})" if host.limited_by else ""
    detail = (
        f"{host.memory_mib} MiB{limit}, {host.available_mib} MiB free: memory for {fit} VMs of {cell.memory_mib} MiB "
        f"under TCG, {need.memory_mib} MiB each with QEMU's own"
    )
    granted = [entry for entry in promised if entry.granted]
    if granted:
        detail += (
            f"; {sum(entry.memory_mib for entry in granted)} MiB are promised to {len(granted)} running VMs"
        )
    if not fit:
        yield fail("memory", detail, "use a host, or a container, with more memory")
    elif host.available_mib < need.memory_mib:
        yield warn("memory", detail, "end other programs: cells wait until their memory is free")
    else:
        yield ok("memory", detail)
    at_once = max(1, int(VCPUS_PER_CPU * host.cpus) // cell.smp)
    yield ok("cpus", f"{host.cpus:g} CPUs: {at_once} VMs with {cell.smp} vCPUs at a time with -j auto")


def check_disks(runs_dir: Path) -> Iterator[Finding]:
    """The three places that halpmc writes to."""
    move = f"free some space, or set {CACHE_VARIABLE} to a folder on a larger disk"
    yield judge_disk("disk.cache", cache_dir(), NEEDED_BYTES, SPACE_NEEDED, move)
    yield judge_disk("disk.runs", runs_dir, NEEDED_BYTES, NEEDED_BYTES, "free some space, or use --runs-dir")
    overlays = Path(os.environ.get("TMPDIR", OVERLAY_DIR))
    move = "free some space, or set TMPDIR to a folder on a larger disk"
    yield judge_disk("disk.overlays", overlays, NEEDED_BYTES, OVERLAY_WANTED, move)


def judge_disk(check: str, folder: Path, needed: int, wanted: int, remedy: str) -> Finding:
    """Whether a folder, which may not exist yet, can be written and has the space, in bytes."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    kind = _file_system(existing)
    detail = f"{folder}: {free / GIB:.1f} GiB free on {kind}"
    if not os.access(existing, os.W_OK | os.X_OK):
        return fail(check, f"{detail}; this user may not write there", remedy)
    if free < needed:
        return fail(check, f"{detail}; {needed / GIB:.2g} GiB are needed", remedy)
    if free < wanted:
        return warn(check, f"{detail}; {wanted / GIB:.2g} GiB are better", remedy)
    if kind in IN_MEMORY:
        return warn(check, f"{detail}, which takes the memory that VMs need", remedy)
    return ok(check, detail)


def _file_system(folder: Path) -> str:
    """The kind of the file system that a folder is on."""
    resolved = folder.resolve()
    mounts = [
        mount for mount in psutil.disk_partitions(all=True) if resolved.is_relative_to(mount.mountpoint)
    ]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "an unknown file system"
