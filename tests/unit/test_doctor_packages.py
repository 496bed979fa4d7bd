"""One command for all packages that are missing, and the list of ci/bootstrap, which must agree with it."""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from harness.doctor import packages
from harness.doctor.finding import Status
from harness.doctor.packages import check_packages, install_command, needed_packages, windows_packages
from harness.host import tools
from harness.paths import project_root
from harness.vm import firmware

LIST = project_root() / "ci" / "packages-debian12.txt"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture
def os_release(tmp_path: Path) -> Path:
    path = tmp_path / "os-release"
    path.write_text(DEBIAN)
    return path


def listed() -> dict[str, str]:
    """The packages of ci/bootstrap with their comments."""
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    found = {name.strip(): comment.strip() for name, _, comment in (line.partition("#") for line in lines)}
    assert len(found) == len(lines) > 20
    return found


def essential(name: str) -> bool:
    """Whether Debian's own tools count on it: no system is without it."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Essential}", name], capture_output=True, text=True, check=False
    )
    return done.stdout == "yes"


def test_the_doctor_and_bootstrap_know_the_same_packages() -> None:
    wanted = {name for name, comment in listed().items() if not re.match(r"\((checkout|by hand)\) ", comment)}
    known = needed_packages(root=False) | windows_packages()
    assert {name for name in known if not essential(name)} == wanted


def test_what_the_doctor_looks_for_comes_from_the_package_that_it_names() -> None:
    for package, file in packages.FILES.items():
        owner = subprocess.run(["dpkg", "-S", file], capture_output=True, text=True, check=True).stdout
        assert re.match(rf"{re.escape(package)}(:\w+)?[:,]", owner)


def test_all_that_is_missing_is_one_command(
    os_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that has nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(packages, "FILES", {name: tmp_path / name for name in packages.FILES})
    monkeypatch.setattr(packages, "find_uefi", partial(firmware.find_uefi, folders=()))
    (finding,) = check_packages(os_release)
    assert finding.status is Status.FAIL
    words = finding.remedy.split()
    start = words.index("apt-get")
    assert words[:start] == ([] if os.geteuid() == 0 else ["sudo"])
    assert words[start : start + 3] == ["apt-get", "install", "--no-install-recommends"]
    assert set(words[start + 3 :]) == needed_packages(root=os.geteuid() == 0) | windows_packages()


def test_what_only_windows_guests_need_is_a_warning(
    os_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "WINDOWS_PROGRAMS", (*packages.WINDOWS_PROGRAMS, "no-such-program"))
    (finding,) = check_packages(os_release)
    assert (finding.status, finding.remedy.split()[-1]) == (Status.WARN, "no-such-program")
    assert "for Windows guests alone" in finding.detail


def test_a_host_that_has_all_is_fine(os_release: Path) -> None:
    (finding,) = check_packages(os_release)
    assert (finding.status, finding.remedy) == (Status.OK, "")


@pytest.mark.parametrize(
    ("text", "root", "expected"),
    [
        (DEBIAN, True, "apt-get install --no-install-recommends a b"),
        ("ID=ubuntu\nID_LIKE=debian\n", False, "sudo apt-get install --no-install-recommends a b"),
        ('ID=fedora\nID_LIKE="rhel"\n', True, "install what Debian 12 calls: a b"),
        ("ID=notdebian-like\n", True, "install what Debian 12 calls: a b"),
    ],
)
def test_the_command_fits_the_distribution(text: str, root: bool, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    assert install_command(["b", "a"], path, root=root) == expected
    assert install_command(["a"], tmp_path / "none", root=root) == "install what Debian 12 calls: a"
