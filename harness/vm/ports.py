"""The ports of a VM that people use: QEMU's monitor, its gdb stub, the guest's screen, the kernel debugger's cable.

Each is a Unix socket in the VM's folder, for its owner alone: a TCP port of the loopback interface would give every
user of the host the guest's memory.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness.config.models import Kd, Model
from harness.vm.unix_port import UnixPort

MONITOR, GDB, VNC, KD = "monitor.sock", "gdb.sock", "vnc.sock", "kd.sock"
KD_BY_HAND = "kd-by-hand.sock"
#: Where the debugger's network card is: bus, device and function, as bcdedit's busparams wants them.
KD_BUS = (0, 16, 0)
#: COM3: the ports before it are the console's and the lane's.
KD_COM = 3
#: What QEMU says of a machine that a debugger holds.
HELD = frozenset(["paused", "debug"])


class Ports(Model):
    """Which ports a VM has for people. The guest sees nothing of them, so a clone can have them, too."""

    monitor: bool = False
    gdb: bool = False
    vnc: bool = False


@dataclass(frozen=True)
class Opened:
    """For QEMU: the descriptors that it inherits, arguments that use them, and the listening one of the debugger."""

    fds: list[int] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    kd: int | None = None


class PortFolder:
    """The sockets of one VM in its folder."""

    def __init__(self, folder: Path, ports: Ports, kd: Kd) -> None:
        self.ports = ports
        self.kd = kd
        self._folder = folder

    @property
    def debugged(self) -> bool:
        """Whether somebody may stop the machine from outside."""
        return self.ports.gdb or self.ports.monitor

    def listen(self, inherited: ExitStack) -> Opened:
        """Open what is wanted, as long as `inherited` lasts. Raises QemuError."""
        opened: dict[str, int] = {}
        for name, wanted in (
            (MONITOR, self.ports.monitor),
            (GDB, self.ports.gdb),
            (KD, self.kd is not Kd.NONE),
        ):
            if wanted:
                opened[name] = inherited.enter_context(UnixPort(self._folder, name).listen()).fileno()
        arguments: list[str] = []
        if MONITOR in opened:
            arguments += ["-chardev", _listening("monitor", opened[MONITOR])]
            arguments += ["-mon", "chardev=monitor,mode=readline"]
        if GDB in opened:
            arguments += ["-chardev", _listening("gdb", opened[GDB]), "-gdb", "chardev:gdb"]
        fds = list(opened.values())
        if self.ports.vnc:  # QEMU takes no descriptor for this one, but a path of at most 107 bytes
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            inherited.callback(os.close, folder)
            (self._folder / VNC).unlink(missing_ok=True)
            arguments += ["-vnc", f"unix:/proc/self/fd/{folder}/{VNC}"]
            fds.append(folder)
        return Opened(fds, arguments, opened.get(KD))

    def started(self) -> None:
        """QEMU runs: what it has made itself is its owner's, too."""
        if self.ports.vnc:
            (self._folder / VNC).chmod(0o600)

    def close(self) -> None:
        """Remove the sockets. Idempotent."""
        for name in (MONITOR, GDB, VNC, KD):
            (self._folder / name).unlink(missing_ok=True)


def debugger(kd: Kd, fd: int | None) -> list[str]:
    """QEMU's arguments for the kernel debugger's port; without a descriptor it makes a socket of its own.

    `serial` is a third serial port. `net` is a second network card, on a cable of its own: at the other end is whoever
    connects to the socket, and nobody else. The guest's network keeps no way out.
    """
    if kd is Kd.SERIAL:
        backend = f"socket,id=kd,path={KD_BY_HAND},server=on,wait=off" if fd is None else _listening("kd", fd)
        return ["-chardev", backend, "-device", f"isa-serial,id=kd-port,index={KD_COM - 1},chardev=kd"]
    if kd is Kd.NET:
        address = f"addr.type=unix,addr.path={KD_BY_HAND}" if fd is None else f"addr.type=fd,addr.str={fd}"
        card = f"e1000e,id=kd-card,netdev=kd,addr={KD_BUS[1]:#x},romfile="
        return ["-netdev", f"stream,id=kd,server=on,{address}", "-device", card]
    return []


def _listening(name: str, fd: int) -> str:
    return f"socket,id={name},fd={fd},server=on,wait=off"
