"""What an installation leaves in the store: the sealed disk, and what is known of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import yaml

from harness.caching import content_hash
from harness.config.load import guests_folder, load_guest_file
from harness.config.models import Accel, GuestDefinition
from harness.errors import BuildError
from harness.host.tools import require_tool, run_tool, tool_version
from harness.imaging.manifest import FILE_NAME, InstalledWindows, Manifest, sha256_of
from harness.imaging.store import DISK
from harness.imaging.windows_answer import windows_of
from harness.imaging.windows_media import Medium
from harness.imaging.windows_supervise import Installed
from harness.paths import image_sources
from harness.vm.firmware import Uefi

SEAL_S = 3600.0
CREATE_S = 60.0


def create_disk(path: Path, gib: int) -> None:
    """An empty disk, thin. Raises BuildError, DeadlineExceeded, ToolMissing."""
    _qemu_img("create", "-q", "-f", "qcow2", str(path), f"{gib}G", limit_s=CREATE_S)


def seal(disk: Path, sealed: Path) -> None:
    """A compressed copy without what the installation has freed, which nobody may write. Raises as `create_disk`."""
    options = ("-c", "-W", "-m", "8", "-O", "qcow2", "-o", "compression_type=zstd")
    _qemu_img("convert", *options, str(disk), str(sealed), limit_s=SEAL_S)
    sealed.chmod(0o444)


def copy_variables(uefi: Uefi, path: Path) -> Uefi:
    """The firmware with its variables in a file of their own, raw whatever the host's template is (some hosts have
    qcow2): as such they are found in the store. Raises as `create_disk`."""
    formats = ("-f", uefi.variables_format, "-O", "raw")
    _qemu_img("convert", *formats, str(uefi.variables), str(path), limit_s=CREATE_S)
    return uefi.model_copy(update={"variables": path, "variables_format": "raw"})


def write_secret(path: Path, text: str) -> None:
    """A file that its owner alone can read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def write_definition(folder: Path, definition: GuestDefinition) -> None:
    """The guest's definition beside its image, where it is not the project's: other devices, another name or file."""
    name = definition.name
    if (guests_folder() / f"{name}.yaml").is_file() and load_guest_file(
        guests_folder() / f"{name}.yaml"
    ) == definition:
        return
    described = definition.model_dump(mode="json", exclude_defaults=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(described, sort_keys=False))


def write_manifest(
    folder: Path,
    definition: GuestDefinition,
    medium: Medium,
    installed: Installed,
    *,
    answer_sha256: str,
    accel: Accel,
    virtio: Path | None,
    openssh: Path | None,
) -> None:
    """The manifest of the image in `folder`. An evaluation ends its days after the installation, at the earliest."""
    windows, disk = windows_of(definition), folder / DISK
    now = datetime.now(UTC).replace(microsecond=0)
    days = windows.evaluation_days if _is_evaluation(medium) else None
    manifest = Manifest(
        name=definition.name,
        kind=definition.kind,
        os=medium.edition.name,
        arch=definition.arch,
        wine_version=None,
        kernel=f"build {windows.build}",
        packages={},
        tools={tool: tool_version(require_tool(tool)) for tool in ("qemu-img", "wimlib-imagex")},
        recipe_hash=content_hash([image_sources() / "windows"]),
        build_mode=f"installed under {accel}",
        built_at=now,
        built_by=f"halpmc {metadata.version('halpmc')}",
        stage_seconds=installed.seconds,
        disk_sha256=sha256_of(disk),
        disk_bytes=disk.stat().st_size,
        disk_mtime_ns=disk.stat().st_mtime_ns,
        windows=InstalledWindows(
            medium=medium.path.name,
            medium_sha256=medium.sha256,
            edition=medium.edition.name,
            build=windows.build,
            disk_device=definition.disk_device,
            net_device=definition.net_device,
            firmware=definition.firmware,
            virtio_sha256=sha256_of(virtio) if virtio else None,
            openssh_sha256=sha256_of(openssh) if openssh else None,
            answer_sha256=answer_sha256,
            reboots=installed.reboots,
            phases_without_mark=installed.missed,
            evaluation_ends=now + timedelta(days=days) if days else None,
        ),
    )
    (folder / FILE_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")


def _is_evaluation(medium: Medium) -> bool:
    """Known of a known medium; else what the name says. Evaluation media of servers name their images as others do: of
    an unknown one a licence is not assumed, so the date is too early at worst."""
    if medium.known is not None:
        return medium.known.evaluation
    return medium.edition.server or "Eval" in medium.edition.name


def _qemu_img(*arguments: str, limit_s: float) -> None:
    done = run_tool([require_tool("qemu-img"), *arguments], f"qemu-img {arguments[0]}", limit_s)
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise BuildError(f"qemu-img {arguments[0]}: {said}", remedy="look for a full disk")
