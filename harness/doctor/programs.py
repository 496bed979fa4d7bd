"""Checks of the programs: tools with their packages, and what QEMU can do."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from harness import __version__
from harness.config.models import Arch
from harness.doctor.finding import Finding, fail, failed, ok, warn
from harness.errors import HalpmcError
from harness.host.qemu import QemuFeatures, ask_qemu
from harness.host.tools import package_of, qemu_binary, require_tool, tool_version
from harness.imaging.embedded import ARCH_TOOLS
from harness.imaging.embedded import TOOLS as IMAGE_TOOLS
from harness.toolchain import zig_program
from harness.vm.command_line import SANDBOX

RUN_TOOLS = ("qemu-system-x86_64", "qemu-system-aarch64", "qemu-img", "setpriv", "sh", "osslsigncode")
UPGRADE = "install QEMU 7.2 or newer from your distribution"

MACHINES = {Arch.X86_64: ("q35",), Arch.AARCH64: ("virt",)}
#: Without these no VM starts or no probe answers.
_PCI = frozenset({"virtio-blk-pci", "virtio-net-pci", "virtio-rng-pci", "pvpanic-pci"})
NEEDED = {
    Arch.X86_64: _PCI | {"isa-debugcon", "isa-debug-exit", "isa-serial"},
    Arch.AARCH64: _PCI | {"pci-serial"},
}
#: Without these evidence of a crash is poorer.
WANTED = frozenset({"vmcoreinfo"})


def programs(*, root: bool) -> tuple[str, ...]:
    """Every program that runs and the recipes of embedded guests start, once."""
    mapping = () if root else ("newuidmap",)  # only builds without root need it
    building = (*IMAGE_TOOLS, *(tool for tools in ARCH_TOOLS.values() for tool in tools), *mapping)
    return tuple(dict.fromkeys((*RUN_TOOLS, *building)))


def check_tools() -> Iterator[Finding]:
    """Every program that halpmc starts: where it is, its version, the Debian package that brings it."""
    yield ok("python", f"Python {platform.python_version()}, halpmc {__version__}")
    try:
        yield ok(
            "tool.zig", f"zig {metadata.version('ziglang')}, {zig_program()}, from the package ziglang (pip)"
        )
    except HalpmcError as error:
        yield failed("tool.zig", error)
    for name in programs(root=os.geteuid() == 0):
        try:
            path = require_tool(name)
            version = tool_version(path)
        except HalpmcError as error:
            yield failed(f"tool.{name}", error)
        else:
            yield ok(f"tool.{name}", f"{version or 'tells no version'}; {path}, package {package_of(name)}")


def check_qemu(arch: Arch) -> Iterator[Finding]:
    """What the emulator of an architecture says about itself. Raises ToolMissing, QemuError, DeadlineExceeded."""
    yield from judge_qemu(arch, ask_qemu(qemu_binary(arch), SANDBOX))


def judge_qemu(arch: Arch, features: QemuFeatures) -> Iterator[Finding]:
    """Compare what QEMU has with what the harness uses."""
    name = f"qemu.{arch}"
    accelerators = ", ".join(sorted(features.accelerators)) or "none"
    if "tcg" in features.accelerators:
        yield ok(f"{name}.accelerators", f"compiled in: {accelerators}")
    else:
        yield warn(f"{name}.accelerators", f"compiled in: {accelerators}; no tcg", UPGRADE)
    if missing := sorted(set(MACHINES[arch]) - features.machines):
        yield fail(f"{name}.machines", f"missing: {', '.join(missing)}", UPGRADE)
    else:
        yield ok(f"{name}.machines", f"{', '.join(MACHINES[arch])} and {len(features.machines) - 1} others")
    if missing := sorted(NEEDED[arch] - features.devices):
        yield fail(f"{name}.devices", f"missing: {', '.join(missing)}", UPGRADE)
    elif missing := sorted(WANTED - features.devices):
        yield warn(f"{name}.devices", f"missing: {', '.join(missing)}; dumps of a guest are poorer", UPGRADE)
    else:
        yield ok(f"{name}.devices", f"{', '.join(sorted(NEEDED[arch] | WANTED))}")
    if "x-ignore-shared" in features.migration:
        yield ok(f"{name}.migration", "x-ignore-shared: cells can start as clones")
    else:
        yield warn(
            f"{name}.migration",
            "no x-ignore-shared: no cell can start as a clone",
            f"{UPGRADE}, or write start: cold",
        )
    if features.sandbox_refusal:
        yield fail(
            f"{name}.sandbox", f"-sandbox is refused: {features.sandbox_refusal}", "use a QEMU with seccomp"
        )
    else:
        yield ok(f"{name}.sandbox", f"-sandbox {SANDBOX}")
