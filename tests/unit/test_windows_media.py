"""Reading Windows media: what is in them, which editions, and the boot catalogue without the prompt."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.errors import UsageError
from harness.imaging.answer_medium import medium_hash, write_medium
from harness.imaging.eltorito import efi_entry, without_prompt
from harness.imaging.optical import SECTOR, open_disc
from harness.imaging.wim import Edition, choose, editions
from tests.windows_media import NO_PROMPT, PROMPT, make_boot_disc, make_udf_disc, make_wim, run

NAMES = ("Stand-in SERVERSTANDARDCORE", "Stand-in SERVERSTANDARD")


@pytest.fixture(scope="module")
def wim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wim(tmp_path_factory.mktemp("wim") / "install.wim", NAMES)


@pytest.fixture(scope="module")
def udf(wim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"sources/install.wim": wim.read_bytes(), NO_PROMPT: b"n" * 5000, "äöü/x.txt": b"umlauts"}
    return make_udf_disc(tmp_path_factory.mktemp("udf") / "windows.iso", files)


@pytest.fixture(scope="module")
def bootable(wim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disc")
    tree = folder / "tree"
    for path, content in (
        ("sources/install.wim", wim.read_bytes()),
        (PROMPT, b"prompt" * 500),
        (NO_PROMPT, b"noprompt" * 1000),
        ("boot/etfsboot.com", b"\xf4" * 2048),
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    return make_boot_disc(folder / "windows.iso", tree, bios="boot/etfsboot.com")


def test_a_medium_as_microsoft_makes_them(udf: Path, wim: Path) -> None:
    with open_disc(udf) as disc:
        assert disc.kind == "udf_path"
        file = disc.find("Sources/INSTALL.WIM")
        assert file is not None
        assert disc.read(file) == wim.read_bytes()
        assert disc.find("sources") is None and disc.find("readme.txt") is None
        assert disc.find("äöü/x.txt") is not None
        assert disc.has_folder("efi/microsoft/boot") and not disc.has_folder("sources/install.wim")


@pytest.mark.parametrize("medium", ["udf", "bootable"])
def test_its_editions(medium: str, request: pytest.FixtureRequest) -> None:
    with open_disc(request.getfixturevalue(medium)) as disc:
        found = editions(disc)
    assert [(e.index, e.name) for e in found] == list(enumerate(NAMES, start=1))
    assert {(e.build, e.arch, e.server, e.languages) for e in found} == {
        (20348, Arch.X86_64, True, ("en-US",))
    }


def test_the_editions_of_an_esd(tmp_path: Path) -> None:
    esd = make_wim(tmp_path / "install.esd", NAMES[:1], build=26100, arch=12, server=False, compress="LZMS")
    disc_path = make_udf_disc(tmp_path / "arm.iso", {"sources/install.esd": esd.read_bytes()})
    with open_disc(disc_path) as disc:
        assert editions(disc) == (
            Edition(index=1, name=NAMES[0], build=26100, arch=Arch.AARCH64, languages=("en-US",)),
        )


def test_an_edition_is_chosen_by_name_or_index_and_an_unknown_one_lists_what_there_is(udf: Path) -> None:
    with open_disc(udf) as disc:
        found = editions(disc)
    assert choose(found, "2", udf).name == choose(found, NAMES[1], udf).name == NAMES[1]
    with pytest.raises(UsageError) as caught:
        choose(found, "Professional", udf)
    assert all(name in str(caught.value) for name in NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no image" * 1000, bytes(1 << 20)])
def test_what_is_no_image_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.iso"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not an ISO image") as caught, open_disc(path):
        pass
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.iso", tmp_path):
        with pytest.raises(UsageError), open_disc(path):
            pass


def test_an_image_that_is_cut_off_is_refused(udf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.iso"
    cut.write_bytes(udf.read_bytes()[: udf.stat().st_size // 2])
    with pytest.raises(UsageError), open_disc(cut) as disc:
        editions(disc)


@pytest.mark.parametrize(
    ("damage", "words"), [((0, b"XX"), "no WIM file"), ((72, b"\xff" * 7), "cut off or damaged")]
)
def test_a_damaged_wim_is_refused(damage: tuple[int, bytes], words: str, wim: Path, tmp_path: Path) -> None:
    content = bytearray(wim.read_bytes())
    content[damage[0] : damage[0] + len(damage[1])] = damage[1]
    path = make_udf_disc(tmp_path / "bad.iso", {"sources/install.wim": bytes(content)})
    with pytest.raises(UsageError, match=words), open_disc(path) as disc:
        editions(disc)


def test_a_medium_without_windows_is_refused(tmp_path: Path) -> None:
    path = make_udf_disc(tmp_path / "linux.iso", {"casper/vmlinuz": b"x"})
    with pytest.raises(UsageError, match="no Windows installation medium"), open_disc(path) as disc:
        editions(disc)


def booted_by_efi(path: Path) -> bytes:
    """What the boot catalogue of an image has EFI firmware start, by xorriso's reading of it."""
    report = run("xorriso", "-indev", f"stdio:{path}", "-report_el_torito", "plain")
    rows = [line.split() for line in report.splitlines() if line.startswith("El Torito boot img")]
    (row,) = [row for row in rows if "UEFI" in row]
    at = int(row[-1]) * SECTOR
    return path.read_bytes()[at : at + 8]


