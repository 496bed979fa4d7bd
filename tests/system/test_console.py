"""The serial console of a real guest, a clone: commands, files, and the way back to SSH without network.

Needs `halpmc guest build embedded`.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.config.models import Accel, ConsoleKind, SerialConsole
from harness.deadlines import Deadline
from harness.errors import DeadlineExceeded, GuestPanicked, TransportError
from harness.guest import sac
from harness.guest.console import Console, ConsoleShell
from harness.guest.loginshell import LoginShell
from harness.guest.sac import SacShell
from harness.guest.serial import open_shell
from harness.guest.ssh import SshTransport
from harness.imaging.machine import guest_machine
from harness.imaging.store import GuestImage, find_guest
from harness.vm.template import Template, make_template
from harness.vm.vm import Vm

COMMAND_S = 60.0
SHELL = SerialConsole(kind=ConsoleKind.SHELL)


def ssh(image: GuestImage, vm: Vm, banner_s: float | None = None) -> SshTransport:
    definition = image.definition
    limits = definition.timeouts.model_copy(update={"banner_s": banner_s} if banner_s else {})
    place = ("127.0.0.1", vm.ssh_port, definition.ssh.user, image.key, image.host_key)
    return SshTransport.connect(*place, check=vm.check, timeouts=limits)


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return find_guest("embedded")


@pytest.fixture(scope="module")
def vm(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Generator[Vm, None, None]:
    """A clone: a saved state knows nothing of who is connected to the console. Its folder is a deep one."""
    template = tmp_path_factory.mktemp("template")
    folder = tmp_path_factory.mktemp("clone") / ("deep" * 20) / ("deeper" * 10)
    folder.mkdir(parents=True)
    machine = guest_machine(
        image.definition,
        accel=Accel.TCG,
        cpu=",".join(["max", *image.definition.tcg_cpu_flags]),
        smp=2,
        memory_mib=512,
        disk=image.disk,
        serial_log=folder / "serial.log",
    )

    def ready(vm: Vm) -> None:
        ssh(image, vm).close()

    make_template(machine, template, ready)
    assert "halpmc: sshd up" in (template / "serial.log").read_text(), (
        "nobody was connected, and the log is there"
    )
    saved = Template(template)
    with Vm(saved.clone_of(machine), folder, saved=saved.saved) as vm:
        yield vm


@pytest.fixture
def shell(vm: Vm) -> Generator[ConsoleShell, None, None]:
    shell = open_shell(SHELL, vm.ends.console.connect(), vm.check, timeout_s=COMMAND_S)
    yield shell
    shell.close()


def test_commands(shell: ConsoleShell) -> None:
    done = shell.run("echo one; echo two >&2; exit 42", timeout_s=COMMAND_S)
    assert (done.exit_code, done.stdout, done.stderr) == (42, "one\ntwo\n", "")
    assert shell.run("printf 'no end'", timeout_s=COMMAND_S).stdout == "no end"
    assert shell.run("true", timeout_s=COMMAND_S).exit_code == 0
    assert shell.run("echo \"it's quoted", timeout_s=COMMAND_S).exit_code == 2


def test_a_file_is_read(shell: ConsoleShell, vm: Vm) -> None:
    numbers = "\n".join(map(str, range(1, 5001))) + "\n"
    done = shell.run("seq 5000 >/tmp/numbers && cat /tmp/numbers", timeout_s=COMMAND_S)
    assert done.stdout == numbers
    assert vm.machine.serial_log is not None
    assert "\r\n4999\r\n5000\r\n" in vm.machine.serial_log.read_bytes().decode(), (
        "the log of the console goes on"
    )


def test_a_guest_without_network_is_rescued(image: GuestImage, vm: Vm) -> None:
    vm.execute("set_link", name="net0", up=False)
    with pytest.raises((TransportError, DeadlineExceeded)):
        ssh(image, vm, banner_s=2)
    shell = open_shell(SHELL, vm.ends.console.connect(), vm.check, timeout_s=COMMAND_S)
    assert shell.run("cat /sys/class/net/eth0/carrier", timeout_s=COMMAND_S).stdout == "0\n"
    assert shell.run("busybox killall sshd", timeout_s=COMMAND_S).exit_code == 0
    vm.execute("set_link", name="net0", up=True)
    with pytest.raises((TransportError, DeadlineExceeded)):
        ssh(image, vm, banner_s=2)
    assert shell.run("/sbin/start-sshd", timeout_s=COMMAND_S).exit_code == 0
    shell.close()
    with ssh(image, vm) as transport:
        assert transport.exec("exit 7", timeout_s=COMMAND_S).exit_code == 7


def test_a_command_that_hangs_is_interrupted(vm: Vm) -> None:
    shell = open_shell(SHELL, vm.ends.console.connect(), vm.check, timeout_s=COMMAND_S)
    with pytest.raises(DeadlineExceeded, match=r"command 'sleep 600' at the console: no answer"):
        shell.run("sleep 600", timeout_s=1)
    shell.close()
    again = open_shell(SHELL, vm.ends.console.connect(), vm.check, timeout_s=COMMAND_S)
    assert again.run("pidof sleep", timeout_s=COMMAND_S).exit_code == 1
    again.close()


def test_the_cmd_of_wine(vm: Vm, shell: ConsoleShell) -> None:
    """What runs a command in SAC's channel, with a real cmd.exe, its echo and escape codes: Wine's, not Windows'."""
    shell.close()
    with Console(vm.ends.console.connect(), vm.check) as console:
        LoginShell.open(console, user=None, password="", timeout_s=COMMAND_S)
        console.send(
            ". /etc/wine-environment; cd /C:; cat | $WINE 'C:\\windows\\system32\\cmd.exe'\r", "Wine"
        )
        deadline = Deadline("the prompt of Wine's cmd", 20)
        console.expect([sac.PROMPT], deadline)
        cmd = SacShell(console, 80)
        cmd._take_over(deadline)
        done = cmd.run("echo one& echo two", timeout_s=20)
        assert (done.exit_code, done.stdout) == (0, "one\ntwo\n")
        assert cmd.run("cmd /c exit 42", timeout_s=20).exit_code == 42
        assert cmd.run("cmd /c exit -1", timeout_s=20).exit_code == 0xFFFFFFFF
        assert cmd.run("type C:\\windows\\win.ini", timeout_s=20).exit_code == 0
        assert "no-such" in cmd.run("no-such-command", timeout_s=COMMAND_S).stdout
        console.send("exit\r", "Wine")


def test_a_panic_ends_a_command(vm: Vm, shell: ConsoleShell) -> None:
    with pytest.raises(GuestPanicked):
        shell.run(
            "echo 1 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger; sleep 60", timeout_s=COMMAND_S
        )
