"""UEFI firmware: finding it on the host, and telling it from others.

Which files a host has is told by QEMU's firmware descriptors (docs/interop/firmware.json of QEMU), which every
distribution installs with its firmware: no path of a distribution is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.models import Arch, Firmware, Model
from harness.errors import InfrastructureError, ToolMissing

#: In rising order of precedence: a file replaces one of the same name before it, an empty one removes it.
DESCRIPTORS = (
    Path("/usr/share/qemu/firmware"),
    Path("/etc/qemu/firmware"),
    Path("~/.config/qemu/firmware"),
)
PACKAGES = {Arch.X86_64: "ovmf", Arch.AARCH64: "qemu-efi-aarch64"}
#: Descriptors name machine types with their versions; these are the aliases of the newest ones.
ALIASES = {"q35": "pc-q35-", "pc": "pc-i440fx-", "virt": "virt-"}

FlashFormat = Literal["raw", "qcow2"]


class Uefi(Model):
    """The firmware of a machine: `code`, which it only reads, and `variables`, its memory (boot entries, keys).

    With `smm` only code in system management mode may write the variables, which x86 needs for Secure Boot.
    """

    code: Path
    code_format: FlashFormat = "raw"
    variables: Path
    variables_format: FlashFormat = "raw"
    smm: bool = False


class _Described(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _File(_Described):
    filename: Path
    format: FlashFormat


class _Flash(_Described):
    device: Literal["flash"]
    mode: Literal["split"] = "split"
    executable: _File
    variables: _File = Field(alias="nvram-template")


class _Target(_Described):
    architecture: str
    machines: tuple[str, ...]


class _Descriptor(_Described):
    interfaces: tuple[str, ...] = Field(alias="interface-types")
    mapping: _Flash
    targets: tuple[_Target, ...]
    features: frozenset[str]

    def fits(self, arch: Arch, machine: str, *, secure: bool) -> bool:
        name = ALIASES.get(machine, machine)
        machines = (m for t in self.targets if t.architecture == arch for m in t.machines)
        return (
            "uefi" in self.interfaces
            and any(fnmatchcase(name, pattern) for pattern in machines)
            and (("enrolled-keys" if secure else "secure-boot") in self.features) is secure
            and self.mapping.executable.filename.is_file()
            and self.mapping.variables.filename.is_file()
        )


def find_uefi(
    arch: Arch, firmware: Firmware, machine: str, folders: Sequence[Path] = DESCRIPTORS
) -> Uefi | None:
    """The host's firmware of that kind for a QEMU machine (`q35,smm=off`: its name counts); None for a BIOS.

    `variables` is the pristine template: with Secure Boot one that holds Microsoft's keys. Raises ToolMissing when the
    host has none that fits.
    """
    if firmware is Firmware.BIOS:
        return None
    name, secure = machine.split(",", maxsplit=1)[0], firmware is Firmware.SECURE_BOOT
    for described in _descriptors(folders):
        if described.fits(arch, name, secure=secure):
            code, variables = described.mapping.executable, described.mapping.variables
            return Uefi(
                code=code.filename,
                code_format=code.format,
                variables=variables.filename,
                variables_format=variables.format,
                smm="requires-smm" in described.features,
            )
    boot = "UEFI firmware with Secure Boot" if secure else "UEFI firmware"
    raise ToolMissing(f"{boot} for {arch} {name}", PACKAGES[arch])


def _descriptors(folders: Sequence[Path]) -> Iterator[_Descriptor]:
    """Those that are flash with a template for its variables, the preferred ones first."""
    files = {path.name: path for folder in folders for path in folder.expanduser().glob("*.json")}
    for _, path in sorted(files.items()):
        try:
            text = path.read_text()
            described: Any = json.loads(text) if text.strip() else None
        except (OSError, ValueError) as error:
            raise InfrastructureError(f"{path} is no firmware descriptor: {error}") from None
        try:
            yield _Descriptor.model_validate(described)
        except ValidationError:
            continue  # firmware of another kind: as memory, without variables, or masked by an empty file


def identity(uefi: Uefi) -> str:
    """A hash of what the firmware is and remembers, wherever its files are."""
    files = (uefi.code, uefi.variables)
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
