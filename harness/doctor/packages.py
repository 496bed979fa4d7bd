"""Which Debian packages the host lacks, all in one command: for those who have no checkout, hence no ci/bootstrap."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harness.config.models import Arch, Firmware
from harness.doctor.finding import Finding, fail, ok, warn
from harness.doctor.programs import MACHINES, programs
from harness.errors import ToolMissing
from harness.host.tools import package_of, require_tool
from harness.imaging.embedded import KBUILD
from harness.vm.firmware import PACKAGES as FIRMWARE_PACKAGES
from harness.vm.firmware import find_uefi
from harness.vm.tpm import PROGRAM as TPM

#: Packages that are known by a file: the recipes of the embedded guests name it.
FILES = {"syslinux-common": Path("/usr/lib/syslinux/mbr/mbr.bin"), KBUILD.name: KBUILD}
#: Packages that have no program of their own which is called here, and the one that they go with.
COMPANIONS = {"qemu-system-x86": ("seabios",), TPM: ("swtpm-tools",)}
WINDOWS_PROGRAMS = (TPM, "wimlib-imagex")
OS_RELEASE = Path("/etc/os-release")


def needed_packages(*, root: bool) -> frozenset[str]:
    """All packages that runs and embedded guests need, as Debian 12 calls them. `root`: of a user who is root."""
    return _with_companions([*map(package_of, programs(root=root)), *FILES])


def windows_packages() -> frozenset[str]:
    """What only Windows guests need."""
    return _with_companions([*map(package_of, WINDOWS_PROGRAMS), *FIRMWARE_PACKAGES.values()])


def check_packages(os_release: Path = OS_RELEASE) -> Iterator[Finding]:
    """One finding over all that is missing, whose remedy is one command."""
    root = os.geteuid() == 0
    missing = {package_of(name) for name in programs(root=root) if _lacks(require_tool, name)}
    missing |= {package for package, file in FILES.items() if not file.exists()}
    windows = {package_of(name) for name in WINDOWS_PROGRAMS if _lacks(require_tool, name)}
    windows |= {
        FIRMWARE_PACKAGES[arch]
        for arch in Arch
        for kind in (Firmware.UEFI, Firmware.SECURE_BOOT)
        if _lacks(find_uefi, arch, kind, MACHINES[arch][0])
    }
    command = install_command(_with_companions(missing | windows), os_release, root=root)
    if missing:
        yield fail("packages", f"missing: {', '.join(sorted(_with_companions(missing)))}", command)
    elif windows:
        yield warn("packages", f"missing, for Windows guests alone: {', '.join(sorted(windows))}", command)
    else:
        yield ok("packages", f"all {len(needed_packages(root=root) | windows_packages())} are there")


def install_command(packages: Iterable[str], os_release: Path = OS_RELEASE, *, root: bool) -> str:
    """The command that installs these packages; where the distribution is no Debian, what Debian 12 calls them."""
    names = " ".join(sorted(packages))
    try:
        text = os_release.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    if not re.search(r"^ID(_LIKE)?=.*\bdebian\b", text, re.MULTILINE):
        return f"install what Debian 12 calls: {names}"
    return f"{'' if root else 'sudo '}apt-get install --no-install-recommends {names}"


def _with_companions(packages: Iterable[str]) -> frozenset[str]:
    found = frozenset(packages)
    return found.union(*(COMPANIONS.get(name, ()) for name in found))


def _lacks(look: Callable[..., object], *arguments: object) -> bool:
    try:
        look(*arguments)
    except ToolMissing:
        return True
    return False
