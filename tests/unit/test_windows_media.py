"""Reading Windows media: what is in them, which editions, and the boot catalogue without the prompt."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from harness.config.load import guest_names, guests_folder, load_guest
from harness.config.models import Arch
from harness.errors import UsageError
from harness.imaging.answer_medium import medium_hash, write_medium
from harness.imaging.eltorito import efi_entry, without_prompt
from harness.imaging.optical import SECTOR, DiscFile, Extent, open_disc
from harness.imaging.wim import Edition, _parts, choose, editions
from harness.imaging.windows_media import check_virtio, detect, examine, known_media, openssh_kind
from tests.windows_media import NO_PROMPT, PROMPT, make_boot_disc, make_udf_disc, make_wim, run

#: The project's definitions, whatever is in this machine's store.
PROJECTS = [load_guest(name, guests_folder()) for name in guest_names(guests_folder())]
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
        (NO_PROMPT, b"noprompt" + bytes(8000)),
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


def windows_disc(folder: Path, names: tuple[str, ...], **facts: int | bool | str) -> Path:
    wim = make_wim(folder / "install.wim", names, **facts)  # type: ignore[arg-type]
    return make_udf_disc(folder / "windows.iso", {"sources/install.wim": wim.read_bytes()})


@pytest.mark.parametrize(
    ("names", "facts", "guest"),
    [
        (("Windows Server 2019 SERVERSTANDARD",), {"build": 17763}, "windows-server-2019"),
        (("Windows Server 2025 SERVERDATACENTER",), {"build": 26100}, "windows-server-2025"),
        # The medium of 22H2 tells the build of 2004, on which it is founded.
        (("Windows 10 Pro",), {"build": 19041, "server": False}, "windows-10-22h2"),
        (("Windows 11 Pro",), {"build": 26200, "server": False}, "windows-11-25h2"),
        (("Windows 11 Pro",), {"build": 26100, "server": False, "arch": 12}, "windows-11-arm64"),
    ],
)
def test_the_definition_that_a_medium_is_for(
    names: tuple[str, ...], facts: dict[str, int | bool], guest: str, tmp_path: Path
) -> None:
    disc = windows_disc(tmp_path, names, **facts)
    assert detect(disc, PROJECTS).name == guest


@pytest.mark.parametrize(
    ("name", "build", "words"),
    [("Windows 11 Pro", 22631, "fits several guests"), ("Windows 7", 7601, "no guest definition")],
)
def test_a_medium_that_fits_none_or_several(name: str, build: int, words: str, tmp_path: Path) -> None:
    disc = windows_disc(tmp_path, (name,), build=build, server=False)
    with pytest.raises(UsageError, match=words) as caught:
        detect(disc, PROJECTS)
    assert name in str(caught.value)


def test_a_medium_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = load_guest("windows-server-2022")
    assert guest.windows is not None
    disc = windows_disc(
        tmp_path, ("Windows Server 2022 SERVERSTANDARD", "Windows Server 2022 SERVERDATACENTER")
    )
    told: list[str] = []

    def look(edition: str | None = None, sha256: str | None = None) -> str:
        assert guest.windows is not None
        return examine(
            disc, guest, guest.windows, edition=edition, sha256=sha256, say=told.append
        ).edition.name

    assert look() == "Windows Server 2022 SERVERSTANDARD"
    assert any(line.startswith("warning: nobody has vouched") for line in told)
    assert look(edition="2") == "Windows Server 2022 SERVERDATACENTER"
    seen = hashlib.sha256(disc.read_bytes()).hexdigest()
    told.clear()
    assert look(sha256=seen.upper())
    assert not any("warning" in line for line in told)
    for sha256, words in (("0" * 64, f"has the SHA-256 {seen}"), ("12", "no SHA-256")):
        with pytest.raises(UsageError, match=words):
            look(sha256=sha256)
    known = known_media()[0].model_copy(update={"sha256": seen, "name": "the medium of the test"})
    monkeypatch.setattr("harness.imaging.windows_media.known_media", lambda: (known,))
    look()
    assert "known medium: the medium of the test" in told


@pytest.mark.parametrize(
    ("guest", "words"), [("windows-11-24h2", "is not for guest"), ("windows-11-arm64", "is not for aarch64")]
)
def test_a_medium_for_another_guest_is_refused(guest: str, words: str, tmp_path: Path) -> None:
    wanted = load_guest(guest)
    assert wanted.windows is not None
    disc = windows_disc(tmp_path, ("Windows Server 2022 SERVERSTANDARD",))
    with pytest.raises(UsageError, match=words):
        examine(disc, wanted, wanted.windows, edition=None, sha256=None, say=lambda _: None)


def test_the_table_of_known_media() -> None:
    media = known_media()
    assert len({medium.sha256 for medium in media}) == len(media)
    assert {medium.guest for medium in media} <= {guest.name for guest in PROJECTS}


def test_what_openssh_comes_as_is_told_by_its_content(tmp_path: Path) -> None:
    for content, kind in ((b"PK\x03\x04rest", "zip"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "msi")):
        (tmp_path / "file.exe").write_bytes(content)
        assert openssh_kind(tmp_path / "file.exe") == kind
    (tmp_path / "OpenSSH.zip").write_bytes(b"<html>404</html>")
    for path in (tmp_path / "OpenSSH.zip", tmp_path / "none.zip"):
        with pytest.raises(UsageError):
            openssh_kind(path)


def test_a_virtio_medium_must_have_the_release(tmp_path: Path) -> None:
    windows = load_guest("windows-server-2022").windows
    assert windows is not None
    files = {f"{driver}/2k22/amd64/{driver}.inf": b";" for driver in ("viostor", "vioscsi", "NetKVM")}
    check_virtio(make_udf_disc(tmp_path / "good.iso", files), windows)
    del files["NetKVM/2k22/amd64/NetKVM.inf"]
    with pytest.raises(UsageError, match="no folder NetKVM/2k22/amd64"):
        check_virtio(make_udf_disc(tmp_path / "old.iso", files), windows)


def test_a_table_may_lie_across_the_parts_of_a_file() -> None:
    file = DiscFile("install.wim", (Extent(1000, 10), Extent(5000, 10), Extent(9000, 10)))
    assert _parts(file, 5, 10) == [Extent(1005, 5), Extent(5000, 5)]
    assert _parts(file, 9, 12) == [Extent(1009, 1), Extent(5000, 10), Extent(9000, 1)]
    assert _parts(file, 10, 10) == [Extent(5000, 10)]
