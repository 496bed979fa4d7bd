"""A driver that is not the project's own, in the embedded guest: as the user's guide shows it, and as it goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.driver.protocol import RawRow
from harness.errors import ClientError, DriverError, UsageError
from harness.host.tools import host_arch
from harness.paths import project_root
from harness.runs.own_driver import LoadedDriver, OwnGuest
from tests.own_driver.build_echo import build_echo
from tests.system.conftest import HALPMC

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="the embedded guest is slow elsewhere")

LoadDriver = Callable[..., LoadedDriver]
ECHO, OTHER = 0x80006000, 0x80006004
RUNNING = 4
NOT_THERE = 1060  # Win32: no such service


def test_it_runs_and_answers(load_driver: LoadDriver, tmp_path: Path) -> None:
    driver = load_driver(build_echo(tmp_path))
    assert driver.state().state == RUNNING
    with driver.guest.open("echo") as echo:
        rows = (
            RawRow(code=ECHO, random=16, output=16, repeat=100),
            RawRow(code=ECHO, random=17, output=16),
            RawRow(code=OTHER),
        )
        assert echo.raw(rows).results == (((0, 100),), ((122, 1),), ((1, 1),))


def test_nothing_is_left_after_the_test_before(own_guest: OwnGuest) -> None:
    with pytest.raises(ClientError), own_guest.open("echo"):
        pass


def test_it_is_unloaded_and_its_service_is_gone(own_guest: OwnGuest, tmp_path: Path) -> None:
    with own_guest.loaded(build_echo(tmp_path), "myname") as driver:
        assert driver.state().state == RUNNING
    with pytest.raises(ClientError) as error:
        driver.state()
    assert error.value.code == NOT_THERE


def test_a_driver_that_does_not_start(own_guest: OwnGuest, tmp_path: Path) -> None:
    """The reason is named, a remedy is given, and the guest takes the next driver."""
    with (
        pytest.raises(DriverError, match="does not start the driver as service broken") as error,
        own_guest.loaded(build_echo(tmp_path, "FAIL", name="broken")),
    ):
        pass
    assert error.value.remedy
    with own_guest.loaded(build_echo(tmp_path)) as driver:
        assert driver.state().state == RUNNING


def test_what_is_no_driver_is_refused_before_it_is_copied(own_guest: OwnGuest, tmp_path: Path) -> None:
    file = tmp_path / "text.sys"
    file.write_text("MZ, but no more")
    with pytest.raises(UsageError, match="not a 64-bit Windows executable"), own_guest.loaded(file):
        pass
    with pytest.raises(UsageError, match="cannot be the name of a service"), own_guest.loaded(file, "a b"):
        pass


def deploy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HALPMC, "driver", "deploy", *arguments], capture_output=True, text=True, timeout=600, check=False
    )


def test_the_command(tmp_path: Path) -> None:
    done = deploy(str(build_echo(tmp_path)), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["service"], result["state"], result["unloaded"]) == ("echo", RUNNING, True)
    assert result["guest_kind"] == "wine"


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = deploy(str(build_echo(tmp_path, "FAIL")))
    assert done.returncode == 3
    assert "the guest does not start the driver as service echo" in done.stderr
    (logs,) = re.findall(r"^  logs: (.*)$", done.stderr, re.MULTILINE)
    assert (Path(logs) / "client.log").is_file()
    shutil.rmtree(logs)
    assert deploy(str(tmp_path / "absent.sys")).returncode == 2


def test_a_driver_that_cannot_be_unloaded(tmp_path: Path) -> None:
    done = deploy(str(build_echo(tmp_path, "NO_UNLOAD")))
    assert done.returncode == 3
    assert "the guest does not stop the driver as service echo" in done.stderr
    assert "DriverUnload" in done.stderr
    (logs,) = re.findall(r"^  logs: (.*)$", done.stderr, re.MULTILINE)
    shutil.rmtree(logs)


@pytest.mark.parametrize(
    ("defect", "sentence"),
    [
        ("CRASH", r"echo\.sys is implicated: parameter 2, the code at fault, is echo\.sys\+0x[0-9a-f]+"),
        (
            "MISSING",
            r"no module of ours is implicated: parameter 2, the code at fault, is \w+\.dll\+0x[0-9a-f]+",
        ),
    ],
    ids=["implicated", "cleared"],
)
def test_a_crash_is_told_from_a_driver_that_does_not_start(
    defect: str, sentence: str, tmp_path: Path
) -> None:
    """The guest boots again, and its own dump names the code that crashed.

    Wine loads a driver with a missing import, and crashes when it calls it; Windows would refuse to load it.
    """
    done = deploy(str(build_echo(tmp_path, defect)))
    assert done.returncode == 3
    assert "the guest's kernel panicked" in done.stderr
    assert re.search(r"its own dump: .* KMODE_EXCEPTION_NOT_HANDLED .*: " + sentence, done.stderr), (
        done.stderr
    )
    (logs,) = re.findall(r"^  logs: (.*)$", done.stderr, re.MULTILINE)
    shutil.rmtree(logs)


def test_the_guides_example(tmp_path: Path) -> None:
    """The files of docs/your-own-driver.md, as they stand there."""
    build_echo(tmp_path)
    text = (project_root() / "docs" / "your-own-driver.md").read_text()
    for name in ("conftest.py", "test_mydriver.py"):
        block = text.split(f"`{name}`:\n\n", 1)[1].split("\n\n`", 1)[0]
        (tmp_path / name).write_text(textwrap.dedent(block) + "\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            f"--rootdir={tmp_path}",
            ".",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project_root())},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
