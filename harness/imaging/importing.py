"""Importing a disk that a user has: probed, converted, compared, and in the store whole or not at all."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import yaml

from harness.caching import GIB, Say, built_once, require_space
from harness.config.load import guest_names, load_guest, load_guest_file
from harness.config.models import Arch, Firmware, GuestDefinition, GuestKind, GuestTimeouts, HalKind
from harness.errors import UsageError
from harness.imaging.convert import convert, first_bytes, measure
from harness.imaging.formats import DiskFormat, has_boot_record, is_gpt, probe
from harness.imaging.manifest import FILE_NAME, Manifest, Source, sha256_of
from harness.imaging.recipe import IMPORTED
from harness.imaging.store import DISK, KEY, VARIABLES, GuestImage, open_image
from harness.paths import guest_store

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: What the store must still have free when the image is in it: templates and overlays need room, too.
SPARE = 1 * GIB

#: A Windows on devices that it has drivers for by itself.
WINDOWS = GuestDefinition(
    name="windows",
    title="imported Windows",
    kind=GuestKind.WINDOWS,
    hal=HalKind.SYSTEM,
    arch=Arch.X86_64,
    recipe=IMPORTED,
    machine="q35",
    disk_device="ahci",
    net_device="e1000e",
    devices=("VGA",),
    vmgenid=True,
    timeouts=GuestTimeouts(banner_s=600.0, login_s=120.0),
)


def import_guest(
    disk: Path,
    name: str,
    *,
    key: Path,
    user: str | None = None,
    definition: str | None = None,
    wanted: DiskFormat | None = None,
    sha256: str | None = None,
    variables: Path | None = None,
    say: Say = lambda _: None,
) -> GuestImage:
    """Bring a disk into the store as guest `name`; it is usable once it is checked.

    `definition` names a guest definition or its file, whose devices and timeouts the guest gets; by default those of a
    Windows on inbox devices. `variables` is what its UEFI firmware remembers (raw). Nothing in the disk is changed.
    Raises UsageError (name, image, key, hash), ConfigError, NoSpace, CacheBusy, DeadlineExceeded.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a guest's name", remedy="use lower-case letters, digits, '.', '_' and '-'"
        )
    if name in guest_names():
        raise UsageError(
            f"there is a guest {name!r} already", remedy=f"take another name, or: halpmc guest rm {name}"
        )
    for file in (disk, key, *([variables] if variables else [])):
        if not file.is_file():
            raise UsageError(f"{file} is no file")
    base = _base(definition)
    found = probe(disk, wanted)
    say(f"{disk} is {found.detail}; reading it")
    digest = sha256_of(disk)
    if sha256 is not None and digest != sha256.lower():
        raise UsageError(f"{disk} has SHA-256 {digest}, not {sha256}", remedy="get the disk again")
    required, size = measure(disk, found.format)
    require_space(guest_store(), required + SPARE, f"importing {disk.name}")

    def build(folder: Path) -> None:
        firmware = _firmware(disk, found.format, base if definition else None, folder)
        convert(disk, found.format, folder / DISK, size, say)
        described = base.model_copy(update={"name": name, "recipe": IMPORTED, "firmware": firmware})
        if user is not None:
            described = described.model_copy(update={"ssh": described.ssh.model_copy(update={"user": user})})
        shutil.copyfile(key, folder / KEY)
        (folder / KEY).chmod(0o600)
        if variables is not None:
            shutil.copyfile(variables, folder / VARIABLES)
        (folder / f"{name}.yaml").write_text(
            yaml.safe_dump(described.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        )
        source = Source(file=disk.name, format=found.format, bytes=disk.stat().st_size, sha256=digest)
        say("hashing the result")
        manifest = _manifest(described, folder / DISK, source)
        (folder / FILE_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")

    folder = built_once(guest_store() / name, f"guest {name}", build, needs_bytes=required, say=say)
    return open_image(load_guest(name), folder)


def _base(definition: str | None) -> GuestDefinition:
    if definition is None:
        return WINDOWS
    path = Path(definition)
    return load_guest_file(path) if path.suffix == ".yaml" else load_guest(definition)


def _firmware(disk: Path, kind: DiskFormat, named: GuestDefinition | None, folder: Path) -> Firmware:
    """What starts the disk: what the definition that was named says, else what its partition table was made for.

    There is no BIOS for aarch64: a definition without firmware is that of a guest whose kernel lies beside its disk,
    and beside an imported disk lies none. Raises UsageError where UEFI would find nothing to start.
    """
    if named is not None and named.arch is not Arch.AARCH64:
        return named.firmware
    start = folder / "start"
    first_bytes(disk, kind, start)
    with start.open("rb") as file:
        by_disk = Firmware.UEFI if is_gpt(file) else Firmware.BIOS
        bootable = has_boot_record(file)
    start.unlink()
    if named is None:
        return by_disk
    if not bootable:
        raise UsageError(
            f"{disk} has no partition table: UEFI, which starts machines of aarch64, finds no boot loader",
            remedy="import a disk that boots by itself",
        )
    return Firmware.UEFI if named.firmware is Firmware.BIOS else named.firmware


def _manifest(definition: GuestDefinition, disk: Path, source: Source) -> Manifest:
    disk.chmod(0o444)
    status = disk.stat()
    return Manifest(
        name=definition.name,
        kind=definition.kind,
        os="not known before it is checked",
        arch=definition.arch,
        built_at=datetime.now(UTC).replace(microsecond=0),
        built_by=f"halpmc {metadata.version('halpmc')}",
        disk_sha256=sha256_of(disk),
        disk_bytes=status.st_size,
        disk_mtime_ns=status.st_mtime_ns,
        source=source,
    )
