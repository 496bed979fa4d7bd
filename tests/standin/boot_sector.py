"""The smallest installer: machine code that a BIOS starts: writes marks to COM1, then stalls, resets, or writes.

It takes part in a build in a second, through the very code that a real medium goes through, and so shows every way in
which an installation can stop.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.windows_media import make_boot_disc, make_wim

ORIGIN = 0x7C00
HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to hlt
RESET = b"\xb0\xfe\xe6\x64" + HALT  # out 0x64, 0xfe: the keyboard controller pulls the reset line
ROOM = 16 << 10
EDITION = "Stand-in Setup"


def say(*lines: str) -> bytes:
    """mov dx, 0x3f8; and for every letter: mov al, letter; out dx, al."""
    text = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    return b"\xba\xf8\x03" + b"".join(bytes([0xB0, letter, 0xEE]) for letter in text)


def marks(*names: str) -> bytes:
    """The marks of an answer file's commands."""
    return say(*(f"halpmc-setup: {name}" for name in names))


def fill_disk(at: int) -> bytes:
    """Write the first disk full, 127 sectors at a time, by INT 13h function 43h. `at` is where this code lies."""
    code = b"\x31\xc0\x8e\xd8"  # xor ax, ax; mov ds, ax
    loop = len(code)
    packet = ORIGIN + at + 0x40
    code += b"\xbe" + struct.pack("<H", packet)  # mov si, packet
    code += b"\xb8\x00\x43\xb2\x80\xcd\x13"  # mov ax, 0x4300; mov dl, 0x80; int 0x13
    code += b"\x66\x81\x06" + struct.pack("<HI", packet + 8, 127)  # add dword [packet + 8], 127
    code += b"\xeb" + struct.pack("<b", loop - len(code) - 2)
    # Size of the packet, sectors, buffer (offset, segment), first sector.
    return code.ljust(0x40, b"\x90") + struct.pack("<BBHHHQ", 16, 0, 127, 0, 0x1000, 0)


def make_medium(folder: Path, program: bytes) -> Path:
    """An ISO image that a BIOS boots into `program`."""
    assert len(program) <= ROOM
    tree = folder / "tree"
    (tree / "sources").mkdir(parents=True)
    (tree / "boot").mkdir()
    make_wim(tree / "sources" / "install.wim", [EDITION], build=20348)
    (tree / "sources" / "install.wim.content" / "file.txt").unlink()
    (tree / "sources" / "install.wim.content").rmdir()
    (tree / "boot" / "etfsboot.com").write_bytes(program.ljust(ROOM, b"\0"))
    return make_boot_disc(folder / "standin.iso", tree, bios="boot/etfsboot.com", load_sectors=ROOM // 512)
