"""Builds the embedded guest: Debian, OpenSSH and Wine on one disk (images/embedded)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness.caching import GIB, Say, cached
from harness.config.models import Arch, GuestDefinition
from harness.deadlines import Deadline
from harness.errors import BuildError, ToolMissing
from harness.host.tools import require_tool
from harness.imaging.manifest import FILE_NAME, Manifest, sha256_of
from harness.imaging.process import run_recipe
from harness.imaging.recipe import KIND, Recipe, recipe_of
from harness.imaging.store import DISK, HOST_KEY, INITRD, KERNEL, KEY, GuestImage, open_image
from harness.toolchain import zig, zig_package

BUILD_LIMIT_S = 1500.0
HELPER_LIMIT_S = 300.0
KEY_LIMIT_S = 30.0
SPACE_NEEDED = 3 * GIB

#: Programs that the recipe calls, each checked before anything is done.
TOOLS = (
    "mmdebstrap",
    "dpkg-deb",
    "depmod",
    "modprobe",
    "cpio",
    "mke2fs",
    "qemu-img",
    "unshare",
    "setpriv",
    "ssh-keygen",
)
ARCH_TOOLS = {
    Arch.X86_64: ("x86_64-w64-mingw32-objcopy", "mformat", "mcopy", "syslinux"),
    Arch.AARCH64: (
        *("aarch64-linux-gnu-objcopy", "mformat", "mmd", "mcopy"),
        *("aarch64-linux-gnu-gcc", "make", "qemu-system-aarch64"),
    ),
}
#: The build tools of the kernel's modules, which are in no PATH. The series is that of the guest's kernel.
KBUILD = Path("/usr/lib/linux-kbuild-6.1")

#: Programs of the guest, and the sources of each.
HELPERS = {"winsh": ("winsh.c",), "bugcheck": ("bugcheck.c", "crash_dump.c")}
#: No C run-time library and no start files: the helpers use kernel32 alone, which makes them start faster.
HELPER_FLAGS = (
    *("-std=c17", "-Os", "-s"),
    *("-Wall", "-Wextra", "-Werror", "-fno-stack-protector", "-nostdlib"),
)


def build_guest(definition: GuestDefinition, *, say: Say = lambda _: None) -> GuestImage:
    """The image of a guest, built when it is not in the store yet.

    Raises UsageError (no such recipe), ToolMissing, NoSpace, CacheBusy, BuildError, DeadlineExceeded.
    """
    recipe = recipe_of(definition)

    def build(folder: Path) -> None:
        _build(definition, recipe, folder, say)

    folder = cached(KIND, definition.name, recipe.digest, build, needs_bytes=SPACE_NEEDED, say=say)
    return open_image(definition, folder)


def _build(definition: GuestDefinition, recipe: Recipe, folder: Path, say: Say) -> None:
    for tool in (*TOOLS, *ARCH_TOOLS[recipe.arch]):
        require_tool(tool)
    if recipe.arch is Arch.AARCH64 and not KBUILD.is_dir():
        raise ToolMissing(str(KBUILD), KBUILD.name)
    mode = "root" if os.geteuid() == 0 else "unshare"
    if mode == "unshare" and shutil.which("newuidmap") is None:
        raise ToolMissing("newuidmap", "uidmap")
    title = f"building guest {definition.name}"
    work, result = folder / "work", folder / "result"
    staged = work / "input"
    staged.mkdir(parents=True)
    result.mkdir()
    say(f"{title}: helper programs")
    for helper, sources in HELPERS.items():
        compile_helper(
            [recipe.folder / "src" / name for name in sources], staged / f"{helper}.exe", recipe.arch
        )
    make_key(folder / KEY, definition.name)
    shutil.copyfile(folder / f"{KEY}.pub", staged / "authorized_keys")
    shutil.copytree(recipe.folder, staged / "recipe")
    for copied in (staged / "recipe", *(staged / "recipe").rglob("*")):
        if copied.is_dir():  # of an installed wheel nothing can be written to, nor removed from its copies
            copied.chmod(0o755)

    # As root all temporary files are in our own folder, so that even SIGKILL leaves none that is not swept up later. In
    # mode unshare they must be where mmdebstrap's mapped user may go.
    environment = {"TMPDIR": str(work)} if mode == "root" else {}
    stages = run_recipe(
        ["sh", staged / "recipe" / "build.sh", mode, recipe.arch, recipe.suite, staged, result],
        environment=environment,
        log=folder / f"{title}.log",
        limit_s=BUILD_LIMIT_S,
        first_stage="debian",
        say=say,
    )
    (folder / f"{title}.log").rename(folder / "build.log")
    boot = (KERNEL, INITRD) if (result / KERNEL).is_file() else ()
    for name in (DISK, HOST_KEY, *boot):
        (result / name).rename(folder / name)
    (folder / DISK).chmod(0o444)
    options = (result / "append").read_text().strip() if boot else None
    manifest = _manifest(
        definition, recipe, folder, _packages(result / "packages.tsv"), mode, stages, options
    )
    (folder / FILE_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    shutil.rmtree(work)
    shutil.rmtree(result)


def compile_helper(sources: Sequence[Path], program: Path, arch: Arch) -> None:
    """A small Windows program without a C library: `NAME.exe` starts at NAME_main, and has kernel32 alone.

    zig leaves its Windows headers out with -nostdlib: they are named to it. Raises BuildError, DeadlineExceeded.
    """
    headers = zig_package() / "lib" / "libc" / "include" / "any-windows-any"
    entry = f"-Wl,-e,{program.stem}_main"
    zig(
        [
            "cc",
            "-target",
            f"{arch}-windows-gnu",
            *HELPER_FLAGS,
            "-isystem",
            str(headers),
            entry,
            "-o",
            str(program),
            *map(str, sources),
            "-lkernel32",
        ],
        Deadline(f"compiling {program.name}", HELPER_LIMIT_S),
    )


def make_key(path: Path, comment: str) -> None:
    """A new SSH key pair at `path` and `path`.pub. Raises BuildError, ToolMissing."""
    done = subprocess.run(
        [require_tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", f"halpmc {comment}", "-f", path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=KEY_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError("ssh-keygen made no key", remedy="see its output", evidence={"stderr": done.stderr})


def _packages(table: Path) -> dict[str, str]:
    return dict(sorted(line.split("\t") for line in table.read_text().splitlines()))


def _manifest(
    definition: GuestDefinition,
    recipe: Recipe,
    folder: Path,
    packages: dict[str, str],
    mode: str,
    stages: dict[str, float],
    kernel_options: str | None,
) -> Manifest:
    disk = folder / DISK
    kernels = [f"{name} {version}" for name, version in packages.items() if name.startswith("linux-image-")]
    return Manifest(
        name=definition.name,
        kind=definition.kind,
        os=f"Debian {packages['base-files']} ({recipe.suite})",
        arch=definition.arch,
        wine_version=packages["libwine"],
        kernel=" ".join(kernels),
        kernel_options=kernel_options,
        packages=packages,
        tools={"ziglang": metadata.version("ziglang"), **_tool_versions(recipe.arch)},
        recipe_hash=recipe.digest,
        build_mode=mode,
        built_at=datetime.now(UTC).replace(microsecond=0),
        built_by=f"halpmc {metadata.version('halpmc')}",
        stage_seconds=stages,
        disk_sha256=sha256_of(disk),
        disk_bytes=disk.stat().st_size,
        disk_mtime_ns=disk.stat().st_mtime_ns,
    )


def _tool_versions(arch: Arch) -> dict[str, str]:
    """First line of --version of the tools that shape the image."""
    versions = {}
    for tool in ("mmdebstrap", ARCH_TOOLS[arch][0], "qemu-img"):
        done = subprocess.run(
            [require_tool(tool), "--version"],
            capture_output=True,
            text=True,
            timeout=KEY_LIMIT_S,
            check=False,
        )
        versions[tool] = (done.stdout or done.stderr).strip().partition("\n")[0]
    return versions
