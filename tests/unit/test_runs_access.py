"""The ways into a VM as they are printed, judged by the host's own ssh; and which cell `halpmc shell` means."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.main import get_command

from harness.cli import app
from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell, Kd
from harness.errors import UsageError
from harness.imaging.store import GuestImage
from harness.paths import project_root
from harness.runs.access import HOST, lines, ways, write_ssh_config
from harness.runs.folder import write_config
from harness.runs.shell import find_cell, with_kd
from harness.vm.machine import Machine
from harness.vm.ports import Ports
from harness.vm.vm import Vm

DEMO = project_root() / "ci" / "matrices" / "demo.yaml"


def image(folder: Path, guest: str = "embedded") -> GuestImage:
    parts: Any = {
        "definition": load_guest(guest),
        "key": folder / "key",
        "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1",
    }
    return cast(GuestImage, SimpleNamespace(**parts))


def vm(folder: Path, **settings: Any) -> Vm:
    described = {"accel": Accel.TCG, "arch": Arch.X86_64, "machine": "q35", "cpu": "max", **settings}
    return cast(Vm, SimpleNamespace(ssh_port=40022, folder=folder, machine=Machine.model_validate(described)))


def effective(config: Path) -> dict[str, str]:
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), HOST], capture_output=True, text=True, timeout=20, check=True
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("name", ["plain", "with blanks and 100% more"])
def test_ssh_takes_the_image_s_key_and_no_other_host(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = effective(write_ssh_config(vm(folder), image(folder), folder, patient=False))
    assert (settings["hostname"], settings["port"], settings["user"]) == (
        "127.0.0.1",
        "40022",
        "Administrator",
    )
    # ssh -G shows paths as they are written: percent signs are doubled there.
    assert settings["identityfile"].replace("%%", "%") == str(folder / "key")
    assert settings["userknownhostsfile"].replace("%%", "%") == str(folder / "known_hosts")
    assert settings["stricthostkeychecking"] == "true"
    assert settings["identitiesonly"] == settings["batchmode"] == "yes"
    assert settings["hostkeyalias"] == "embedded"
    assert (folder / "known_hosts").read_text() == "embedded ssh-ed25519 AAAAC3NzaC1lZDI1\n"
    assert settings["requesttty"] == "false", "Wine's console cannot read a terminal"
    assert settings["serveraliveinterval"] == "15"


def test_windows_gets_a_terminal_and_a_debugger_s_guest_may_stand_still(tmp_path: Path) -> None:
    settings = effective(
        write_ssh_config(vm(tmp_path), image(tmp_path, "windows-server-2022"), tmp_path, patient=True)
    )
    assert (settings["requesttty"], settings["serveraliveinterval"]) == ("auto", "0")


def test_what_is_open_is_told_and_nothing_else(tmp_path: Path) -> None:
    plain = "\n".join(lines(ways(vm(tmp_path), image(tmp_path), tmp_path, Ports())))
    assert "ssh -F" in plain and "sftp -F" in plain
    for word in ("console.sock", "monitor.sock", "gdb", "vnc", "bcdedit"):
        assert word not in plain
    every = Ports(monitor=True, gdb=True, vnc=True)
    open_ = vm(tmp_path, console=True, kd=Kd.SERIAL, devices=("VGA",))
    text = "\n".join(lines(ways(open_, image(tmp_path, "windows-server-2022"), tmp_path, every)))
    for word in (
        f"halpmc attach {tmp_path}/console.sock",
        f"halpmc attach {tmp_path}/monitor.sock",
        f"vncviewer {tmp_path}/vnc.sock",
        f"gdb -ex 'target remote {tmp_path}/gdb.sock'",
        "bcdedit /dbgsettings serial debugport:3 baudrate:115200",
        f"UNIX-CONNECT:{tmp_path}/kd.sock",
        "windbg -k com:ipport=5555,port=127.0.0.1",
    ):
        assert word in text
    assert "no screen" not in text and "Wine" not in text


def test_the_debugger_on_the_network(tmp_path: Path) -> None:
    text = "\n".join(lines(ways(vm(tmp_path, kd=Kd.NET), image(tmp_path), tmp_path, Ports())))
    for word in ("hostip:169.254.1.1 port:50000", "busparams 0.16.0", f"addr.path={tmp_path}/kd.sock"):
        assert word in text
    assert "nobody answers" in text, "the embedded guest has no such debugger"


def test_a_path_that_is_too_long_for_others_is_left_for_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    text = "\n".join(lines(ways(vm(folder), image(folder), folder, Ports(gdb=True, monitor=True))))
    assert f"cd {folder} && gdb -ex 'target remote ./gdb.sock'" in text
    assert f"halpmc attach {folder}/monitor.sock" in text


def test_which_cell_is_meant(tmp_path: Path) -> None:
    assert find_cell("arm64-pmu_on-shared", DEMO).arch is Arch.AARCH64
    assert find_cell("embedded", None) == Cell(id="embedded", guest="embedded")
    assert find_cell("windows-server-2022", None).memory_mib == 4096
    cell = Cell(id="mine", guest="embedded", smp=1, gdb=True)
    write_config(tmp_path, cell)
    assert find_cell(str(tmp_path), None) == cell


@pytest.mark.parametrize(
    ("target", "matrix", "words"),
    [
        ("embeded", None, "neither a guest nor the folder of a cell — did you mean 'embedded'"),
        ("arm64-pmu_on-sharde", DEMO, "arm64-pmu_on-shared"),
        ("aarch64-probe-pmu_on", DEMO, "has no guest to log in to"),
    ],
)
def test_which_is_none(target: str, matrix: Path | None, words: str) -> None:
    with pytest.raises(UsageError) as error:
        find_cell(target, matrix)
    assert words in str(error.value)


def test_a_kernel_debugger_needs_a_machine_for_it() -> None:
    with pytest.raises(UsageError, match="x86_64 guests, not aarch64"):
        with_kd(Cell(id="a", arch=Arch.AARCH64), Kd.SERIAL)
    assert with_kd(Cell(id="a", arch=Arch.AARCH64, gdb=True), Kd.NONE).gdb
    assert with_kd(Cell(id="a"), Kd.NET).kd is Kd.NET


def test_every_option_is_in_the_documentation() -> None:
    command = get_command(app).commands["shell"]  # type: ignore[attr-defined]
    text = (project_root() / "docs" / "shell.md").read_text()
    options = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    assert {"--kd", "--gdb", "--put"} <= set(options)
    for name in options:
        assert f"`{name}" in text or f"{name} " in text, name
