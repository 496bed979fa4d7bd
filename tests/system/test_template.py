"""Saved states with the real QEMU: what clones go on from, and damaged ones. The guest counts on its serial port."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Accel, Arch, Firmware
from harness.deadlines import Deadline, wait_for
from harness.errors import InfrastructureError, QemuError
from harness.vm.firmware import find_uefi
from harness.vm.machine import Machine
from harness.vm.state import Mechanism, copy_sparse
from harness.vm.template import (
    DISK,
    MANIFEST,
    OVERLAY,
    RAM,
    STREAM,
    Template,
    make_template,
    prune,
    template_digest,
)
from harness.vm.vm import Vm

# Reads a byte from COM2, answers it and a number that counts up with every byte ever answered:
#   1: in al, 0x2fd; test al, 1; jz 1; in al, 0x2f8; out 0x2f8, al; inc bl; mov al, bl; out 0x2f8, al; jmp 1
COUNT = bytes.fromhex("b330 bafd02 ec a801 74f8 baf802 ec ee fec3 88d8 ee ebec")


@pytest.fixture
def described(tmp_path: Path) -> Machine:
    disk = tmp_path / "boot.img"
    disk.write_bytes(COUNT.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return Machine(
        arch=Arch.X86_64,
        accel=Accel.TCG,
        machine="q35",
        cpu="qemu64",
        memory_mib=32,
        disk=disk,
        disk_format="raw",
        serial_log=tmp_path / "serial.log",
        lane_device="isa-serial",
        vmgenid=True,
    )


def ask(vm: Vm, byte: bytes) -> bytes:
    """What the guest answers to a byte: that byte and its counter, behind answers to earlier ones."""
    vm.ends.lane.setblocking(False)
    vm.ends.lane.sendall(byte)
    seen = b""

    def answered(deadline: Deadline) -> bytes | None:
        nonlocal seen
        vm.check()
        try:
            seen += vm.ends.lane.recv(100)
        except BlockingIOError:
            return None
        deadline.last_seen = repr(seen)
        answer = seen[seen.find(byte) :] if byte in seen else b""
        return answer if len(answer) == 2 else None

    return wait_for("the guest's answer", 20, answered, interval=0.005)


def booted(vm: Vm) -> None:
    """The boot sector runs, and has answered once: its counter stands at 1."""
    vm.ends.lane.setblocking(False)

    def answers(_: Deadline) -> bool | None:
        vm.ends.lane.sendall(b"?")
        try:
            return True if vm.ends.lane.recv(100) else None
        except BlockingIOError:
            return None

    wait_for("the boot sector", 30, answers, interval=0.1)


@pytest.fixture
def make(described: Machine, tmp_path: Path) -> Callable[[Mechanism], Template]:
    def build(mechanism: Mechanism) -> Template:
        folder = tmp_path / "template"
        folder.mkdir()
        counts: list[bytes] = []

        def ready(vm: Vm) -> None:
            booted(vm)
            counts.append(ask(vm, b"t"))

        make_template(described, folder, ready, mechanism)
        (folder / "count").write_bytes(counts[0][1:])
        return Template(folder)

    return build


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_clones_go_on_where_the_template_was(
    mechanism: Mechanism, make: Callable[[Mechanism], Template], described: Machine, tmp_path: Path
) -> None:
    template = make(mechanism)
    assert template.mechanism is mechanism
    last = (template.folder / "count").read_bytes()[0]
    for number in range(2):  # each from the same point: what the first one did is gone with it
        folder = tmp_path / f"clone-{number}"
        folder.mkdir()
        with Vm(template.clone_of(described), folder, saved=template.saved) as vm:
            assert ask(vm, b"a") == bytes([ord("a"), last + 1])
            assert ask(vm, b"b") == bytes([ord("b"), last + 2])
    Template(template.folder)  # still what was saved


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_every_clone_has_a_generation_of_its_own(
    mechanism: Mechanism, described: Machine, tmp_path: Path
) -> None:
    """What tells a guest to make its random numbers anew is a machine's own, and no part of the saved state."""

    def generation(vm: Vm) -> str:
        return str(vm.execute("query-vm-generation-id")["guid"])

    seen: list[str] = []
    folder = tmp_path / "template"
    folder.mkdir()

    def ready(vm: Vm) -> None:
        booted(vm)
        seen.append(generation(vm))

    make_template(described, folder, ready, mechanism)
    template = Template(folder)
    for number in range(2):
        clone = tmp_path / f"clone-{number}"
        clone.mkdir()
        with Vm(template.clone_of(described), clone, saved=template.saved) as vm:
            assert ask(vm, b"a")
            seen.append(generation(vm))
    assert len(set(seen)) == 3, seen


def test_two_clones_at_once_share_nothing(
    make: Callable[[Mechanism], Template], described: Machine, tmp_path: Path
) -> None:
    template = make(Mechanism.RAM_FILE)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    clone = template.clone_of(described)
    with (
        Vm(clone, folders[0], saved=template.saved) as one,
        Vm(clone, folders[1], saved=template.saved) as two,
    ):
        first = ask(one, b"x")
        assert ask(one, b"x") != first
        assert ask(two, b"x") == first


