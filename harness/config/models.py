"""Frozen models of what the user configures: a guest definition, and one cell of a matrix."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

# Part of this module's face.
from harness.config.base import Generation as Generation  # noqa: PLC0414
from harness.config.base import Model as Model  # noqa: PLC0414
from harness.config.windows import WindowsSetup


class Expect(StrEnum):
    """When a run of a matrix is green: `conform`, when no clause is violated; `killed`, when every defect is noticed.

    With `killed` each cell with a defect needs a violation, or a change of what is recorded, of a clause that promises
    against this defect; cells without one have to conform.
    """

    CONFORM = "conform"
    KILLED = "killed"


class Arch(StrEnum):
    """Guest architecture, in QEMU's words."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


class Accel(StrEnum):
    """Accelerator; `auto` is decided by proof: the PMU probe has to answer under KVM within a deadline."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class WithoutPmu(StrEnum):
    """What the reference HAL answers on a machine without a PMU."""

    GRANT = "grant"
    REFUSE = "refuse"


class GuestKind(StrEnum):
    """What the guest really is. A Wine guest is never called Windows."""

    WINDOWS = "windows"
    WINE = "wine"


class HalKind(StrEnum):
    """Whose routines are called: the system's own, or our model of the documentation."""

    SYSTEM = "system"
    REFERENCE = "reference"


class Start(StrEnum):
    """How the VM starts: `clone`, from a saved ready state that is made once; `cold`, from power-on."""

    CLONE = "clone"
    COLD = "cold"


class Icount(StrEnum):
    """What the guest's time follows: `none`, the host's clock; `exact`, the instructions that its one CPU has executed.

    With `exact` the emulator's PMU counts instructions too, and the same code gives the same counts in every run.
    """

    NONE = "none"
    EXACT = "exact"


class Kd(StrEnum):
    """A port for Windows' kernel debugger: `serial`, a third serial port; `net`, a network card on its own cable."""

    NONE = "none"
    SERIAL = "serial"
    NET = "net"


ICOUNT_SHIFT = 1
"""With `icount: exact` an instruction takes 2 to the power of this nanoseconds of the guest's time (QEMU's `shift`)."""


class SuitePart(StrEnum):
    """A part of the contract's suite, by what its clauses cost and do to a guest.

    `basic` asks and leaves everything as it was; `crash` has the clauses that may stop the guest's kernel, a throw-away
    guest for each; `lifetime` those that reboot, save, put to sleep or enlarge a machine of their own.
    """

    BASIC = "basic"
    CRASH = "crash"
    LIFETIME = "lifetime"


class Firmware(StrEnum):
    """What starts the machine: `uefi` is OVMF or AAVMF; `secure-boot` the same with Microsoft's keys enrolled.

    `bios` on aarch64 means none: the machine needs a kernel that QEMU loads itself.
    """

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"


class Boot(StrEnum):
    """Which kind of firmware a cell starts with; Secure Boot is a setting of its own."""

    BIOS = "bios"
    UEFI = "uefi"


GroupSize = Literal[1, 2, 4, 8, 16, 32, 64]
"""How many CPUs a processor group of Windows may hold (bcdedit's groupsize)."""


class Enlightenments(StrEnum):
    """What of Hyper-V's interface the guest is offered (KVM on x86-64 alone can).

    `basic` is a fixed list with hv-crash in it; `passthrough` all that the host's kernel has.
    """

    NONE = "none"
    BASIC = "basic"
    PASSTHROUGH = "passthrough"


USUAL_MEMORY_MIB = {GuestKind.WINDOWS: 4096, GuestKind.WINE: 512}
"""Of machines whose guest is of this kind. Windows boots with less than 2 GiB never, or after minutes of paging."""


class HalSettings(Model):
    """Settings of the reference HAL for one cell; `defect` breaks it on purpose, by a name it knows."""

    generation: Generation = Generation.SHARED
    without_pmu: WithoutPmu = WithoutPmu.GRANT
    defect: str | None = None


class Cell(Model):
    """One VM configuration. `guest` names a guest definition; None is a cell that only runs the PMU probe.

    `suite` names the parts of the suite that run in it; `max_cpus` leaves room for CPUs that are added later. `kd` is a
    port for Windows' kernel debugger; `gdb` opens QEMU's stub for gdb on the host, of which the guest sees nothing.
    `firmware`, `secure_boot`, `tpm` and `enlightenments` are the guest's own where they are None; a matrix fills the
    first three in. `vbs` (with memory integrity), `verifier` and `group_size` are settings inside of Windows: None
    leaves them as the image has them. With `starve_pmu` somebody else holds all counters of the host meanwhile.
    """

    id: str
    guest: str | None = "embedded"
    arch: Arch = Arch.X86_64
    accel: Accel = Accel.AUTO
    machine: str = "q35"
    cpu: str = "max"
    pmu: bool = True
    smp: int = Field(default=2, ge=1, le=256)
    memory_mib: int = Field(default=512, ge=64, le=1 << 20)
    start: Start = Start.CLONE
    icount: Icount = Icount.NONE
    suite: tuple[SuitePart, ...] = tuple(SuitePart)
    max_cpus: int | None = Field(default=None, ge=1, le=256)
    kd: Kd = Kd.NONE
    gdb: bool = False
    firmware: Boot | None = None
    secure_boot: bool | None = None
    tpm: bool | None = None
    enlightenments: Enlightenments | None = None
    vbs: bool | None = None
    verifier: bool | None = None
    group_size: GroupSize | None = None
    starve_pmu: bool = False
    hal: HalSettings = HalSettings()

    @property
    def cpu_string(self) -> str:
        """What goes behind QEMU's -cpu: the model with its flags, and the PMU asked for by name."""
        return f"{self.cpu},pmu={'on' if self.pmu else 'off'}"


