"""Programs of the host with the Debian packages that bring them, and the facts about the host for records."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from harness.config.models import Arch
from harness.deadlines import timeout_factor
from harness.errors import DeadlineExceeded, InfrastructureError, QemuError, ToolMissing

# Debian 12's package for each program. A program that is not listed has the name of its package.
PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-objcopy": "binutils-aarch64-linux-gnu",
    "debugfs": "e2fsprogs",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "e2fsck": "e2fsprogs",
    "extlinux": "extlinux",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mke2fs": "e2fsprogs",
    "mmd": "mtools",
    "modprobe": "kmod",
    "newuidmap": "uidmap",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "sfdisk": "fdisk",
    "sh": "dash",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "x86_64-w64-mingw32-objcopy": "binutils-mingw-w64-x86-64",
    "x86_64-w64-mingw32-strip": "binutils-mingw-w64-x86-64",
    "wimlib-imagex": "wimtools",
    "xz": "xz-utils",
}
# How a program is asked for its version, where that is not --version; None: it has no way to tell.
VERSION_OPTIONS = {"mke2fs": "-V", "newuidmap": None, "sh": None, "ssh": "-V", "ssh-keygen": None}
# Debian keeps these out of the PATH of ordinary users, yet they work for them.
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
VERSION_WAIT_S = 10.0


def require_tool(name: str) -> Path:
    """The path of a program, from PATH or the sbin folders. Raises ToolMissing with the Debian package."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS]))
    if found is None:
        raise ToolMissing(name, package_of(name))
    return Path(found).absolute()


def run_tool(
    command: Sequence[str | Path],
    what: str,
    limit_s: float,
    *,
    said_to_it: str = "",
    stderr: int = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its status with what it said; bytes that are no text are replaced.

    Raises DeadlineExceeded, which names `what`; OSError when it does not run.
    """
    limit = limit_s * timeout_factor()
    try:
        return subprocess.run(
            command,
            input=said_to_it,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=pass_fds,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(what, limit) from None


def qemu_binary(arch: Arch) -> Path:
    """The system emulator of an architecture. Raises ToolMissing."""
    return require_tool(f"qemu-system-{arch.value}")


def qemu_version(arch: Arch) -> str:
    """The version of QEMU with its distribution's suffix, as in "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)".

    Raises ToolMissing; QemuError when the program does not answer like QEMU; DeadlineExceeded.
    """
    return _version_of(qemu_binary(arch))


@functools.cache
def _version_of(qemu: Path) -> str:
    try:
        answer = run_tool([qemu, "--version"], f"{qemu} --version", VERSION_WAIT_S)
    except OSError as error:
        raise QemuError(f"{qemu} does not run: {error.strerror}", remedy="reinstall QEMU") from error
    found = re.match(r"QEMU emulator version (\S+(?: \([^)\n]*\))?)", answer.stdout)
    if answer.returncode != 0 or found is None:
        raise QemuError(
            f"{qemu} --version does not answer like QEMU",
            remedy="reinstall QEMU",
            evidence={"stdout": answer.stdout[-2000:], "stderr": answer.stderr[-2000:]},
        )
    return found.group(1)


def tool_version(path: Path) -> str:
    """The first line in which a program tells its version, on either output; empty when it tells none.

    Raises DeadlineExceeded, InfrastructureError when it does not run.
    """
    option = VERSION_OPTIONS.get(path.name, "--version")
    if option is None:
        return ""
    try:
        answer = run_tool([path, option], f"{path} {option}", VERSION_WAIT_S, stderr=subprocess.STDOUT)
    except OSError as error:
        raise InfrastructureError(
            f"{path} does not run: {error.strerror}", remedy=f"reinstall {package_of(path.name)}"
        ) from error
    lines = (line.strip() for line in answer.stdout.splitlines())
    return next((line for line in lines if re.search(r"\d+\.\d+|version \d+", line)), "")


def package_of(tool: str) -> str:
    """The Debian 12 package that brings a program."""
    return PACKAGES.get(tool, tool)


def host_arch() -> Arch | None:
    """The host's own architecture, or None when it is none that guests have."""
    return {"x86_64": Arch.X86_64, "amd64": Arch.X86_64, "aarch64": Arch.AARCH64, "arm64": Arch.AARCH64}.get(
        platform.machine().lower()
    )


def cpu_model() -> str:
    """The host CPU's name as the kernel tells it; "unknown" where it tells none, as on most ARM hosts."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def host_facts() -> dict[str, str]:
    """What a run's record says about the host: kernel, CPU, memory, and versions of the tools that matter.

    A missing emulator is a fact ("not installed"), not an error.
    """
    facts = {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": str(os.cpu_count() or 0),
        "memory_mib": str(psutil.virtual_memory().total >> 20),
        "python": platform.python_version(),
        "halpmc": metadata.version("halpmc"),
    }
    for arch in Arch:
        try:
            facts[f"qemu-{arch.value}"] = qemu_version(arch)
        except ToolMissing:
            facts[f"qemu-{arch.value}"] = "not installed"
    return facts
