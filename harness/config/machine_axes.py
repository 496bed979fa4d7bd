"""Settings of a cell that its guest decides unless they are written, and those that cannot be with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from harness.config.document import Location
from harness.config.models import (
    Accel,
    Arch,
    Boot,
    Cell,
    Enlightenments,
    Firmware,
    GuestDefinition,
    GuestKind,
)

#: Keys of a cell that say what its guest's machine and system are: a cell without a guest has none of them.
GUEST_KEYS = (
    "firmware",
    "secure_boot",
    "tpm",
    "enlightenments",
    "vbs",
    "verifier",
    "group_size",
)
#: What an image can only be told from inside, and only Windows has.
WINDOWS_KEYS = {
    "vbs": "virtualization-based security",
    "verifier": "Driver Verifier",
    "group_size": "processor groups of a chosen size",
}
DEFAULTS: Location = ("defaults",)
#: Machine types that QEMU has a TPM's interface for, less the versions that they may end in.
TPM_MACHINES = ("q35", "pc", "virt")


class Impossible(NamedTuple):
    """A setting that cannot be, why, and the other settings that it is at odds with."""

    key: str
    reason: str
    others: tuple[str, ...] = ()


def boot_of(firmware: Firmware) -> Boot:
    """The kind of a guest's firmware."""
    return Boot.BIOS if firmware is Firmware.BIOS else Boot.UEFI


def fill_in(settings: dict[str, Any], guest: GuestDefinition) -> None:
    """Give a cell its guest's own firmware, TPM and group size where nothing else is written.

    Not its enlightenments: a guest that likes some gets none under TCG, and only a cell that asks for them misses them.
    """
    # Secure Boot goes with the firmware that the guest has it for: another one starts without.
    own = boot_of(guest.firmware) if settings.get("firmware") is None else settings["firmware"]
    secure = guest.firmware is Firmware.SECURE_BOOT and own == Boot.UEFI
    for key, value in {
        "firmware": own,
        "secure_boot": secure,
        "tpm": guest.tpm,
        "group_size": guest.group_size,
    }.items():
        if settings.get(key) is None:
            settings[key] = value


def equipped(guest: GuestDefinition, cell: Cell) -> GuestDefinition:
    """The guest with the firmware, TPM, enlightenments and group size that a cell asks for."""
    asked: dict[str, Any] = {key: getattr(cell, key) for key in ("tpm", "enlightenments", "group_size")}
    asked["firmware"] = _firmware(guest.firmware, cell.firmware, cell.secure_boot)
    return guest.model_copy(update={key: value for key, value in asked.items() if value is not None})


def _firmware(own: Firmware, boot: Boot | None, secure: bool | None) -> Firmware:
    if (boot or boot_of(own)) is Boot.BIOS:
        return Firmware.BIOS
    if secure is None:
        secure = own is Firmware.SECURE_BOOT
    return Firmware.SECURE_BOOT if secure else Firmware.UEFI


def impossible(settings: Mapping[str, Any], guest: GuestDefinition | None) -> Impossible | None:
    """The first setting that cannot be in this cell; None when all can. `settings` are filled in."""
    found = _without_guest(settings) if guest is None else _with_guest(settings, guest)
    return next(chain(found, _starving(settings)), None)


def forget(settings: dict[str, Any], where: Mapping[str, Location]) -> None:
    """Take from a cell without a guest what the defaults of all cells say of guests."""
    for key in GUEST_KEYS:
        if where.get(key, DEFAULTS)[0] == DEFAULTS[0]:
            settings[key] = None


def _without_guest(settings: Mapping[str, Any]) -> Iterator[Impossible]:
    for key in GUEST_KEYS:
        if settings[key] is not None:
            yield Impossible(key, f"{key} is a guest's, and this cell runs the PMU probe alone", ("guest",))


def _with_guest(settings: Mapping[str, Any], guest: GuestDefinition) -> Iterator[Impossible]:
    own, firmware = boot_of(guest.firmware), settings["firmware"]
    if firmware != own and firmware not in guest.also_boots:
        yield Impossible(
            "firmware",
            f"the image of guest {guest.name!r} was made for {own}: {firmware} cannot start it",
            ("guest",),
        )
    if settings["secure_boot"]:
        if firmware != Boot.UEFI:
            yield Impossible(
                "secure_boot",
                f"Secure Boot is UEFI's, and this cell starts by {firmware}",
                ("firmware", "guest"),
            )
        elif guest.kind is GuestKind.WINE:
            yield Impossible(
                "secure_boot",
                f"nobody whom the enrolled keys trust has signed the kernel of guest {guest.name!r}",
                ("guest",),
            )
    if settings["tpm"] and not _has_tpm(settings["machine"]):
        reason = f"QEMU has a TPM for the machines {', '.join(TPM_MACHINES)}, not for {settings['machine']}"
        yield Impossible("tpm", reason, ("machine", "guest"))
    if settings["enlightenments"] not in (None, Enlightenments.NONE):
        if settings["arch"] != Arch.X86_64:
            yield Impossible(
                "enlightenments", "Hyper-V's enlightenments are for x86_64 alone", ("arch", "guest")
            )
        if settings["accel"] == Accel.TCG:
            yield Impossible(
                "enlightenments", "Hyper-V's enlightenments are KVM's, and accel is tcg", ("accel",)
            )
    for key, what in WINDOWS_KEYS.items():
        if settings.get(key) and guest.kind is not GuestKind.WINDOWS:
            yield Impossible(
                key, f"{what}: Windows alone has it, and guest {guest.name!r} is Wine", ("guest",)
            )


def _has_tpm(machine: str) -> bool:
    name = machine.split(",", maxsplit=1)[0].removeprefix("pc-")
    return any(name == known or name.startswith(f"{known}-") for known in (*TPM_MACHINES, "i440fx"))


def _starving(settings: Mapping[str, Any]) -> Iterator[Impossible]:
    if not settings["starve_pmu"]:
        return
    if settings["accel"] == Accel.TCG:
        yield Impossible(
            "starve_pmu", "only KVM's virtual PMU uses the host's counters, and accel is tcg", ("accel",)
        )
    if not settings["pmu"]:
        yield Impossible("starve_pmu", "there is no PMU to starve with pmu: off", ("pmu",))
