"""All checks of this host, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from harness.caching import Say
from harness.config.models import Arch
from harness.doctor.accelerators import check_accelerator
from harness.doctor.finding import Finding, Status, failed
from harness.doctor.packages import check_packages
from harness.doctor.programs import check_qemu, check_tools
from harness.doctor.space import check_disks, check_memory
from harness.doctor.store import check_cache, check_guests
from harness.doctor.vpmu import check_vpmu
from harness.doctor.windows import check_windows_parts
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, HalpmcError
from harness.host.kernel import read_kernel
from harness.host.ledger import ledger_folder, living
from harness.host.resources import ROOT, read_resources


def examine(runs_dir: Path, *, say: Say, root: Path = ROOT) -> list[Finding]:
    """Every finding, in a fixed order. What the kernel tells is read from /proc and /sys below `root`.

    A check that ends in an error is a finding that failed; the others go on.
    """
    found: list[Finding] = []

    def check(title: str, run: Callable[[], Iterable[Finding]]) -> None:
        say(title)
        try:
            found.extend(run())
        except HalpmcError as error:
            found.append(failed(title.replace(" ", "."), error))

    check("tools", check_tools)
    check("packages", check_packages)
    for arch in Arch:
        check(f"qemu {arch}", partial(check_qemu, arch))
    for arch in Arch:
        check(f"accelerator {arch}", partial(check_accelerator, arch, say))
    check("vpmu", lambda: check_vpmu(read_kernel(root)))
    promised = [entry for _, entry in living(ledger_folder())]
    check("memory", lambda: check_memory(read_resources(root), promised))
    check("disk", lambda: check_disks(runs_dir))
    check("cache", check_cache)
    check("windows", check_windows_parts)
    check("guest", check_guests)
    return found


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing failed, else 3: a warning is a limit, and does not fail."""
    failed_ = any(finding.status is Status.FAIL for finding in findings)
    return EXIT_INFRASTRUCTURE if failed_ else EXIT_OK
