"""Builds the guest's binaries (test driver, client, reference HAL) by CMake and the pinned zig toolchain."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cmake
import ninja

from harness.caching import Say, cached, content_hash
from harness.config.models import Arch
from harness.deadlines import Deadline
from harness.paths import driver_sources
from harness.toolchain import run_build, zig_program

BUILD_DEADLINE_S = 600.0
NEEDS_BYTES = 64 << 20
SYS, CLIENT, HAL = "pmctest.sys", "pmcctl.exe", "hal.dll"

#: What the binaries are made from; the folders of guest_driver that make other things stay out of the hash.
SOURCES = ("CMakeLists.txt", "cmake", "include", "pmu", "driver", "client", "reference_hal")
TOOLS = ("ziglang", "cmake", "ninja")


@dataclass(frozen=True)
class BuiltFile:
    """A binary and its SHA-256 in hexadecimal digits."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class DriverBuild:
    """The guest's binaries. `digest` names the sources and tools that they come from."""

    folder: Path
    digest: str
    sys: BuiltFile
    client: BuiltFile
    hal: BuiltFile

    @property
    def files(self) -> tuple[BuiltFile, ...]:
        """All of them."""
        return self.sys, self.client, self.hal


def build_driver(arch: Arch = Arch.X86_64, *, say: Say = lambda _: None) -> DriverBuild:
    """Build for an architecture, or take what the same sources and tools gave before.

    Raises BuildError with the compiler's last lines, DeadlineExceeded, CacheBusy, NoSpace, ToolMissing.
    """
    sources = driver_sources()
    versions = [f"{tool} {metadata.version(tool)}" for tool in TOOLS]
    # One digest per name: folders are hashed by their members' names, so two of them must not be mixed up.
    parts = [f"{name} {content_hash([sources / name])}" for name in SOURCES]
    digest = content_hash([], [arch.value, *versions, *parts])

    def build(folder: Path) -> None:
        say(f"building the test driver for {arch}")
        work = folder / "work"
        _compile(arch, sources, work)
        for name in (SYS, CLIENT, HAL):
            shutil.move(work / name, folder / name)
        shutil.rmtree(work)

    folder = cached("driver", arch.value, digest, build, needs_bytes=NEEDS_BYTES, say=say)
    return DriverBuild(
        folder=folder,
        digest=digest,
        sys=hashed(folder / SYS),
        client=hashed(folder / CLIENT),
        hal=hashed(folder / HAL),
    )


def hashed(path: Path) -> BuiltFile:
    """A file with its hash as it is now."""
    return BuiltFile(path, hashlib.sha256(path.read_bytes()).hexdigest())


def _compile(arch: Arch, sources: Path, work: Path) -> None:
    deadline = Deadline(f"building the test driver for {arch}", BUILD_DEADLINE_S)
    programs = Path(ninja.BIN_DIR) / "ninja", Path(cmake.CMAKE_BIN_DIR) / "cmake"
    ninja_program, cmake_program = (str(program) for program in programs)
    run_build(
        [
            cmake_program,
            *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja_program}"),
            *("-S", str(sources), "-B", str(work)),
            f"-DCMAKE_TOOLCHAIN_FILE={sources / 'cmake' / 'zig-windows.cmake'}",
            f"-DHALPMC_ARCH={arch}",
            f"-DHALPMC_ZIG={zig_program()}",
        ],
        deadline,
    )
    run_build([ninja_program, "-C", str(work)], deadline)
