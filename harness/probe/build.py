"""Builds the PMU probe: a freestanding image per guest architecture, by the pinned zig toolchain."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.caching import Say, cached, content_hash
from harness.config.models import Arch
from harness.deadlines import Deadline
from harness.paths import driver_sources
from harness.toolchain import zig

BUILD_DEADLINE_S = 300.0
COMMON_FLAGS = (
    "-std=c11",
    "-O2",
    "-s",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pic",
    "-fno-pie",
    "-nostdlib",
    "-static",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--build-id=none",
)


@dataclass(frozen=True)
class _Platform:
    """How the probe is built for one architecture. `raw`: a bare memory image instead of an ELF file."""

    folder: str
    image: str
    flags: tuple[str, ...]
    raw: bool


PLATFORMS = {
    # QEMU's multiboot loader takes 32-bit ELF files. i686 has no SSE, which would have to be enabled first.
    Arch.X86_64: _Platform("x86", "probe.elf", ("-target", "x86-freestanding", "-mcpu=i686"), raw=False),
    # Without the MMU memory is of device type: no unaligned access. No FP registers: they would trap.
    Arch.AARCH64: _Platform(
        "arm64",
        "probe.img",
        ("-target", "aarch64-freestanding", "-mcpu=generic-fp_armv8-neon", "-mstrict-align"),
        raw=True,
    ),
}


def build_probe(arch: Arch, *, say: Say = lambda _: None) -> Path:
    """The probe's image for QEMU's -kernel, built once per content of its sources and cached.

    Raises BuildError with the compiler's output, DeadlineExceeded, CacheBusy, NoSpace.
    """
    target = PLATFORMS[arch]
    sources = driver_sources()
    digest = content_hash(
        [sources / "pmu", sources / "probe"], [repr(target), *COMMON_FLAGS, metadata.version("ziglang")]
    )

    def build(folder: Path) -> None:
        say(f"building the PMU probe for {arch}")
        _compile(target, sources, folder)

    return cached("probe", arch.value, digest, build, say=say) / target.image


def _compile(target: _Platform, sources: Path, folder: Path) -> None:
    home = sources / "probe" / target.folder
    inputs = [home / "start.S", *sorted(home.glob("*.c")), sources / "probe" / "probe.c"]
    inputs += sorted((sources / "pmu").glob("*.c"))
    elf = folder / ("linked.elf" if target.raw else target.image)
    deadline = Deadline("building the PMU probe", BUILD_DEADLINE_S)
    script = ("-T", str(home / "link.ld"))
    zig(["cc", *target.flags, *COMMON_FLAGS, *script, *map(str, inputs), "-o", str(elf)], deadline)
    if target.raw:
        zig(["objcopy", "-O", "binary", str(elf), str(folder / target.image)], deadline)
        elf.unlink()
