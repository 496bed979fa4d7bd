"""The command line of a machine: for the harness, and as a script."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.config.models import Accel, Arch
from harness.vm.by_hand import run_script
from harness.vm.command_line import Control, argv, literal, qmp_arguments
from harness.vm.firmware import Uefi
from harness.vm.machine import DirectBoot, Machine, RamFile
from harness.vm.media import CdRom


def machine(**changes: object) -> Machine:
    values: dict[str, object] = {
        "arch": Arch.X86_64,
        "accel": Accel.TCG,
        "machine": "q35",
        "cpu": "Nehalem,+rdrand,pmu=off",
        "smp": 2,
        "memory_mib": 512,
        "disk": Path("/images/embedded.qcow2"),
        "devices": ("VGA,vgamem_mb=16",),
        "serial_log": Path("/run/serial.log"),
    }
    return Machine.model_validate(values | changes)


def driven(**ends: Any) -> Control:
    """By QMP behind descriptor 7."""
    return Control(qmp_arguments(7), **ends)


GOLDEN = """
qemu-system-x86_64 -nodefaults -no-user-config -display none
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine q35 -accel tcg,thread=multi -cpu Nehalem,+rdrand,pmu=off -smp 2 -m 512M -rtc base=utc
-action panic=pause,reboot=shutdown,shutdown=pause
-drive if=none,id=disk0,file=/images/embedded.qcow2,format=qcow2,snapshot=on,cache=unsafe
-device virtio-blk-pci,drive=disk0,bootindex=0
-netdev user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 -device virtio-net-pci,netdev=net0,romfile=
-chardev file,id=serial0,path=/run/serial.log -serial chardev:serial0
-device virtio-rng-pci -device pvpanic-pci -device VGA,vgamem_mb=16
-S -chardev socket,id=qmp,fd=7 -mon chardev=qmp,mode=control
"""


def test_the_whole_command_line() -> None:
    assert argv(machine(), driven()) == GOLDEN.split()


def test_a_kernel_that_qemu_loads_itself() -> None:
    boot = DirectBoot(kernel=Path("/image/vmlinuz"), initrd=Path("/image/initrd"), options="quiet a=1,2")
    arguments = argv(machine(direct_boot=boot), driven())
    start = arguments.index("-kernel")
    assert arguments[start : start + 6] == [
        *("-kernel", "/image/vmlinuz"),
        *("-initrd", "/image/initrd"),
        *("-append", "quiet a=1,2"),
    ]


def test_nothing_that_was_not_asked_for() -> None:
    bare = machine(
        disk=None, net_device=None, devices=(), serial_log=None, panic_device=None, accel=Accel.KVM
    )
    arguments = argv(bare, driven())
    assert not {"-drive", "-netdev", "-serial", "-kernel"} & set(arguments)
    assert arguments[arguments.index("-accel") + 1] == "kvm"


def test_a_disk_that_keeps_its_writes() -> None:
    assert not any("snapshot" in a for a in argv(machine(disk_snapshot=False), driven()))


def test_an_overlay_takes_the_place_of_the_disk() -> None:
    (drive,) = [a for a in argv(machine(), driven(overlay=Path("/proc/self/fd/9"))) if "id=disk0" in a]
    options = split_option(drive)
    assert options["file"] == "/proc/self/fd/9"
    assert options["format"] == "qcow2"
    assert options["backing.file.filename"] == str(machine().disk)
    assert options["backing.driver"] == "qcow2"


@pytest.mark.parametrize(("shared", "share"), [(True, "on"), (False, "off")])
def test_a_clone_does_not_write_into_the_ram_that_it_came_from(shared: bool, share: str) -> None:
    ram = RamFile(path=Path("/templates/a,b/ram"), shared=shared)
    arguments = argv(machine(ram_file=ram), driven())
    file = f"memory-backend-file,id=ram0,size=512M,mem-path=/templates/a,,b/ram,share={share}"
    assert arguments[arguments.index("-object") + 1] == file
    assert arguments[arguments.index("-machine") + 1] == "q35,memory-backend=ram0"


def test_an_overlay_whose_name_has_a_comma() -> None:
    control = driven(overlay=Path("/runs/a,format=raw/overlay"))
    [drive] = [text for text in argv(machine(), control) if text.startswith("if=none,id=disk0,")]
    assert "file=/runs/a,,format=raw/overlay,format=qcow2," in drive


def test_the_lane_is_a_second_serial_port() -> None:
    lane = machine(lane_device="isa-serial")
    arguments = argv(lane, driven(lane=8))
    assert "socket,id=lane,fd=8" in arguments
    assert arguments[arguments.index("isa-serial,chardev=lane") - 1] == "-device"
    assert arguments.index("chardev:serial0") < arguments.index("isa-serial,chardev=lane"), "COM1 is the log"
    assert "null,id=lane" in run_script(lane), "by hand nobody listens there"
    assert not any("lane" in argument for argument in argv(machine(), driven()))


def test_the_console_is_talked_to_and_logged() -> None:
    talking = machine(console=True)
    arguments = argv(talking, driven(console=8))
    assert "socket,id=serial0,fd=8,server=on,wait=off,logfile=/run/serial.log" in arguments
    script = run_script(talking)
    assert "path=console-by-hand.sock,server=on,wait=off,logfile=serial-by-hand.log" in script
    assert "UNIX-CONNECT:$PWD/console-by-hand.sock" in script
    assert "socat" not in run_script(machine())


def test_counting_instructions_replaces_the_threads() -> None:
    arguments = argv(machine(smp=1, icount=True), driven())
    assert arguments[arguments.index("-accel") + 1] == "tcg,thread=single"
    assert arguments[arguments.index("-icount") + 1] == "shift=1,sleep=off"
    assert "-icount" not in argv(machine(), driven())


def test_secure_boot_is_guarded_by_smm() -> None:
    uefi = Uefi(code=Path("/fw/code,1.fd"), variables=Path("/fw/vars.fd"), smm=True)
    arguments = argv(machine(uefi=uefi), driven(variables=Path("/proc/self/fd/9")))
    assert arguments[arguments.index("-machine") + 1] == "q35,smm=on"
    code, variables = (split_option(a) for a in arguments if a.startswith("if=pflash"))
    assert (code["file"], code["readonly"]) == ("/fw/code,1.fd", "on")
    assert (variables["file"], variables["backing.file.filename"]) == ("/proc/self/fd/9", "/fw/vars.fd")
    assert "driver=cfi.pflash01,property=secure,value=on" in arguments
    plain = argv(machine(uefi=uefi.model_copy(update={"smm": False})), driven())
    assert not any("secure" in argument or "smm" in argument for argument in plain)
    (variables,) = (split_option(a) for a in plain if a.startswith("if=pflash,unit=1"))
    assert variables["snapshot"] == "on", "by hand, too, nothing is written to the host's own file"


def test_media_lie_behind_the_disk_unless_they_shall_boot_once() -> None:
    media = (CdRom(path=Path("/a.iso")), CdRom(path=Path("/b,c.iso"), bus="usb"))

    def indexes(**changes: object) -> list[str | None]:
        arguments = argv(machine(media=media, disk_device="ahci", **changes), driven())
        devices = [split_option(a) for a in arguments if "drive=" in a]
        return [device.get("bootindex") for device in devices]

    assert indexes() == ["0", "1", None]
    assert indexes(boot="medium-once") == ["1", "0", None]
    files = [split_option(a) for a in argv(machine(media=media), driven()) if "media=cdrom" in a]
    assert [(file["file"], file["readonly"]) for file in files] == [("/a.iso", "on"), ("/b,c.iso", "on")]


def test_an_undecided_accelerator_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be decided"):
        machine(accel=Accel.AUTO)


def split_option(text: str) -> dict[str, str]:
    """How QEMU takes an option apart (util/keyval.c): a doubled comma is a comma, a single one separates."""
    parts = text.replace(",,", "\0").split(",")
    return dict(part.replace("\0", ",").partition("=")[::2] for part in parts)


odd_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(odd_names)
def test_any_path_survives_as_one_value(name: str) -> None:
    disk, log = Path("/images") / name, Path("/logs") / name
    arguments = argv(machine(disk=disk, serial_log=log), driven())
    assert split_option(arguments[arguments.index("-drive") + 1])["file"] == str(disk.absolute())
    assert split_option(arguments[arguments.index("-chardev") + 1])["path"] == str(log)


def test_commas_are_doubled() -> None:
    assert literal("a,b,,c") == "a,,b,,,,c"


# -- run.sh ---------------------------------------------------------------------------------------


def script_argv(script: str, folder: Path, *arguments: str) -> list[str]:
    """What the script really starts: run with a QEMU in its PATH that writes its arguments down."""
    path = folder / "run.sh"
    path.write_text(script)
    fake = folder / "bin" / "qemu-system-x86_64"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text('#!/bin/sh\nprintf "%s\\0" "$0" "$@" > "$ARGV"\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "ARGV": str(folder / "argv")}
    subprocess.run(["sh", "-n", path], check=True)
    subprocess.run(["sh", path, *arguments], check=True, env=environment, capture_output=True)
    program, *rest = (folder / "argv").read_text().split("\0")[:-1]
    return [Path(program).name, *rest]


NASTY = 'it\'s $HOME, `id` and "so" on\\'


@pytest.mark.parametrize("name", ["plain.qcow2", NASTY])
def test_the_script_starts_the_same_machine(name: str, tmp_path: Path) -> None:
    described = machine(disk=Path("/images") / name, devices=("VGA", f"fw_cfg,name={name}"))
    expected = argv(described, driven())
    expected[-5:] = ["-monitor", "stdio"]
    expected = [a.replace("127.0.0.1:0-", "127.0.0.1:2022-") for a in expected]
    expected = [a.replace("path=/run/serial.log", "path=serial-by-hand.log") for a in expected]
    assert script_argv(run_script(described), tmp_path, "2022") == expected


def test_the_script_has_a_port_of_its_own(tmp_path: Path) -> None:
    started = script_argv(run_script(machine()), tmp_path)
    assert "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22" in started


def test_the_script_refuses_what_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(run_script(machine()))
    done = subprocess.run(["sh", path, "80;id"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: run.sh [SSH_PORT]\n")


def test_the_script_says_how_to_log_in(tmp_path: Path) -> None:
    script = run_script(machine(), user="tester", key=Path("/keys/a b"))
    (line,) = [line for line in script.splitlines() if line.startswith("echo 'log in")]
    assert "ssh -i '/keys/a b' -p \"$port\" tester@127.0.0.1" in line
    assert "'/keys/a b'" in shlex.quote("/keys/a b")


def test_a_medium_may_be_a_thin_file_over_an_image(tmp_path: Path) -> None:
    line = " ".join(argv(machine(media=(CdRom(path=tmp_path / "thin.qcow2", format="qcow2"),)), Control(())))
    assert f"media=cdrom,readonly=on,format=qcow2,file={tmp_path / 'thin.qcow2'}" in line


@pytest.mark.parametrize(("reaches_out", "restrict"), [(False, "on"), (True, "off")])
def test_a_guest_reaches_nobody_unless_that_is_asked_for(reaches_out: bool, restrict: str) -> None:
    assert f"user,id=net0,restrict={restrict}," in " ".join(
        argv(machine(reaches_out=reaches_out), Control(()))
    )