def test_the_catalogue_names_the_image_without_a_prompt(bootable: Path, tmp_path: Path) -> None:
    assert booted_by_efi(bootable).startswith(b"promptpr")
    before = bootable.read_bytes()
    overlay, whole = tmp_path / "medium.qcow2", tmp_path / "whole.iso"
    with open_disc(bootable) as disc:
        assert without_prompt(disc, overlay)
    assert bootable.read_bytes() == before
    assert overlay.stat().st_size < 1 << 20, "the medium was copied"
    run("qemu-img", "convert", "-O", "raw", overlay, whole)
    assert booted_by_efi(whole) == b"noprompt"
    changed = [i for i, (a, b) in enumerate(zip(before, whole.read_bytes(), strict=True)) if a != b]
    assert len({i // SECTOR for i in changed}) == 1 and len(changed) <= 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["medium.qcow2", "whole.iso"]


def test_a_medium_without_such_an_image_is_left_alone(udf: Path, tmp_path: Path) -> None:
    with open_disc(udf) as disc:  # it has the file, but boots nothing
        assert not without_prompt(disc, tmp_path / "overlay.qcow2")
    assert list(tmp_path.iterdir()) == []


def catalogue(*entries: bytes) -> bytes:
    valid = struct.pack("<BB", 1, 0) + bytes(28) + b"\x55\xaa"
    return (valid + b"".join(entry.ljust(32, b"\0") for entry in entries)).ljust(SECTOR, b"\0")


def test_which_entry_of_a_catalogue_efi_boots() -> None:
    def section(kind: int, platform: int) -> bytes:
        return struct.pack("<BBH", kind, platform, 1)

    bios = b"\x88"
    assert efi_entry(catalogue(bios, section(0x91, 0xEF), b"\x88")) == 96
    assert efi_entry(catalogue(bios, section(0x90, 0), b"\x88", section(0x91, 0xEF), b"\x88")) == 160
    assert efi_entry(catalogue(bios, section(0x91, 0xEF), b"\0")) is None
    assert efi_entry(catalogue(bios)) is None
    assert efi_entry(bytes(SECTOR)) is None
    assert efi_entry(b"") is None


def test_the_answer_medium_keeps_long_names_and_folders(tmp_path: Path) -> None:
    big = tmp_path / "OpenSSH-Win64-v9.8.1.0.msi"
    big.write_bytes(bytes(range(256)) * 1000)
    files: dict[str, bytes | Path] = {
        "autounattend.xml": b"<x/>",
        "halpmc/setup.ps1": b"#",
        f"halpmc/{big.name}": big,
    }
    path = tmp_path / "answer.iso"
    write_medium(files, path)
    with open_disc(path) as disc:
        assert disc.kind == "joliet_path"
        for name, content in files.items():
            found = disc.find(name)
            assert found is not None, name
            assert disc.read(found) == (content.read_bytes() if isinstance(content, Path) else content)
    assert medium_hash(files) == medium_hash(dict(sorted(files.items(), reverse=True)))
    assert medium_hash(files) != medium_hash({**files, "autounattend.xml": b"<y/>"})
