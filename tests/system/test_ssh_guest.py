"""The whole way into a real guest: boot, banner, login, commands, files. Needs `halpmc guest build embedded`."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.config.models import Accel, GuestTimeouts
from harness.deadlines import wait_for
from harness.errors import DeadlineExceeded, GuestPanicked, HalpmcError, QemuError, TransportError
from harness.guest.ssh import SshTransport
from harness.imaging.store import GuestImage, find_guest
from harness.vm.machine import Machine
from harness.vm.vm import Vm

COMMAND_S = 120.0


@dataclass
class Booted:
    """A guest that answers, for all tests of this file."""

    image: GuestImage
    vm: Vm
    transport: SshTransport
    phases: dict[str, float] = field(default_factory=dict)

    def connect(self, **changes: str) -> SshTransport:
        """One more connection; keyword arguments replace what the image says."""
        definition = self.image.definition
        return SshTransport.connect(
            "127.0.0.1",
            self.vm.ssh_port,
            changes.get("user", definition.ssh.user),
            self.image.key,
            changes.get("host_key", self.image.host_key),
            check=self.vm.check,
            timeouts=definition.timeouts,
        )


def described(image: GuestImage, folder: Path) -> Machine:
    definition = image.definition
    return Machine(
        arch=definition.arch,
        accel=Accel.TCG,
        machine=definition.machine,
        cpu=",".join(["max", *definition.tcg_cpu_flags]),
        smp=2,
        memory_mib=512,
        disk=image.disk,
        disk_device=definition.disk_device,
        net_device=definition.net_device,
        devices=definition.devices,
        ssh_guest_port=definition.ssh.port,
        serial_log=folder / "serial.log",
    )


def boot(folder: Path) -> Generator[Booted, None, None]:
    image = find_guest("embedded")
    definition = image.definition
    phases: dict[str, float] = {}
    with (
        Vm(described(image, folder), folder, on_phase=phases.__setitem__) as vm,
        SshTransport.connect(
            "127.0.0.1",
            vm.ssh_port,
            definition.ssh.user,
            image.key,
            image.host_key,
            check=vm.check,
            timeouts=definition.timeouts,
            log_path=folder / "ssh.log",
            on_phase=phases.__setitem__,
        ) as transport,
    ):
        yield Booted(image, vm, transport, phases)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Booted, None, None]:
    yield from boot(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def doomed_guest(tmp_path: Path) -> Generator[Booted, None, None]:
    """A guest of its own, for a test that ends it."""
    yield from boot(tmp_path)


def test_phases(guest: Booted) -> None:
    assert list(guest.phases) == ["qemu", "banner", "login"]
    assert set(guest.transport.timings) == {"banner", "kex", "auth"}


def test_a_command_as_cmd_runs_it(guest: Booted) -> None:
    result = guest.transport.exec("echo one & echo two 1>&2 & exit 42", timeout_s=COMMAND_S)
    assert (result.exit_code, result.stdout.split(), result.stderr.split()) == (42, ["one"], ["two"])


def test_files_there_and_back(guest: Booted, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(1_000_000))
    guest.transport.put_many({sent: r"C:\halpmc test\deep\file.bin"})
    guest.transport.put(sent, r"C:\halpmc test\deep\file.bin")  # over what is there
    guest.transport.get(r"C:\halpmc test\deep\file.bin", tmp_path / "back")
    assert (
        hashlib.sha256((tmp_path / "back").read_bytes()).digest()
        == hashlib.sha256(sent.read_bytes()).digest()
    )
    listed = guest.transport.exec(r'dir /b "C:\halpmc test\deep"', timeout_s=COMMAND_S)
    assert listed.stdout.split() == ["file.bin"]


def test_a_session_in_lines(guest: Booted) -> None:
    session = guest.transport.open_session("cmd.exe /q /k prompt $_")
    session.send_line(b"echo hello\r")
    while session.read_line(COMMAND_S) != b"hello":
        pass
    session.close()


def test_the_pinned_host_key(guest: Booted) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAPQS0+hqIaQ9blCtEkhj2PzHyHa1Aq8vqvMX2tzTWwb"
    with pytest.raises(TransportError, match=r"SSH host key: ssh-ed25519 SHA256:.* instead of SHA256:"):
        guest.connect(host_key=other)


def test_an_unknown_user(guest: Booted) -> None:
    with pytest.raises(TransportError, match="SSH authentication of nobody"):
        guest.connect(user="nobody")


def test_a_kernel_panic_ends_a_command_at_once(doomed_guest: Booted) -> None:
    """Linux's own "panic now" request, reached through Wine's drive of the root file system."""
    start = time.monotonic()
    with pytest.raises(GuestPanicked, match="the guest's kernel panicked"):
        doomed_guest.transport.exec(r"echo c> Z:\proc\sysrq-trigger & pause", timeout_s=COMMAND_S)
    assert time.monotonic() - start < COMMAND_S / 2


def test_the_ssh_server_is_killed(doomed_guest: Booted) -> None:
    """QEMU still accepts connections for the guest, and closes them again: nobody is there."""
    killed = doomed_guest.transport.exec(
        'start /unix /bin/sh -c "kill $(cat /run/sshd.pid)"', timeout_s=COMMAND_S
    )
    assert killed.exit_code == 0
    definition = doomed_guest.image.definition

    def refused(_: object) -> DeadlineExceeded | None:
        try:
            SshTransport.connect(
                "127.0.0.1",
                doomed_guest.vm.ssh_port,
                definition.ssh.user,
                doomed_guest.image.key,
                doomed_guest.image.host_key,
                check=doomed_guest.vm.check,
                timeouts=GuestTimeouts(banner_s=2.0),
            ).close()
        except DeadlineExceeded as error:
            return error if "closed again" in error.last_seen else None
        return None  # the signal is still on its way

    error = wait_for("the end of the guest's SSH server", 60, refused)
    assert "SSH banner: no answer" in error.message
    doomed_guest.vm.check()  # the VM itself is well


def test_a_qemu_killed_while_the_guest_boots(tmp_path: Path) -> None:
    """In the middle of the wait for its SSH server."""
    image = find_guest("embedded")
    looks = 0
    with Vm(described(image, tmp_path), tmp_path) as vm:

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                os.kill(vm.process.pid, signal.SIGKILL)
            vm.check()

        user = image.definition.ssh.user
        with pytest.raises(QemuError, match="killed by SIGKILL"):
            SshTransport.connect("127.0.0.1", vm.ssh_port, user, image.key, image.host_key, check=look)
        assert vm.phases.seconds.keys() == {"qemu"}
    assert looks >= 3


def test_a_killed_qemu_ends_a_command_at_once(doomed_guest: Booted) -> None:
    pid = doomed_guest.vm.process.pid
    threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
    start = time.monotonic()
    with pytest.raises(HalpmcError) as caught:
        doomed_guest.transport.exec("pause", timeout_s=COMMAND_S)
    assert isinstance(caught.value, QemuError)
    assert "killed by SIGKILL" in str(caught.value)
    assert time.monotonic() - start < 5
