"""A cell's folder on its way home: within its bound, and nothing gets out of the folder it goes to."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster.parcel import pack, unpack
from harness.errors import InfrastructureError


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    folder = tmp_path / "worker" / "cell"
    (folder / "tests" / "one").mkdir(parents=True)
    (folder / "pytest.log").write_text("log")
    (folder / "tests" / "one" / "serial.log").write_bytes(b"\0\xff")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    return folder


def test_a_folder_comes_home_in_place_of_the_old_one(cell: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "old").touch()
    unpack(pack(cell).data, home)
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == [
        "pytest.log",
        "run.sh",
        "tests/one/serial.log",
    ]
    assert (home / "tests" / "one" / "serial.log").read_bytes() == b"\0\xff"
    assert os.access(home / "run.sh", os.X_OK)
    assert not os.access(home / "pytest.log", os.X_OK)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_does_not_fit_is_left_out_and_named_largest_first(cell: Path) -> None:
    (cell / "memory.dmp").write_bytes(os.urandom(3 << 20))
    parcel = pack(cell, most_bytes=1 << 20)
    assert parcel.left_out == ("memory.dmp (3.0 MiB)",)
    assert len(parcel.data) < 1 << 20


def test_links_and_sockets_stay(cell: Path, tmp_path: Path) -> None:
    (cell / "link").symlink_to("/etc/passwd")
    os.mkfifo(cell / "fifo")
    home = tmp_path / "home"
    unpack(pack(cell).data, home)
    assert not (home / "link").exists()
    assert not (home / "fifo").exists()


def crafted(*members: tarfile.TarInfo, data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize(
    "make",
    [
        lambda: crafted(tarfile.TarInfo("../outside")),
        lambda: crafted(tarfile.TarInfo("a/../../outside")),
        lambda: crafted(tarfile.TarInfo("/tmp/outside")),  # noqa: S108 - the very thing that must not be
        lambda: crafted(link("out", ".."), tarfile.TarInfo("out/outside")),
        lambda: crafted(link("hard", "/etc/passwd", tarfile.LNKTYPE)),
        lambda: crafted(tarfile.TarInfo("twice"), tarfile.TarInfo("twice")),
        lambda: crafted(tarfile.TarInfo("file"), tarfile.TarInfo("file/below")),
        lambda: crafted(tarfile.TarInfo("bomb"), data=bytes(2 << 20)),
        lambda: b"no archive at all",
        lambda: crafted(tarfile.TarInfo("cut"), data=os.urandom(5000))[:-3000],
    ],
    ids=[
        *("above", "above-within", "absolute", "through-a-link", "hard-link", "twice", "file-and-folder"),
        *("bomb", "no-archive", "cut"),
    ],
)
def test_a_crafted_parcel_is_refused_and_changes_nothing(make: Callable[[], bytes], tmp_path: Path) -> None:
    home = tmp_path / "run" / "home"
    home.mkdir(parents=True)
    (home / "config.json").write_text("{}")
    with pytest.raises(InfrastructureError, match="was refused"):
        unpack(make(), home, most_bytes=1 << 20)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["config.json"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["home"]
