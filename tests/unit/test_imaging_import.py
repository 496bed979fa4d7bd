"""Importing small disks with the real qemu-img, and the store's list, removal and garbage collection."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from harness.cli import app
from harness.config.load import guest_names, load_guest, load_matrix
from harness.errors import InfrastructureError, NoSpace, UsageError
from harness.host.tools import require_tool
from harness.imaging.check import FILE_NAME as CHECK
from harness.imaging.formats import DiskFormat
from harness.imaging.importing import import_guest
from harness.imaging.library import State, collect_garbage, describe, list_guests, remove_guest
from harness.imaging.recipe import image_folder
from harness.imaging.store import DISK, HOST_KEY, KEY, GuestImage, find_guest, find_image, verify
from harness.imaging.use import _held, in_use
from tests.unit.test_imaging_formats import SIZE, partitioned


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALPMC_GUESTS", str(tmp_path / "guests"))
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "guests"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    path.write_text("a private key")
    return path


@pytest.fixture
def vhd(tmp_path: Path) -> Path:
    path = tmp_path / "disk.bin"
    source = partitioned(tmp_path / "source")
    command: list[str | Path] = [
        require_tool("qemu-img"),
        "convert",
        "-f",
        "raw",
        "-O",
        "vpc",
        "-o",
        "subformat=fixed,force_size=on",
    ]
    subprocess.run([*command, source, path], check=True)
    return path


@pytest.fixture
def imported(vhd: Path, key: Path) -> GuestImage:
    return import_guest(vhd, "mine", key=key, user="tester", definition="embedded")


def test_an_imported_guest(imported: GuestImage, vhd: Path, store: Path) -> None:
    assert imported.folder == store / "mine"
    assert (imported.key.read_text(), imported.key.stat().st_mode & 0o777) == ("a private key", 0o600)
    definition = load_guest("mine")
    assert (definition.ssh.user, definition.recipe) == ("tester", "import")
    assert definition.tcg_cpu_flags == load_guest("embedded").tcg_cpu_flags
    source = imported.manifest.source
    assert source is not None
    assert (source.file, source.format) == ("disk.bin", "vhd")
    assert source.sha256 == hashlib.sha256(vhd.read_bytes()).hexdigest()
    verify(imported)
    assert not [path for path in store.glob(".*") if path.is_dir()], "nothing is left of the way there"
    raw = store.parent / "back"
    subprocess.run([require_tool("qemu-img"), "convert", "-O", "raw", imported.disk, raw], check=True)
    assert raw.read_bytes() == (store.parent / "source").read_bytes()


def test_a_matrix_may_name_it_once_it_was_checked(imported: GuestImage, tmp_path: Path) -> None:
    matrix = tmp_path / "m.yaml"
    matrix.write_text("schema: 1\nname: m\naxes: {guest: [mine], pmu: [true]}\n")
    assert [cell.guest for cell in load_matrix(matrix).cells] == ["mine"]
    with pytest.raises(UsageError, match="never checked — run: halpmc guest check mine"):
        find_guest("mine")
    (imported.folder / HOST_KEY).write_text("ssh-ed25519 AAAA\n")
    assert find_guest("mine").host_key == "ssh-ed25519 AAAA"


def test_without_a_definition_it_is_a_windows_on_what_it_knows(key: Path, tmp_path: Path) -> None:
    disk = tmp_path / "gpt"
    disk.write_bytes(bytes(512) + b"EFI PART" + bytes(SIZE - 520))
    import_guest(disk, "uefi", key=key)
    import_guest(partitioned(tmp_path / "mbr"), "bios", key=key)
    guests = [load_guest("uefi"), load_guest("bios")]
    assert [guest.firmware for guest in guests] == ["uefi", "bios"]
    assert {(g.kind, g.disk_device, g.net_device, g.ssh.user) for g in guests} == {
        ("windows", "ahci", "e1000e", "Administrator")
    }


def test_a_disk_for_aarch64_is_started_by_uefi(vhd: Path, key: Path, tmp_path: Path, store: Path) -> None:
    """The guest that the definition is made for has no firmware: its kernel lies beside its disk."""
    assert load_guest("embedded-arm64").firmware == "bios"
    import_guest(vhd, "arm", key=key, definition="embedded-arm64")
    assert load_guest("arm").firmware == "uefi"
    import_guest(vhd, "pc", key=key, definition="embedded")
    assert load_guest("pc").firmware == "bios"
    bare = tmp_path / "a file system alone"
    bare.write_bytes(bytes(SIZE))
    with pytest.raises(UsageError, match="finds no boot loader"):
        import_guest(bare, "bare", key=key, definition="embedded-arm64", wanted=DiskFormat.RAW)
    assert not (store / "bare").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "embedded"}, "there is a guest 'embedded' already"),
        ({"name": "../x"}, "cannot be a guest's name"),
        ({"sha256": "0" * 64}, "has SHA-256"),
        ({"key": Path("/no/key")}, "is no file"),
        ({"definition": "embeded"}, "there is no guest 'embeded'"),
    ],
)
def test_what_cannot_be_imported(
    changes: dict[str, object], words: str, vhd: Path, key: Path, store: Path
) -> None:
    arguments: dict[str, object] = {"name": "mine", "key": key} | changes
    with pytest.raises(UsageError, match=words):
        import_guest(vhd, **arguments)  # type: ignore[arg-type]
    assert not store.exists()


@pytest.mark.parametrize("form", ["qcow2", "vhdx", "vmdk", "vpc"])
def test_an_image_that_was_cut_short_leaves_nothing(
    form: str, key: Path, tmp_path: Path, store: Path
) -> None:
    """qemu-img would convert some of them as if the rest were zeros."""
    source, path = tmp_path / "source", tmp_path / "disk"
    source.write_bytes(os.urandom(8 << 20))
    subprocess.run([require_tool("qemu-img"), "convert", "-f", "raw", "-O", form, source, path], check=True)
    os.truncate(path, path.stat().st_size * 2 // 3 // 512 * 512)
    with pytest.raises(UsageError, match="the image is damaged"):
        import_guest(path, "mine", key=key)
    assert "mine" not in guest_names()
    assert not store.exists() or not [p for p in store.iterdir() if p.is_dir()]


def test_no_space_is_said_before_anything_is_written(
    vhd: Path, key: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 30))
    with pytest.raises(NoSpace, match=r"importing disk\.bin needs 1\.0 GiB"):
        import_guest(vhd, "mine", key=key)
    assert not store.exists()


# -- list, rm, gc -----------------------------------------------------------------------------------------


def test_the_list_says_what_can_be_used(imported: GuestImage) -> None:
    states = {entry.name: entry.state for entry in list_guests()}
    assert states == {
        "embedded": State.ABSENT,
        "embedded-arm64": State.ABSENT,
        "mine": State.UNCHECKED,
    } | {name: State.ABSENT for name in states if name.startswith("windows")}
    (imported.folder / HOST_KEY).write_text("ssh-ed25519 AAAA\n")
    assert describe("mine").entry.state is State.READY
    imported.disk.chmod(0o644)
    os.utime(imported.disk)
    damaged = describe("mine")
    assert damaged.entry.state is State.DAMAGED
    assert "was changed" in damaged.entry.detail
    with pytest.raises(InfrastructureError, match="import the guest again"):
        find_guest("mine")


HOLD = "import sys; from harness.imaging.store import find_image; find_image('mine'); print(); input()"


def test_what_another_process_uses_stays(imported: GuestImage) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        user.stdout.readline()
        assert describe("mine").entry.in_use
        with pytest.raises(UsageError, match="in use"):
            remove_guest("mine")
        assert (imported.folder / DISK).is_file()
        user.kill()
    assert not describe("mine").entry.in_use
    assert remove_guest("mine").folder == imported.folder
    assert "mine" not in guest_names()
    with pytest.raises(UsageError, match="no guest 'mine'"):
        find_image("mine")


def test_who_held_a_guest_that_was_deleted_by_hand_holds_the_new_one(
    imported: GuestImage, vhd: Path, key: Path
) -> None:
    find_image("mine")
    old = _held[imported.folder]
    shutil.rmtree(imported.folder)
    import_guest(vhd, "mine", key=key, definition="embedded")
    try:
        find_image("mine")
        assert in_use(imported.folder)
    finally:
        os.close(_held.pop(imported.folder))
        os.close(old)
    assert not in_use(imported.folder)


def test_garbage(imported: GuestImage, tmp_path: Path) -> None:
    guests, templates = tmp_path / "cache/guests", tmp_path / "cache/templates"
    digest = "0123456789abcdef"
    current = image_folder(load_guest("embedded"))
    keep = [current, guests / f"other-{digest}", templates / f"mine-{digest}", imported.folder]
    garbage = [
        guests / f"embedded-{digest}",
        templates / f"gone-{digest}",
        guests / f".embedded-{digest}.tmp-1",
        imported.folder.with_name(".mine.tmp-removed-1"),
    ]
    for folder in keep + garbage:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_bytes(bytes(5000))
    assert {item.folder for item in collect_garbage(dry_run=True)} == set(garbage)
    assert all(folder.is_dir() for folder in garbage)
    used = os.open(garbage[0], os.O_RDONLY)
    try:
        fcntl.flock(used, fcntl.LOCK_SH)
        with FileLock(guests / f".embedded-{digest}.lock"):
            assert {item.folder for item in collect_garbage()} == {garbage[1], garbage[3]}
    finally:
        os.close(used)
    assert {item.folder for item in collect_garbage()} == {garbage[0], garbage[2]}
    assert all(folder.is_dir() for folder in keep)
    assert not any(folder.exists() for folder in garbage)


def test_the_commands(vhd: Path, key: Path) -> None:
    runner = CliRunner()

    def run(*words: str) -> object:
        done = runner.invoke(app, ["guest", *words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    added = run("import", str(vhd), "--as", "mine", "--ssh-key", str(key), "--definition", "embedded")
    assert isinstance(added, dict)
    assert added["entry"]["state"] == "unchecked"
    shown = run("show", "mine")
    assert shown == added
    listed = run("list")
    assert isinstance(listed, list)
    assert added["entry"] in listed
    assert run("gc") == []
    removed = run("rm", "mine")
    assert isinstance(removed, dict)
    assert removed["why"] == "asked for"


def test_a_check_that_was_made_is_shown(imported: GuestImage) -> None:
    (imported.folder / CHECK).write_text("{}")
    assert describe("mine").check is None, "a report of another kind is none"
    assert (imported.folder / KEY).is_file()
