"""One QEMU machine as data, and its command line: for the harness, and as a script that a human runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from harness.config.models import ICOUNT_SHIFT, Accel, Arch, Kd, Model
from harness.errors import EXIT_USAGE
from harness.vm import firmware, media, ports
from harness.vm.firmware import Uefi
from harness.vm.media import CdRom

#: A QEMU that a guest took over could still start no process and gain no privilege; libvirt switches on the
#: same. A consequence: migration URIs of the kind `exec:` do not work.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
DEFAULT_HUMAN_PORT = 2222
#: QEMU's devices that draw a screen.
DISPLAYS = frozenset(
    ["VGA", "bochs-display", "cirrus-vga", "qxl-vga", "ramfb", "virtio-gpu-pci", "virtio-vga", "vmware-svga"]
)
#: Disks that Windows has drivers for: on the AHCI controller of a q35; and NVMe, which wants a serial number, and whose
#: state no QEMU can save: guests with it always boot cold.
DISK_DEVICES = {"ahci": "ide-hd,bus=ide.0", "nvme": "nvme,serial=halpmc"}
TPM_DEVICES = {Arch.X86_64: "tpm-crb", Arch.AARCH64: "tpm-tis-device"}
TPM_BY_HAND = "tpm-by-hand"
CONSOLE_BY_HAND = "console-by-hand.sock"
_PORT_MARK = "\0"  # cannot occur in an argument, so it marks where the script puts its own port


class RamFile(Model):
    """The guest's RAM as a file: `shared`, what the guest writes goes into it; else it stays the clone's own."""

    path: Path
    shared: bool


class DirectBoot(Model):
    """A Linux kernel that QEMU itself loads, with its initrd and command line: no firmware and no boot loader runs."""

    kernel: Path
    initrd: Path
    options: str


class Machine(Model):
    """Everything that defines the virtual machine, in QEMU's words.

    `machine`, `cpu`, `disk_device`, `net_device` and `devices` are option texts that may carry properties
    behind commas (`q35,smm=off`); paths are taken literally, whatever they contain. `disk_snapshot` throws
    all writes to the disk away with the machine. With `on_reboot="shutdown"` a guest that resets is a fault,
    and stays as it is to be looked at. `serial_log` belongs to the host's side: it does not change the machine.
    With `max_cpus` CPUs can be added while it runs, where the machine type can do that.
    `console` makes the first serial port, whose output the log gets, one that the host can also talk to.
    `lane_device` is a second serial port, for a program in the guest that talks with the harness over it.
    `disk_device` may also be `ahci` or `nvme`, which Windows Setup has drivers for. What the firmware writes goes where
    the disk's writes go: away with the machine, or into its file of variables. `boot="medium-once"` boots the first of
    `media` when the machine starts, and the disk after every reset. A `tpm` starts empty. `reaches_out` gives the guest
    the host's network, which no guest of a test has. With `icount` time follows the instructions executed (TCG with one
    CPU). `kd` is a port for Windows' kernel debugger.
    """

    arch: Arch
    accel: Accel
    machine: str
    cpu: str
    smp: int = Field(default=1, ge=1)
    max_cpus: int | None = Field(default=None, ge=1)
    memory_mib: int = Field(default=512, ge=1)
    disk: Path | None = None
    disk_format: Literal["qcow2", "raw"] = "qcow2"
    disk_device: str = "virtio-blk-pci"
    disk_snapshot: bool = True
    net_device: str | None = "virtio-net-pci"
    reaches_out: bool = False
    ssh_guest_port: int = Field(default=22, ge=1, le=65535)
    devices: tuple[str, ...] = ()
    panic_device: str | None = "pvpanic-pci"
    on_panic: Literal["pause", "shutdown", "none"] = "pause"
    on_reboot: Literal["shutdown", "reset"] = "shutdown"
    rtc_base: Literal["utc", "localtime"] = "utc"
    serial_log: Path | None = None
    console: bool = False
    lane_device: str | None = None
    ram_file: RamFile | None = None
    direct_boot: DirectBoot | None = None
    icount: bool = False
    uefi: Uefi | None = None
    media: tuple[CdRom, ...] = ()
    boot: Literal["disk", "medium-once"] = "disk"
    tpm: bool = False
    vmgenid: bool = False
    kd: Kd = Kd.NONE

    @field_validator("accel")
    @classmethod
    def _decided(cls, accel: Accel) -> Accel:
        if accel is Accel.AUTO:
            raise ValueError("the accelerator must be decided before a machine is described")
        return accel

    @property
    def has_display(self) -> bool:
        """Whether there is a screen to look at."""
        return any(device.split(",", maxsplit=1)[0] in DISPLAYS for device in self.devices)

    @property
    def program(self) -> str:
        """Name of the QEMU binary."""
        return f"qemu-system-{self.arch}"


@dataclass(frozen=True)
class Control:
    """How the host drives a machine; the guest sees nothing of it.

    With `ssh_port` "0" QEMU picks a free port. `overlay` is a qcow2 file over the machine's disk that takes the
    writes; `variables` the same over what the firmware remembers. `serial_log` takes the place of the machine's own.
    `lane` is the inherited socket behind the machine's lane; without it nobody listens there. `tpm` is the one that
    leads to its TPM; without it QEMU connects to a socket in the folder tpm-by-hand. `console` is the inherited socket
    at which QEMU waits for somebody who talks to the machine's console, `kd` the same for its kernel debugger; without
    it QEMU makes one of its own.
    """

    arguments: tuple[str, ...]
    ssh_port: str = "0"
    overlay: Path | None = None
    serial_log: Path | None = None
    lane: int | None = None
    variables: Path | None = None
    tpm: int | None = None
    console: int | None = None
    kd: int | None = None


def qmp_control(
    fd: int,
    overlay: Path | None = None,
    *,
    lane: int | None = None,
    variables: Path | None = None,
    tpm: int | None = None,
    console: int | None = None,
    kd: int | None = None,
    more: Sequence[str] = (),
    incoming: bool = False,
) -> Control:
    """Control by QMP over an inherited, connected socket, with `more` arguments. The CPUs wait for `cont`.

    So no event is missed. With `incoming` the machine has no state of its own and waits to be told where to load one.
    """
    chardev = ("-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control")
    arguments = ("-S", *chardev, *more, *(("-incoming", "defer") if incoming else ()))
    return Control(
        arguments, overlay=overlay, lane=lane, variables=variables, tpm=tpm, console=console, kd=kd
    )


def literal(text: str | Path) -> str:
    """`text` as one value inside a comma-separated QEMU option: commas doubled."""
    return str(text).replace(",", ",,")


def argv(machine: Machine, control: Control) -> list[str]:
    """The argument vector, program name first. Nothing in it is ever seen by a shell."""
    return [
        machine.program,
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-sandbox", SANDBOX),
        *("-machine", _machine(machine)),
        *accelerator_arguments(machine.accel, icount=machine.icount),
        *("-cpu", machine.cpu),
        *("-smp", f"{machine.smp},maxcpus={machine.max_cpus}" if machine.max_cpus else str(machine.smp)),
        *("-m", f"{machine.memory_mib}M"),
        *_ram(machine),
        *("-rtc", f"base={machine.rtc_base}"),
        # shutdown=pause: a guest that ends on its own stays there for its screen and memory to be read.
        *("-action", f"panic={machine.on_panic},reboot={machine.on_reboot},shutdown=pause"),
        *_direct_boot(machine.direct_boot),
        *_disk(machine, control),
        *_firmware(machine, control),
        *_media(machine),
        *_network(machine, control),
        *_serial(machine, control),
        *_lane(machine, control),
        *ports.debugger(machine.kd, control.kd),
        *_tpm(machine, control),
        *(("-device", "vmgenid,guid=auto") if machine.vmgenid else ()),
        *("-device", "virtio-rng-pci"),
        *(("-device", machine.panic_device) if machine.panic_device else ()),
        *(argument for device in machine.devices for argument in ("-device", device)),
        *control.arguments,
    ]


def accelerator_arguments(accel: Accel, *, icount: bool) -> list[str]:
    """How the CPUs run; with `icount` an instruction takes 2 ns of the guest's time, and idling none of the host's.

    Cycles are counted at 1 GHz of the guest's time, so an instruction makes two of them: the two events cannot be
    mistaken for each other.
    """
    if icount:
        return ["-accel", "tcg,thread=single", "-icount", f"shift={ICOUNT_SHIFT},sleep=off"]
    return ["-accel", "tcg,thread=multi" if accel is Accel.TCG else str(accel)]


def _machine(machine: Machine) -> str:
    smm = ",smm=on" if machine.uefi and machine.uefi.smm else ""
    return machine.machine + smm + (",memory-backend=ram0" if machine.ram_file else "")


def _ram(machine: Machine) -> list[str]:
    if machine.ram_file is None:
        return []
    share = "on" if machine.ram_file.shared else "off"
    file = f"size={machine.memory_mib}M,mem-path={literal(machine.ram_file.path.absolute())},share={share}"
    return ["-object", f"memory-backend-file,id=ram0,{file}"]


def _direct_boot(boot: DirectBoot | None) -> list[str]:
    if boot is None:
        return []
    kernel, initrd = (str(path.absolute()) for path in (boot.kernel, boot.initrd))
    return ["-kernel", kernel, "-initrd", initrd, "-append", boot.options]


def _disk(machine: Machine, control: Control) -> list[str]:
    if machine.disk is None:
        return []
    file = _written(machine, machine.disk, machine.disk_format, control.overlay)
    device = DISK_DEVICES.get(machine.disk_device, machine.disk_device)
    index = (
        1 if machine.boot == "medium-once" or machine.direct_boot else 0
    )  # QEMU's own kernel is first, on x86 as 0
    return ["-drive", f"if=none,id=disk0,{file}", "-device", f"{device},drive=disk0,bootindex={index}"]


def _written(machine: Machine, base: Path, base_format: str, overlay: Path | None) -> str:
    """A file of the machine that is written to: the overlay that takes the writes, or whatever does so instead."""
    file = f"file={literal(base.absolute())},format={base_format}"
    if overlay is not None:
        # The base is named here, since a copied overlay knows only where its base was when it was made.
        backing = f"backing.driver={base_format},backing.file.filename={literal(base.absolute())}"
        file = f"file={literal(overlay)},format=qcow2,{backing}"
    elif machine.disk_snapshot:
        file += ",snapshot=on"
    return file + ",cache=unsafe"  # no flushes: what a crash of the host would cost is thrown away anyway


def _firmware(machine: Machine, control: Control) -> list[str]:
    """Behind the disk: QEMU puts the RAM of an internal snapshot into the first drive that can take it."""
    uefi = machine.uefi
    if uefi is None:
        return []
    variables = _written(machine, uefi.variables, uefi.variables_format, control.variables)
    return firmware.flash(uefi, literal_code=literal(uefi.code.absolute()), variables=variables)


def _media(machine: Machine) -> list[str]:
    paths = [literal(medium.path.absolute()) for medium in machine.media]
    return media.drives(machine.media, paths, boot_from=0 if machine.boot == "medium-once" else 1)


def _tpm(machine: Machine, control: Control) -> list[str]:
    if not machine.tpm:
        return []
    channel = f"path={TPM_BY_HAND}/socket" if control.tpm is None else f"fd={control.tpm}"
    backend = ("-chardev", f"socket,id=tpmctl,{channel}", "-tpmdev", "emulator,id=tpm0,chardev=tpmctl")
    return [*backend, "-device", f"{TPM_DEVICES[machine.arch]},tpmdev=tpm0"]


def _network(machine: Machine, control: Control) -> list[str]:
    if machine.net_device is None:
        return []
    forward = f"tcp:127.0.0.1:{control.ssh_port}-:{machine.ssh_guest_port}"
    # restrict=on: the guest reaches nobody.
    netdev = f"user,id=net0,restrict={'off' if machine.reaches_out else 'on'},hostfwd={forward}"
    # romfile=: no network boot, whose option ROM costs boot time.
    return ["-netdev", netdev, "-device", f"{machine.net_device},netdev=net0,romfile="]


def _serial(machine: Machine, control: Control) -> list[str]:
    log = control.serial_log or machine.serial_log
    if log is None:
        return []
    backend = f"file,id=serial0,path={literal(log)}"
    if machine.console:
        place = f"path={CONSOLE_BY_HAND}" if control.console is None else f"fd={control.console}"
        backend = f"socket,id=serial0,{place},server=on,wait=off,logfile={literal(log)}"
    return ["-chardev", backend, "-serial", "chardev:serial0"]


def _lane(machine: Machine, control: Control) -> list[str]:
    if machine.lane_device is None:
        return []
    backend = "null,id=lane" if control.lane is None else f"socket,id=lane,fd={control.lane}"
    return ["-chardev", backend, "-device", f"{machine.lane_device},chardev=lane"]


def run_script(machine: Machine, *, user: str = "Administrator", key: Path | None = None) -> str:
    """A POSIX shell script that starts the same machine by hand, with QEMU's monitor on the terminal.

    It differs from what the harness starts only in how it is driven: the CPUs start at once, the SSH port is
    the first argument, the serial log and the console's socket are new files beside the script, writes to the
    disk go to a temporary file of QEMU's own, a TPM has its state in a folder beside the script.
    """
    control = Control(
        ("-monitor", "stdio"),
        ssh_port=_PORT_MARK,
        serial_log=Path("serial-by-hand.log") if machine.serial_log else None,
    )
    program, *arguments = argv(machine, control)
    tpm = f"""mkdir -p {TPM_BY_HAND}