class SshLane(Model):
    """How to log in: the user, and the port that sshd listens on in the guest."""

    user: str = "Administrator"
    port: int = 22


class SerialLane(Model):
    """A serial port at which the client can wait in a saved state: its name in the guest, and QEMU's device for it."""

    port: str = "COM2"
    device: str = "isa-serial"


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GuestTimeouts(Model):
    """Deadlines in seconds for each phase of getting into the guest."""

    banner_s: Seconds = 90.0
    login_s: Seconds = 60.0
    client_s: Seconds = 60.0


class GuestPower(Model):
    """Commands of the guest's shell about the machine's power and CPUs; None where nobody knows one.

    `sleep_states` prints what sleep there is: S3 where `deep_sleep` stands in it, and then `sleep` begins it. `online`
    takes a CPU that was added into use; its number stands for {cpu}. None: the guest does that by itself.
    """

    reboot: str = "shutdown /r /f /t 0"
    sleep_states: str | None = None
    deep_sleep: str = ""
    sleep: str | None = None
    online: str | None = None


class ConsoleKind(StrEnum):
    """Who answers at the guest's first serial port: a Unix login shell, or Windows' Special Administration Console."""

    SHELL = "shell"
    SAC = "sac"


class SerialConsole(Model):
    """How to get a command line at the guest's first serial port, which needs no network.

    Without `user` no login is expected. The password stands in the environment variable `password_variable`; without
    one it is empty. `columns` is the width at which SAC breaks lines.
    """

    kind: ConsoleKind
    user: str | None = None
    domain: str = ""
    password_variable: str | None = None
    columns: int = Field(default=80, ge=20)


class CrashFiles(Model):
    """What a guest keeps of a crash of its kernel: dump files or folders of them, and whether it has an event log."""

    dumps: tuple[str, ...] = (r"C:\Windows\MEMORY.DMP", r"C:\Windows\Minidump")
    event_log: bool = True


class GuestDefinition(Model):
    """A guest as data (images/guests/NAME.yaml): what it is, which devices it wants, how to get in.

    A guest whose clock cannot be set has, in a clone, the time of its saved state.
    `also_boots` is other firmware that can start its image, such as any where QEMU loads the kernel itself.
    `kernel_files` is where a guest below which Linux runs shows that kernel's /sys.
    `pmu_access` says how a driver reaches the PMU's registers when it is not by its own privilege.
    `disk_device` is `ahci`, `nvme`, or a device in QEMU's words. `group_size` is how many CPUs a processor group of
    Windows holds (bcdedit's groupsize); None leaves it to Windows. `vmgenid` tells a clone that it is one, so that its
    random numbers are its own (x86-64 alone has it).
    `windows` is what an installation from a medium needs; only guests that can be made so have it.
    """

    name: str
    title: str
    kind: GuestKind
    hal: HalKind
    arch: Arch
    recipe: str
    machine: str
    disk_device: str = "virtio-blk-pci"
    net_device: str = "virtio-net-pci"
    devices: tuple[str, ...] = ()
    firmware: Firmware = Firmware.BIOS
    also_boots: tuple[Boot, ...] = ()
    tpm: bool = False
    vmgenid: bool = False
    enlightenments: Enlightenments = Enlightenments.NONE
    group_size: GroupSize | None = None
    rtc: Literal["utc", "localtime"] = "utc"
    tcg_cpu_flags: tuple[str, ...] = ()
    pmu_access: str | None = None
    kernel_files: str | None = None
    ssh: SshLane = SshLane()
    lane: SerialLane | None = None
    console: SerialConsole | None = None
    clock_can_be_set: bool = True
    drop_folder: str = r"C:\halpmc"
    service_group: str = "halpmc"
    power: GuestPower = GuestPower()
    crash: CrashFiles = CrashFiles()
    timeouts: GuestTimeouts = GuestTimeouts()
    windows: WindowsSetup | None = None

    @property
    def usual_memory_mib(self) -> int:
        """What a machine of this guest gets where nobody says otherwise, in MiB."""
        if self.windows is not None:
            return self.windows.memory_mib
        return USUAL_MEMORY_MIB[self.kind]

    @model_validator(mode="after")
    def _has_what_its_architecture_has(self) -> GuestDefinition:
        if self.arch is not Arch.X86_64:
            for name in ("enlightenments", "vmgenid"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: QEMU has this for x86_64 alone, and the guest is {self.arch}")
        return self
