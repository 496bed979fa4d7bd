"""The command line of a QEMU machine, and what the host says in it of how it drives the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.models import ICOUNT_SHIFT, Accel, Arch
from harness.vm.machine import DirectBoot, Machine
from harness.vm.media import device_id, drive_id
from harness.vm.ports import debugger

#: A QEMU that a guest took over could still start no process and gain no privilege; libvirt switches on the
#: same. A consequence: migration URIs of the kind `exec:` do not work.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#: Disks that Windows has drivers for: on the AHCI controller of a q35; and NVMe, which wants a serial number, and whose
#: state no QEMU can save: guests with it always boot cold.
DISK_DEVICES = {"ahci": "ide-hd,bus=ide.0", "nvme": "nvme,serial=halpmc"}
CD_CONTROLLER = "cdusb"
TPM_DEVICES = {Arch.X86_64: "tpm-crb", Arch.AARCH64: "tpm-tis-device"}
TPM_BY_HAND = "tpm-by-hand"
CONSOLE_BY_HAND = "console-by-hand.sock"


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


def qmp_arguments(fd: int, more: Sequence[str] = (), *, incoming: bool = False) -> tuple[str, ...]:
    """To drive a machine by QMP over an inherited, connected socket, with `more` behind it. The CPUs wait for `cont`.

    So no event is missed. With `incoming` the machine has no state of its own and waits to be told where to load one.
    """
    chardev = ("-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control")
    return ("-S", *chardev, *more, *(("-incoming", "defer") if incoming else ()))


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
        *debugger(machine.kd, control.kd),
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
    drive = "if=pflash,unit"
    code = f"format={uefi.code_format},readonly=on,file={literal(uefi.code.absolute())}"
    variables = _written(machine, uefi.variables, uefi.variables_format, control.variables)
    secure = ("-global", "driver=cfi.pflash01,property=secure,value=on") if uefi.smm else ()
    return ["-drive", f"{drive}=0,{code}", "-drive", f"{drive}=1,{variables}", *secure]


def _media(machine: Machine) -> list[str]:
    """The first medium is booted after the disk, or before it; the others never. Port 0 of AHCI is left to a disk."""
    arguments = []
    if any(medium.bus == "usb" for medium in machine.media):
        arguments += ["-device", f"qemu-xhci,id={CD_CONTROLLER}"]
    for number, medium in enumerate(machine.media):
        bus = f"ide-cd,bus=ide.{number + 1}" if medium.bus == "sata" else f"usb-storage,bus={CD_CONTROLLER}.0"
        file = f"format={medium.format},file={literal(medium.path.absolute())}"
        index = f",bootindex={0 if machine.boot == 'medium-once' else 1}" if number == 0 else ""
        arguments += [
            *("-drive", f"if=none,id={drive_id(number)},media=cdrom,readonly=on,{file}"),
            *("-device", f"{bus},id={device_id(number)},drive={drive_id(number)}{index}"),
        ]
    return arguments


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