def test_each_clone_learns_that_it_is_one(
    make: Callable[[Mechanism], Template], described: Machine, tmp_path: Path
) -> None:
    """Its generation id is its own, and the guest's memory holds it."""
    template = make(Mechanism.RAM_FILE)
    guids = set()
    for number in range(2):
        folder = tmp_path / f"clone-{number}"
        folder.mkdir()
        with Vm(template.clone_of(described), folder, saved=template.saved) as vm:
            guid = vm.execute("query-vm-generation-id")["guid"]
            memory = folder / "memory"
            vm.execute("pmemsave", val=0, size=described.memory_mib << 20, filename=str(memory))
            assert uuid.UUID(guid).bytes_le in memory.read_bytes()
            guids.add(guid)
    assert len(guids) == 2


@pytest.mark.parametrize("name", [RAM, STREAM, DISK, OVERLAY, MANIFEST])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_template_is_noticed(name: str, damage: str, tmp_path: Path) -> None:
    """Without QEMU: the files are compared with what the manifest says before any VM starts."""
    folder = _written(tmp_path)
    Template(folder)
    path = folder / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(InfrastructureError, match=r"template"):
        Template(folder)


def _written(tmp_path: Path) -> Path:
    from harness.vm.template import TemplateManifest, _stored

    folder = tmp_path / "template"
    folder.mkdir()
    for name in (RAM, STREAM, DISK, OVERLAY):
        (folder / name).write_bytes(name.encode() * 50)
        os.utime(folder / name, ns=(1, 1))
    files = {
        name: _stored(folder / name, hashed=name in (STREAM, OVERLAY))
        for name in (RAM, STREAM, DISK, OVERLAY)
    }
    manifest = TemplateManifest(mechanism=Mechanism.RAM_FILE, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def test_a_state_that_qemu_cannot_read(
    make: Callable[[Mechanism], Template], described: Machine, tmp_path: Path
) -> None:
    """Damage that the manifest does not tell of, as when it was saved by a faulty disk."""
    template = make(Mechanism.RAM_FILE)
    stream = template.folder / STREAM
    stream.write_bytes(stream.read_bytes()[:1000] + b"garbage" * 100)
    folder = tmp_path / "clone"
    folder.mkdir()
    with pytest.raises(InfrastructureError, match="QEMU"):
        Vm(template.clone_of(described), folder, saved=template.saved).__enter__()


def test_the_name_covers_what_the_state_depends_on(described: Machine) -> None:
    uefi = find_uefi(Arch.X86_64, Firmware.UEFI, "q35")
    secure = find_uefi(Arch.X86_64, Firmware.SECURE_BOOT, "q35")
    assert uefi is not None
    assert secure is not None
    enrolled = uefi.model_copy(update={"variables": secure.variables})
    names = {
        template_digest(changed, contents)
        for changed, contents in [
            (described, {}),
            (described, {"driver": "1"}),
            (described.model_copy(update={"cpu": "qemu64,pmu=on"}), {}),
            (described.model_copy(update={"smp": 2}), {}),
            (described.model_copy(update={"memory_mib": 64}), {}),
            (described.model_copy(update={"lane_device": None}), {}),
            (described.model_copy(update={"devices": ("VGA",)}), {}),
            (described.model_copy(update={"vmgenid": False}), {}),
            (described.model_copy(update={"tpm": True}), {}),
            (described.model_copy(update={"uefi": uefi}), {}),
            (described.model_copy(update={"uefi": enrolled}), {}),
        ]
    }
    assert len(names) == 11
    moved = described.model_copy(update={"disk": Path("/elsewhere"), "serial_log": Path("/other")})
    assert template_digest(moved, {}) == template_digest(described, {})


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.seek(8 << 20)
        file.write(b"data")
        file.truncate(64 << 20)
    with target.open("wb") as file:
        copy_sparse(source, file.fileno())
    assert target.stat().st_size == 64 << 20
    assert target.stat().st_blocks * 512 < 2 << 20
    assert source.read_bytes() == target.read_bytes()


def test_the_least_recently_used_templates_go(tmp_path: Path) -> None:
    folders = []
    for number in range(4):
        (home := tmp_path / str(number)).mkdir()
        folder = _written(home).rename(tmp_path / f"template-{number}")
        (folder / "ram").write_bytes(bytes(range(256)) * 4096)
        os.utime(folder, ns=(number, number))
        folders.append(folder)
    (tmp_path / ".lock").touch()
    size = sum(file.stat().st_blocks * 512 for file in folders[0].iterdir())
    assert prune(tmp_path, 2 * size) == [folders[1], folders[0]]
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert prune(tmp_path, 2 * size) == []


def test_a_template_that_somebody_starts_clones_from_stays(tmp_path: Path) -> None:
    (home := tmp_path / "home").mkdir()
    folder = _written(home).rename(tmp_path / "template")
    template = Template(folder)
    assert prune(tmp_path, 0) == []
    assert Template(folder).saved == template.saved  # whoever else uses it is not kept from it
    template.release()
    template.release()
    assert prune(tmp_path, 0) == [folder]
    assert not folder.exists()


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_what_cannot_be_saved_is_not_booted_first(
    mechanism: Mechanism, described: Machine, tmp_path: Path
) -> None:
    """A Windows needs a minute to boot, for each of the mechanisms that then fail."""
    machine = described.model_copy(update={"disk_device": "nvme"})
    folder = tmp_path / "template"
    folder.mkdir()
    booted: list[Vm] = []
    with pytest.raises(QemuError, match=r"cannot save this machine: .*nvme"):
        make_template(machine, folder, booted.append, mechanism)
    assert booted == []
