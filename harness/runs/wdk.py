"""Building the test driver with the Windows Driver Kit: in a Windows guest that has an EWDK, over SSH."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Accel, Arch, GuestKind
from harness.driver.build import SYS, BuiltFile, hashed
from harness.driver.image import check_driver_file
from harness.errors import BuildError, HalpmcError, UsageError
from harness.paths import driver_sources
from harness.runs.own_driver import OwnGuest, own_guest

BUILD_S = 1800.0
PLATFORMS = {Arch.X86_64: "x64", Arch.AARCH64: "ARM64"}
#: What the project file names, below the folder of the sources.
PARTS = ("include", "pmu", "driver", "wdk")
SCRIPT = r"wdk\build-with-ewdk.cmd"
NO_KIT = 4
LAST_LINES = 30


def build_with_wdk(
    guest: str,
    arch: Arch,
    out: Path,
    *,
    ewdk: Path | None = None,
    accel: Accel = Accel.AUTO,
    say: Say = lambda _: None,
) -> BuiltFile:
    """pmctest.sys for `arch` as the guest's EWDK builds it, in the folder `out`.

    `ewdk` is an EWDK's ISO for the guest's drive; without it the guest has one on a disk. Raises UsageError when there
    is no such ISO, what build_in() raises, and whatever booting raises.
    """
    if ewdk is not None and not ewdk.is_file():
        raise UsageError(f"{ewdk} is no file", remedy="give the path of an EWDK's ISO image")
    if load_guest(guest).kind is not GuestKind.WINDOWS:
        say(f"guest {guest} is not Windows: only a stand-in for the kit can run there")
    logs = Path(tempfile.mkdtemp(prefix="halpmc-wdk-"))
    try:
        with own_guest(guest, logs, accel=accel, media=[ewdk] if ewdk else [], say=say) as booted:
            built = build_in(booted, arch, out, say=say)
    except HalpmcError as error:
        error.evidence["logs"] = str(logs)
        raise
    shutil.rmtree(logs)
    return built


def build_in(guest: OwnGuest, arch: Arch, out: Path, *, say: Say = lambda _: None) -> BuiltFile:
    """The same in a guest that runs already. The driver's architecture need not be the guest's.

    Raises UsageError when no drive of it has an EWDK, BuildError with the kit's last lines.
    """
    root = rf"{guest.definition.drop_folder}\wdk-build"
    say("copying the sources into the guest")
    sources = driver_sources()
    for part in PARTS:
        for file in sorted(path for path in (sources / part).rglob("*") if path.is_file()):
            guest.transport.put(file, "\\".join([root, *file.relative_to(sources).parts]))
    platform = PLATFORMS[arch]
    say(f"building with the guest's kit for {platform}, at most {BUILD_S / 60:.0f} min")
    done = guest.run(rf"{root}\{SCRIPT} {platform}", timeout_s=BUILD_S)
    said = (done.stdout + done.stderr).splitlines()
    if done.exit_code == NO_KIT:
        raise UsageError("no drive of the guest has an EWDK", remedy="give its ISO with --ewdk")
    if done.exit_code != 0:
        raise BuildError(
            f"the kit did not build the driver: exit code {done.exit_code}",
            remedy="see its last lines",
            evidence={"last lines": "\n".join(said[-LAST_LINES:])},
        )
    out.mkdir(parents=True, exist_ok=True)
    guest.transport.get(rf"{root}\wdk\build\{platform}\{SYS}", out / SYS)
    check_driver_file(out / SYS, arch)
    return hashed(out / SYS)
