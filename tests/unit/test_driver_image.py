"""What is refused as a driver before a guest is started for it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.models import Arch
from harness.driver.image import check_driver_file
from harness.errors import UsageError


def executable(*, machine: int = 0x8664, magic: int = 0x20B, subsystem: int = 1) -> bytes:
    """The headers of a PE file, and nothing behind them."""
    optional = bytearray(112)
    struct.pack_into("<H", optional, 0, magic)
    struct.pack_into("<H", optional, 68, subsystem)
    return (
        b"MZ"
        + bytes(58)
        + struct.pack("<I", 64)
        + b"PE\0\0"
        + struct.pack("<H", machine)
        + bytes(18)
        + optional
    )


@pytest.mark.parametrize(("machine", "arch"), [(0x8664, Arch.X86_64), (0xAA64, Arch.AARCH64)])
def test_a_driver(machine: int, arch: Arch, tmp_path: Path) -> None:
    file = tmp_path / "a.sys"
    file.write_bytes(executable(machine=machine))
    assert check_driver_file(file, arch) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a 64-bit"),
        (b"MZ", "not a 64-bit"),
        (b"ZM" + executable()[2:], "not a 64-bit"),
        (executable()[:150], "not a 64-bit"),
        (executable(magic=0x10B), "not a 64-bit"),
        (executable(machine=0xAA64), "is built for aarch64, the guest is x86_64"),
        (executable(machine=0x14C), "is built for 0x14c, the guest is x86_64"),
        (executable(subsystem=3), "not a kernel driver: its subsystem is 3"),
    ],
)
def test_what_is_none(data: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "a.sys"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=complaint) as error:
        check_driver_file(file, Arch.X86_64)
    assert error.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        check_driver_file(tmp_path / "absent.sys", Arch.X86_64)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_answer(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("any") / "a.sys"
    file.write_bytes(b"MZ" + data)
    with pytest.raises(UsageError):
        check_driver_file(file, Arch.X86_64)