swtpm socket --tpm2 --daemon --terminate \\
    --tpmstate dir="$PWD/{TPM_BY_HAND}" --ctrl type=unixio,path={TPM_BY_HAND}/socket
"""
    talk = f"""echo 'console: socat -,raw,echo=0,escape=0x1d' "UNIX-CONNECT:$PWD/{CONSOLE_BY_HAND}" >&2
"""
    identity = ["-i", str(key)] if key else []
    login = " ".join(map(_quote, ["ssh", *identity, "-p", _PORT_MARK, f"{user}@127.0.0.1"]))
    return f"""#!/bin/sh
# Starts this cell's virtual machine by hand. Usage: run.sh [SSH_PORT]   ("quit" ends it)
set -eu
port=${{1:-{DEFAULT_HUMAN_PORT}}}
case $port in *[!0-9]*) echo "usage: run.sh [SSH_PORT]" >&2; exit {EXIT_USAGE};; esac
cd "$(dirname "$0")"
echo {shlex.quote("log in with:")} {login} >&2
{talk if machine.console else ""}{tpm if machine.tpm else ""}exec {program} \\
{_lines(arguments)}
"""


def _quote(argument: str) -> str:
    """`argument` for a POSIX shell, with the script's port where the mark is."""
    return '"$port"'.join(shlex.quote(part) if part else "" for part in argument.split(_PORT_MARK)) or "''"


def _lines(arguments: list[str]) -> str:
    """Arguments as continued lines, an option and its value on one."""
    lines: list[str] = []
    for argument in map(_quote, arguments):
        if lines and not argument.startswith("-"):
            lines[-1] += f" {argument}"
        else:
            lines.append(f"    {argument}")
    return " \\\n".join(lines)
