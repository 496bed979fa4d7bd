"""One QEMU machine as data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from harness.config.models import Accel, Arch, Kd, Model
from harness.vm.firmware import Uefi
from harness.vm.media import CdRom

#: QEMU's devices that draw a screen.
DISPLAYS = frozenset(
    ["VGA", "bochs-display", "cirrus-vga", "qxl-vga", "ramfb", "virtio-gpu-pci", "virtio-vga", "vmware-svga"]
)


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
