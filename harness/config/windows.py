"""How a Windows guest is installed from its medium: the section `windows` of a guest definition."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from harness.config.base import Generation, Model

#: Windows 10 1903, from which on counters are shared.
FIRST_SHARED_BUILD = 18362

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Phase = Literal["boot", "winpe", "copy", "specialize", "oobe", "logon", "ready"]


class PhaseLimits(Model):
    """How long each phase of an installation may take, in seconds; the defaults suit KVM with a slow disk.

    `boot`: power-on until Setup's system (Windows PE) runs. `winpe`: what the answer file wants done there. `copy`: the
    disk is laid out, and the image applied, until the installed system starts. `specialize`: its devices. `oobe`: until
    the first logon. `logon`: our own setup. `ready`: the restart after it, until the guest says that it is ready. The
    sum is what other projects give a whole installation: two hours.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    boot: Seconds = 300.0
    winpe: Seconds = 600.0
    copy_: Seconds = Field(default=2400.0, alias="copy")
    specialize: Seconds = 1200.0
    oobe: Seconds = 900.0
    logon: Seconds = 900.0
    ready: Seconds = 1200.0

    def of(self, phase: Phase) -> float:
        """The limit of one phase."""
        return float(getattr(self, "copy_" if phase == "copy" else phase))

    @property
    def total(self) -> float:
        """The limit of a whole installation."""
        return sum(self.of(phase) for phase in get_args(Phase))


class WindowsSetup(Model):
    """One release of Windows as its installation needs to know it.

    `edition` is the name of an image in the medium's install.wim; `images` are words of which one must occur in the
    names of all images of a medium for this release. `virtio_folder` is the release's folder in each driver's on the
    virtio-win medium; with that medium the guest gets the virtio devices. `cpu_features` are QEMU's names of what the
    release does not start without. `hardware_checks`: Setup wants a TPM, Secure Boot and 4 GiB. `openssh_inbox`: the
    medium brings the SSH server. `reboots` is how often an installation restarts the machine, with those of our own
    setup; `spare_reboots` more are tolerated. `quiet_phases` may pass without a mark on the serial port. `marks` is
    `none` where Windows has no driver for a serial port of the machine: its end is asked over SSH then, all phases
    together have one limit, and in `still_s` seconds something must move, its screen or what it reads and writes.
    `expected_s` is how long it takes with KVM, for the user to know; `space_gib` what a build needs on the host's disk.
    """

    build: int = Field(ge=10240)
    generation: Generation
    server: bool
    edition: str = Field(min_length=1)
    images: tuple[str, ...] = Field(min_length=1)
    language: str = "en-US"
    evaluation_days: int | None = Field(default=None, ge=1)
    virtio_folder: str
    cpu_features: tuple[str, ...] = ()
    hardware_checks: bool = False
    openssh_inbox: bool = False
    reboots: int = Field(default=3, ge=1)
    spare_reboots: int = Field(default=2, ge=0)
    quiet_phases: tuple[Phase, ...] = ("boot", "winpe")
    limits: PhaseLimits = PhaseLimits()
    marks: Literal["serial", "none"] = "serial"
    still_s: Seconds = 1200.0
    expected_s: Seconds
    cpus: int = Field(default=2, ge=1, le=64)
    memory_mib: int = Field(default=4096, ge=512)
    disk_gib: int = Field(default=64, ge=1)
    space_gib: int = Field(default=24, ge=0)
    virtio_disk_device: str = "virtio-blk-pci"
    virtio_net_device: str = "virtio-net-pci"

    @model_validator(mode="after")
    def _generation_of_the_build(self) -> WindowsSetup:
        shared = self.build >= FIRST_SHARED_BUILD
        if (self.generation is Generation.SHARED) != shared:
            raise ValueError(f"build {self.build} does not have the generation {self.generation.value!r}")
        return self
