"""Disk images are told by their content, and refused when they refer to other files. Images are qemu-img's own."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.host.tools import require_tool
from harness.imaging.formats import DiskFormat, probe

SIZE = 4 << 20


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run([require_tool("qemu-img"), *arguments], check=True, capture_output=True)


def partitioned(path: Path) -> Path:
    """A raw disk with one partition in an MBR."""
    table = bytearray(512)
    table[446:462] = struct.pack("<B3xB3xII", 0x80, 7, 2048, 2048)
    table[510:] = b"\x55\xaa"
    path.write_bytes(table + bytes(SIZE - 512))
    return path


@pytest.mark.parametrize(
    ("form", "options", "expected", "detail"),
    [
        ("qcow2", "compat=0.10", DiskFormat.QCOW2, "qcow2 version 2"),
        ("qcow2", "compat=1.1", DiskFormat.QCOW2, "qcow2 version 3"),
        ("vhdx", "subformat=dynamic", DiskFormat.VHDX, "vhdx"),
        ("vpc", "subformat=dynamic", DiskFormat.VHD, "dynamic VHD"),
        ("vpc", "subformat=fixed", DiskFormat.VHD, "fixed VHD"),
        ("vmdk", "subformat=monolithicSparse", DiskFormat.VMDK, "VMDK (monolithicSparse)"),
        ("vmdk", "subformat=streamOptimized", DiskFormat.VMDK, "VMDK (streamOptimized)"),
        ("raw", "", DiskFormat.RAW, "raw"),
    ],
)
def test_each_format_whatever_its_name(
    form: str, options: str, expected: DiskFormat, detail: str, tmp_path: Path
) -> None:
    path = tmp_path / "disk.iso"
    more = ["-o", options] if options else []
    qemu_img("convert", "-f", "raw", "-O", form, *more, partitioned(tmp_path / "source"), path)
    found = probe(path)
    assert (found.format, found.detail) == (expected, detail)
    assert probe(path, expected) == found
    other = DiskFormat.QCOW2 if expected is not DiskFormat.QCOW2 else DiskFormat.RAW
    with pytest.raises(UsageError, match=f"not {other}"):
        probe(path, other)


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        probe(path)
    return caught.value.message


def test_a_parent_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(SIZE))
    overlay = tmp_path / "overlay"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", secret, overlay)
    assert "is an overlay" in refusal(overlay)
    vmdk, child = tmp_path / "vmdk", tmp_path / "child"
    qemu_img("create", "-f", "vmdk", vmdk, str(SIZE))
    qemu_img("create", "-f", "vmdk", "-F", "vmdk", "-b", vmdk, child)
    assert "is a VMDK snapshot" in refusal(child)


def test_one_sign_of_a_parent_is_enough(tmp_path: Path) -> None:
    """QEMU opens what the hint names, whatever the checksum says."""
    vmdk, child = tmp_path / "vmdk", tmp_path / "child"
    qemu_img("create", "-f", "vmdk", vmdk, str(SIZE))
    qemu_img("create", "-f", "vmdk", "-F", "vmdk", "-b", vmdk, child)
    for path, old, new in (
        (vmdk, rb"parentCID=ffffffff", b"parentCID=12345678"),
        (child, rb"parentCID=\w{8}", b"parentCID=ffffffff"),
    ):
        changed, times = re.subn(old, new, path.read_bytes())
        assert times == 1
        path.write_bytes(changed)
        assert "is a VMDK snapshot" in refusal(path)


@pytest.mark.parametrize("start", [b"# Disk DescriptorFile\n", b"\n #disk descriptorfile\n"])
def test_a_description_alone_is_refused(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    path.write_bytes(start + b'version=1\nRW 8 FLAT "/etc/shadow" 0\n')
    assert "whose data are in other files" in refusal(path)


def test_external_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    qemu_img(
        "create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on", path, str(SIZE)
    )
    assert "has its data in another file" in refusal(path)


@pytest.mark.parametrize("kind", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_vmdk_of_several_files_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", f"subformat={kind}", path, str(SIZE))
    for file in tmp_path.glob("*.vmdk"):
        assert "VMDK" in refusal(file) or "no disk image" in refusal(file)


def test_a_second_extent_is_refused(tmp_path: Path) -> None:
    """One that calls itself a VMDK in one file, and names another."""
    path = tmp_path / "disk.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicSparse", path, str(SIZE))
    data = path.read_bytes()
    (line,) = [line for line in data[512 : 20 * 512].splitlines() if line.startswith(b"RW ")]
    room = data.index(b"# The Disk Data Base")  # a comment makes way
    second = b'RW 8 FLAT "/etc/shadow" 0\n'
    path.write_bytes(data[:room] + second + data[room + len(second) :])
    assert line in path.read_bytes()
    assert "is a VMDK of 2 parts" in refusal(path)


def test_an_encrypted_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    qemu_img("create", "-f", "qcow2", path, str(SIZE))
    data = bytearray(path.read_bytes())
    data[32:36] = (2).to_bytes(4, "big")  # crypt_method: LUKS
    path.write_bytes(data)
    assert "is encrypted" in refusal(path)


def test_a_differencing_vhd_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    qemu_img("create", "-f", "vpc", path, str(SIZE))
    data = bytearray(path.read_bytes())
    data[60:64] = (4).to_bytes(4, "big")
    path.write_bytes(data)
    assert "is a differencing VHD" in refusal(path)


def test_raw_is_taken_only_when_it_is_said_or_plain(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(SIZE))
    assert "no disk image that can be told" in refusal(path)
    assert probe(path, DiskFormat.RAW).format is DiskFormat.RAW
    path.write_bytes(bytes(510) + b"\x55\xaa" + b"EFI PART" + bytes(SIZE - 520))
    assert probe(path).format is DiskFormat.RAW
    table = bytearray(partitioned(path).read_bytes())
    end = (SIZE // 512 - 2048).to_bytes(4, "little")
    path.write_bytes(table[:458] + end + table[462:])  # one that ends with the disk
    assert probe(path).format is DiskFormat.RAW
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(SIZE - 512))  # no partition at all
    assert "no disk image that can be told" in refusal(path)
    table[458:462] = (1 << 30).to_bytes(4, "little")  # a partition that ends behind the disk
    path.write_bytes(table)
    assert "no disk image that can be told" in refusal(path)


def test_a_raw_disk_that_its_guest_made_look_like_another_format(tmp_path: Path) -> None:
    """Who says raw gets no probing: a guest could have written the header, to read the host's files."""
    path = tmp_path / "disk.raw"
    path.write_bytes(b"QFI\xfb" + struct.pack(">IQ", 3, 512) + bytes(SIZE - 16))
    assert "is an overlay" in refusal(path)


@pytest.mark.parametrize("data", [b"", b"Q", b"QFI\xfb", b"KDMV", b"conectix", b"MZ" + bytes(1000)])
def test_what_is_none(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(data)
    assert refusal(path)
    assert "No such file" in refusal(tmp_path / "missing")
