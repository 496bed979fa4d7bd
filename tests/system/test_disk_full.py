"""A host whose disk is full, as a small file system of its own. Needs root for mounting it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from harness.deadlines import wait_for
from harness.errors import HalpmcError, InfrastructureError, QemuError
from harness.vm.machine import Machine
from harness.vm.overlay import nameless_copy, nameless_overlay
from harness.vm.vm import Vm
from tests.system.test_vm import failure, machine

SIZE = 4 << 20
PAGE = 4096
# For ever writes 32 KiB to the next sectors of the disk: xor ax,ax; mov ds,ax;
#   next: mov si,0x7c40; mov ax,0x4300; int 0x13; add word [0x7c48],64; jmp next.   At 0x7c40: the packet of int 13h.
WRITE = bytes.fromhex("31c08ed8be407cb80043cd138306487c40ebf1").ljust(0x40, b"\x90") + bytes.fromhex(
    "1000 4000 0080 0000 4000000000000000"
)


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path, None, None]:
    """A folder in which 4 MiB fit."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb") as file:
        while True:
            try:
                os.write(file.fileno(), bytes(PAGE))
            except OSError:
                return


def writer(folder: Path) -> Machine:
    described = machine(folder, WRITE)
    assert described.disk is not None
    os.truncate(described.disk, 32 << 20)
    return described


def test_a_guest_that_fills_the_disk(small: Path, tmp_path: Path) -> None:
    """QEMU stops the guest; the user hears of the full disk, and all that it took is free again afterwards."""
    free = os.statvfs(small).f_bfree
    with Vm(writer(tmp_path), tmp_path, overlay_dir=small) as vm:
        error = failure(vm)
        assert type(error) is InfrastructureError
        assert error.message == "the host could not write the guest's disk: the disk is full"
        assert "full disk" in error.remedy
        assert "BLOCK_IO_ERROR" in error.evidence["events"]
    assert vm.ended_by == "quit"
    assert not list(small.iterdir())
    wait_for(
        "the space that the overlay took", 20, lambda _: True if os.statvfs(small).f_bfree == free else None
    )


def test_no_room_for_the_overlay(small: Path, tmp_path: Path) -> None:
    fill(small)
    described = writer(tmp_path)
    assert described.disk is not None
    with pytest.raises(QemuError, match="No space left on device") as caught:
        nameless_overlay(described.disk, "raw", small)
    assert "set TMPDIR" in caught.value.remedy
    assert [path.name for path in small.iterdir()] == ["filler"]


def test_no_room_for_the_copy_of_a_templates_overlay(small: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    overlay.write_bytes(os.urandom(1 << 20))
    fill(small)
    with pytest.raises(HalpmcError, match=r"cannot be copied to .*No space left on device") as caught:
        nameless_copy(overlay, small)
    assert "set TMPDIR" in caught.value.remedy


def test_a_clone_may_write_to_another_file_system_than_the_templates(small: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    overlay.write_bytes(os.urandom(1 << 20))
    os.truncate(overlay, 64 << 20)
    with nameless_copy(overlay, small) as copy:
        copy.seek(0)
        assert copy.read() == overlay.read_bytes()
        assert os.fstat(copy.fileno()).st_blocks * 512 < 2 << 20, "holes stay holes"
