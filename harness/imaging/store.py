"""The store of guest images: finding one, and proving that it is the one that was built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config.load import load_guest
from harness.config.models import GuestDefinition
from harness.errors import InfrastructureError, UsageError
from harness.imaging.manifest import Manifest, read_manifest, sha256_of
from harness.imaging.recipe import EMBEDDED, IMPORTED, image_folder
from harness.imaging.use import hold
from harness.paths import guest_store
from harness.vm.machine import DirectBoot

DISK = "disk.qcow2"
KEY = "key"
HOST_KEY = "host_key.pub"
KERNEL = "vmlinuz"
INITRD = "initrd"
VARIABLES = "variables.fd"


@dataclass(frozen=True)
class GuestImage:
    """A guest's image. `key` is the private key that logs in; `host_key` the text of the guest's public host key, empty
    when an imported guest was never asked for it.

    `direct_boot` is what QEMU has to boot it with; None where the disk boots by itself. `variables` is what its UEFI
    firmware remembers of the installation (raw); None where the image came without.
    """

    definition: GuestDefinition
    folder: Path
    disk: Path
    key: Path
    host_key: str
    manifest: Manifest
    direct_boot: DirectBoot | None = None
    variables: Path | None = None


def find_guest(name: str) -> GuestImage:
    """The image of a guest definition, ready to be used; it stays there as long as this process lives.

    Raises UsageError when there is no such definition, or its image is not there, out of date, or was never checked;
    ConfigError; InfrastructureError when the image's folder is damaged.
    """
    image = find_image(name)
    if not image.host_key:
        raise UsageError(
            f"guest {name!r} was imported, but never checked", remedy=f"run: halpmc guest check {name}"
        )
    return image


def find_image(name: str) -> GuestImage:
    """The same for an image that may not have been checked: its host key is empty then."""
    definition = load_guest(name)
    folder = image_folder(definition)
    try:
        hold(folder)
    except FileNotFoundError:
        older = definition.recipe == EMBEDDED and any(folder.parent.glob(f"{name}-*"))
        state = "is out of date: its recipe has changed" if older else "is not built"
        how = "import the disk again" if definition.recipe == IMPORTED else f"run: halpmc guest build {name}"
        raise UsageError(f"guest {name!r} {state}", remedy=how) from None
    return open_image(definition, folder)


def open_image(definition: GuestDefinition, folder: Path) -> GuestImage:
    """The image in a folder. A look at the disk's size and time tells whether it was touched since it was built.

    Raises InfrastructureError when it was, or when a file is missing.
    """
    manifest = read_manifest(folder)
    disk, key, host_key = folder / DISK, folder / KEY, folder / HOST_KEY
    boot = None
    if manifest.kernel_options is not None:
        boot = DirectBoot(kernel=folder / KERNEL, initrd=folder / INITRD, options=manifest.kernel_options)
    imported = manifest.source is not None  # its host key is learned when it is checked
    for path in (
        disk,
        key,
        *(() if imported else (host_key,)),
        *((boot.kernel, boot.initrd) if boot else ()),
    ):
        if not path.is_file():
            raise _damaged(folder, f"{path} is missing")
    status = disk.stat()
    if (status.st_size, status.st_mtime_ns) != (manifest.disk_bytes, manifest.disk_mtime_ns):
        raise _damaged(folder, f"{disk} was changed after it was built")
    variables = folder / VARIABLES if (folder / VARIABLES).is_file() else None
    public = host_key.read_text().strip() if host_key.is_file() else ""
    return GuestImage(definition, folder, disk, key, public, manifest, boot, variables)


def verify(image: GuestImage) -> None:
    """Read the whole disk and compare its SHA-256. Raises InfrastructureError when it differs."""
    found = sha256_of(image.disk)
    if found != image.manifest.disk_sha256:
        raise _damaged(image.folder, f"{image.disk} has SHA-256 {found}, not {image.manifest.disk_sha256}")


def _damaged(folder: Path, message: str) -> InfrastructureError:
    how = "import" if folder.parent == guest_store() else "build"
    return InfrastructureError(message, remedy=f"delete {folder} and {how} the guest again")
