"""The way through a guest with a kit: sources in, the kit's environment, its build, the driver out.

The kit is a stand-in (msbuild.c), since no WDK may be here; the scripts, the guest's cmd.exe and all between are real.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.driver.build import build_driver
from harness.errors import BuildError, UsageError
from harness.imaging.embedded import compile_helper
from harness.runs.own_driver import OwnGuest, own_guest
from harness.runs.wdk import PLATFORMS, build_in, build_with_wdk

ENVIRONMENT = "@echo off\r\nset EnterpriseWDK=yes\r\nset PATH=C:\\BuildEnv;%PATH%\r\n"


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the drive; no kit, as this guest's kernel has no driver for the drive."""
    path = tmp_path_factory.mktemp("medium") / "an, ewdk.iso"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.fixture(scope="module")
def guest(medium: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[OwnGuest, None, None]:
    with own_guest("embedded", tmp_path_factory.mktemp("logs"), media=[medium]) as booted:
        yield booted


def install_kit(guest: OwnGuest, folder: Path) -> None:
    (folder / "SetupBuildEnv.cmd").write_text(ENVIRONMENT, newline="")
    compile_helper([Path(__file__).with_name("msbuild.c")], folder / "msbuild.exe", Arch.X86_64)
    for name in ("SetupBuildEnv.cmd", "msbuild.exe"):
        guest.transport.put(folder / name, rf"C:\BuildEnv\{name}")
    for arch, platform in PLATFORMS.items():
        guest.transport.put(build_driver(arch).sys.path, rf"C:\BuildEnv\{platform}.sys")


def test_from_sources_to_a_driver(guest: OwnGuest, tmp_path: Path) -> None:
    """One boot for all of it: first without a kit, then with one, then with one that fails."""
    with pytest.raises(UsageError, match="no drive of the guest has an EWDK"):
        build_in(guest, Arch.X86_64, tmp_path / "none")
    install_kit(guest, tmp_path)
    for arch in Arch:
        built = build_in(guest, arch, tmp_path / arch)
        assert built.path == tmp_path / arch / "pmctest.sys"
        assert built.sha256 == build_driver(arch).sys.sha256
    (tmp_path / "SetupBuildEnv.cmd").write_text(ENVIRONMENT.replace("EnterpriseWDK", "NoKit"), newline="")
    guest.transport.put(tmp_path / "SetupBuildEnv.cmd", r"C:\BuildEnv\SetupBuildEnv.cmd")
    with pytest.raises(BuildError, match="exit code 1") as error:
        build_in(guest, Arch.X86_64, tmp_path / "failed")
    assert "not in the environment of the kit" in error.value.evidence["last lines"]
    assert not (tmp_path / "failed").exists()


def test_the_medium_is_in_the_drive(guest: OwnGuest, medium: Path) -> None:
    drives = [drive for drive in guest.vm.execute("query-block") if drive["removable"]]
    assert [drive["inserted"]["image"]["filename"] for drive in drives] == [str(medium)]
    assert drives[0]["inserted"]["ro"]
    assert guest.start == "cold"


def test_a_medium_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="EWDK's ISO"):
        build_with_wdk("embedded", Arch.X86_64, tmp_path, ewdk=tmp_path / "absent.iso")
