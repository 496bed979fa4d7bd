"""The ways into a running VM for a person: files for the host's own ssh and sftp, and the commands to print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.models import GuestDefinition, GuestKind, Kd
from harness.imaging.store import GuestImage
from harness.vm.ports import GDB, KD, KD_BUS, KD_COM, MONITOR, VNC, Ports
from harness.vm.unix_port import CONSOLE
from harness.vm.vm import Vm

HOST = "guest"
SSH_CONFIG, KNOWN_HOSTS = "ssh.config", "known_hosts"
#: The longest path of a socket (unix(7)); other programs than ours need it to fit.
LONGEST_SOCKET = 107
KD_PORT = 50000
KD_TCP = 5555
KD_HOST = "169.254.1.1"


@dataclass(frozen=True)
class Way:
    """One way in: what it is, and the lines to type. `notes` are lines that nobody types."""

    what: str
    commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def write_ssh_config(vm: Vm, image: GuestImage, folder: Path, *, patient: bool) -> Path:
    """Configuration for the host's ssh and sftp: the image's key, the host key that the image has, and nothing else.

    `patient`: a guest that stands still, as under a debugger, keeps its connections.
    """
    name = image.definition.name
    known = (folder / KNOWN_HOSTS).absolute()
    known.write_text(f"{name} {image.host_key}\n")
    settings = {
        "HostName": "127.0.0.1",
        "Port": str(vm.ssh_port),
        "User": image.definition.ssh.user,
        "IdentityFile": _quoted(image.key),
        "IdentitiesOnly": "yes",
        "HostKeyAlias": name,
        "UserKnownHostsFile": _quoted(known),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "LogLevel": "ERROR",
        "ServerAliveInterval": "0" if patient else "15",
        # Wine's console reads one piece from a terminal, and then nothing any more; from a pipe it reads on. The host's
        # terminal echoes, and edits the line.
        "RequestTTY": "no" if image.definition.kind is GuestKind.WINE else "auto",
    }
    path = (folder / SSH_CONFIG).absolute()
    path.write_text(f"Host {HOST}\n" + "".join(f"  {key} {value}\n" for key, value in settings.items()))
    return path


def ways(vm: Vm, image: GuestImage, folder: Path, ports: Ports, *, patient: bool = False) -> list[Way]:
    """Every way into this VM that is open, with the files that it needs written into `folder`, the VM's."""
    folder = folder.absolute()
    config = shlex.quote(str(write_ssh_config(vm, image, folder, patient=patient)))
    found = [
        Way("log in", (f"ssh -F {config} {HOST}",)),
        Way("copy files", (f"sftp -F {config} {HOST}",)),
    ]
    if vm.machine.console:
        found.append(Way("serial console", (_attach(folder / CONSOLE),)))
    if ports.monitor:
        found.append(Way("QEMU's monitor", (_attach(folder / MONITOR),), ("`quit` there ends the VM",)))
    if ports.vnc:
        screen = () if vm.machine.has_display else ("this guest has no screen: there is nothing to see",)
        found.append(Way("screen", (_at_socket(folder / VNC, "vncviewer {}"),), screen))
    if ports.gdb:
        found.append(
            Way(
                "debugger",
                (_at_socket(folder / GDB, "gdb -ex 'target remote {}'"),),
                ("the guest stands still while gdb holds it",),
            )
        )
    if vm.machine.kd is not Kd.NONE:
        found += _kernel_debugger(vm.machine.kd, folder / KD, image.definition)
    return found


def lines(found: Sequence[Way]) -> list[str]:
    """The ways as text for a terminal or a log."""
    text: list[str] = []
    for way in found:
        text.append(f"{way.what}:")
        text += [f"    {command}" for command in way.commands]
        text += [f"  ({note})" for note in way.notes]
    return text


def _kernel_debugger(kd: Kd, socket: Path, definition: GuestDefinition) -> list[Way]:
    if kd is Kd.SERIAL:
        guest = f"bcdedit /dbgsettings serial debugport:{KD_COM} baudrate:115200"
        more: tuple[str, ...] = ()
        attach = (
            _at_socket(socket, f"socat TCP-LISTEN:{KD_TCP},bind=127.0.0.1 UNIX-CONNECT:{{}}"),
            f"windbg -k com:ipport={KD_TCP},port=127.0.0.1",
        )
        note = f"windbg runs on Windows: lead port {KD_TCP} there with ssh -R"
    else:
        guest = f"bcdedit /dbgsettings net hostip:{KD_HOST} port:{KD_PORT} key:1.2.3.4 nodhcp"
        bus = ".".join(map(str, KD_BUS))
        more = (f'bcdedit /set "{{dbgsettings}}" busparams {bus}',)
        backend = "stream,id=kd,server=off,addr.type=unix,addr.path={}"
        attach = (
            _at_socket(socket, f"qemu-system-x86_64 … -netdev {backend} -device e1000e,netdev=kd"),
            f"windbg -k net:port={KD_PORT},key=1.2.3.4",
        )
        note = f"the cable leads to a VM with Windows and WinDbg, whose card has the address {KD_HOST}/16"
    wine = definition.kind is GuestKind.WINE
    nobody = ("this guest's kernel is Wine's, which has no such debugger: nobody answers",) if wine else ()
    return [
        Way("kernel debugger, once in the guest", ("bcdedit /debug on", guest, *more, "shutdown /r /t 0")),
        Way("kernel debugger, on the host", attach, (note, *nobody)),
    ]


def _attach(socket: Path) -> str:
    return f"halpmc attach {shlex.quote(str(socket))}"


def _at_socket(socket: Path, command: str) -> str:
    """A command of a program that takes the socket's path as it is: from its folder where that is too long."""
    if len(str(socket).encode()) <= LONGEST_SOCKET and shlex.quote(str(socket)) == str(socket):
        return command.format(socket)
    return f"cd {shlex.quote(str(socket.parent))} && {command.format(f'./{socket.name}')}"


def _quoted(path: Path) -> str:
    """A path in ssh's configuration: percent signs would be expanded."""
    return f'"{path.absolute()}"'.replace("%", "%%")
