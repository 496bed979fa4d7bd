"""The store of guest images: found by the recipe's hash, and refused when touched. No image is built here."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.config.load import load_guest, load_guest_for
from harness.config.models import Arch, GuestDefinition, GuestKind
from harness.errors import InfrastructureError, UsageError
from harness.imaging import recipe
from harness.imaging.manifest import FILE_NAME, Manifest, read_manifest
from harness.imaging.recipe import image_folder, recipe_of
from harness.imaging.store import DISK, HOST_KEY, INITRD, KERNEL, KEY, find_guest, verify
from harness.paths import guest_store

CONTENT = b"a disk"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def definition() -> GuestDefinition:
    return load_guest("embedded")


def store_image(definition: GuestDefinition) -> Path:
    """An image in the store as a build leaves it, with a disk of a few bytes."""
    folder = image_folder(definition)
    folder.mkdir(parents=True)
    disk = folder / DISK
    disk.write_bytes(CONTENT)
    (folder / KEY).write_text("private")
    (folder / HOST_KEY).write_text("ssh-ed25519 AAAA guest\n")
    manifest = Manifest(
        name=definition.name,
        kind=GuestKind.WINE,
        os="Debian 12.12 (bookworm)",
        arch=Arch.X86_64,
        wine_version="8.0~repack-4",
        kernel="linux-image-6.1.0-1-cloud-amd64 6.1.1-1",
        packages={"libwine": "8.0~repack-4"},
        tools={"ziglang": "0"},
        recipe_hash=recipe_of(definition).digest,
        build_mode="root",
        built_at=datetime.now(UTC),
        built_by="halpmc 0",
        stage_seconds={"disk": 1.0},
        disk_sha256=hashlib.sha256(CONTENT).hexdigest(),
        disk_bytes=len(CONTENT),
        disk_mtime_ns=disk.stat().st_mtime_ns,
    )
    (folder / FILE_NAME).write_text(manifest.model_dump_json())
    return folder


def test_a_built_guest_is_found(definition: GuestDefinition) -> None:
    folder = store_image(definition)
    image = find_guest("embedded")
    assert image.folder == folder
    assert image.disk.read_bytes() == CONTENT
    assert image.host_key == "ssh-ed25519 AAAA guest"
    assert image.manifest.wine_version == "8.0~repack-4"
    verify(image)


def test_a_guest_that_is_not_built_names_the_command() -> None:
    with pytest.raises(UsageError, match=r"not built .* run: halpmc guest build embedded"):
        find_guest("embedded")


def test_a_guest_of_an_older_recipe_is_out_of_date(definition: GuestDefinition) -> None:
    folder = store_image(definition)
    folder.rename(folder.with_name("embedded-0123456789abcdef"))
    with pytest.raises(UsageError, match=r"out of date.* run: halpmc guest build embedded"):
        find_guest("embedded")


def test_any_change_of_the_recipe_changes_the_hash(
    definition: GuestDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "images"
    (sources / "embedded").mkdir(parents=True)
    (sources / "embedded" / "build.sh").write_text("one")
    monkeypatch.setattr(recipe, "image_sources", lambda: sources)
    first = recipe_of(definition).digest
    (sources / "embedded" / "build.sh").write_text("two")
    second = recipe_of(definition).digest
    monkeypatch.setattr(recipe, "SUITES", {Arch.X86_64: "trixie"})
    assert len({first, second, recipe_of(definition).digest}) == 3


def test_a_disk_of_another_size_is_refused(definition: GuestDefinition) -> None:
    disk = store_image(definition) / DISK
    times = disk.stat()
    disk.write_bytes(CONTENT + b"!")
    os.utime(disk, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InfrastructureError, match="changed after it was built"):
        find_guest("embedded")


def test_a_disk_that_was_written_to_is_refused(definition: GuestDefinition) -> None:
    disk = store_image(definition) / DISK
    os.utime(disk, ns=(0, disk.stat().st_mtime_ns + 1_000_000_000))
    with pytest.raises(InfrastructureError, match="changed after it was built"):
        find_guest("embedded")


def test_verify_sees_what_size_and_time_do_not_show(definition: GuestDefinition) -> None:
    disk = store_image(definition) / DISK
    times = disk.stat()
    disk.write_bytes(CONTENT[::-1])
    os.utime(disk, ns=(times.st_atime_ns, times.st_mtime_ns))
    image = find_guest("embedded")
    with pytest.raises(InfrastructureError, match="SHA-256"):
        verify(image)


@pytest.mark.parametrize("missing", [DISK, KEY, HOST_KEY, FILE_NAME])
def test_a_missing_file_names_the_remedy(definition: GuestDefinition, missing: str) -> None:
    (store_image(definition) / missing).unlink()
    with pytest.raises(InfrastructureError, match=r"delete .* and build the guest again"):
        find_guest("embedded")


def test_an_unknown_recipe_is_refused(definition: GuestDefinition) -> None:
    with pytest.raises(UsageError, match="recipe 'other'"):
        recipe_of(definition.model_copy(update={"recipe": "other"}))


def test_a_kernel_beside_the_disk_belongs_to_the_image(definition: GuestDefinition) -> None:
    folder = store_image(definition)
    assert find_guest("embedded").direct_boot is None
    manifest = read_manifest(folder).model_copy(update={"kernel_options": "console=ttyAMA0 quiet"})
    (folder / FILE_NAME).write_text(manifest.model_dump_json())
    (folder / KERNEL).write_text("kernel")
    with pytest.raises(InfrastructureError, match=f"{INITRD} is missing"):
        find_guest("embedded")
    (folder / INITRD).write_text("initrd")
    boot = find_guest("embedded").direct_boot
    assert boot is not None
    assert (boot.kernel, boot.initrd) == (folder / KERNEL, folder / INITRD)
    assert boot.options == "console=ttyAMA0 quiet"


def test_each_architecture_is_an_image_of_its_own(definition: GuestDefinition) -> None:
    assert recipe_of(definition).digest != recipe_of(load_guest_for("embedded", Arch.AARCH64)).digest


def test_what_the_checkout_alone_cannot_build_is_in_the_store(definition: GuestDefinition) -> None:
    for kind in ("windows", "import"):
        assert image_folder(definition.model_copy(update={"recipe": kind})) == guest_store() / definition.name
