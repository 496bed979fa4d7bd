"""Media that EFI firmware boots into the stand-in Setup (tests/standin/setup), which installs the embedded guest.

Made of Debian's kernel, busybox and systemd-boot; kept in the cache, since they do not change.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.caching import GIB, cached, content_hash
from harness.imaging.store import GuestImage, find_guest
from tests.windows_media import NO_PROMPT, PROMPT, make_boot_disc, make_wim, run

SOURCES = Path(__file__).parent / "setup"
LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
#: In the order of their loading; what they depend on comes with them.
MODULES = (
    *("ahci", "sr_mod", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1"),
    *("virtio_pci", "virtio_blk", "crc32c_generic", "ext4"),
)
FOLDERS = (
    "fs",
    "lib",
    "crypto",
    *(f"drivers/{name}" for name in ("ata", "cdrom", "scsi", "virtio", "block")),
)
EDITION = "Stand-in Setup"
EDITIONS = ("Stand-in Setup Core", EDITION)
FAT_SECTORS = 40 << 10  # of 512 bytes: 20 MiB
CLUSTER = 64 << 10
ESP_OFFSET = 1 << 20
OPTIONS = "quiet loglevel=0 random.trust_cpu=on mitigations=off cryptomgr.notests nokaslr"


@dataclass(frozen=True)
class SetupMedia:
    """`windows` is the installation medium, `prompting` one whose only boot image wants a key; `virtio` has drivers."""

    windows: Path
    prompting: Path
    virtio: Path


def setup_media(*, restarts: int = 0) -> SetupMedia:
    """The media; `restarts` is how often the installed system restarts itself at first."""
    image = find_guest("embedded")
    digest = content_hash([SOURCES, Path(__file__)], [image.manifest.disk_sha256, str(restarts)])
    folder = cached(
        "standin", "media", digest, lambda scratch: _make(scratch, image, restarts), needs_bytes=3 * GIB
    )
    return SetupMedia(folder / "windows.iso", folder / "prompting.iso", folder / "virtio.iso")


def _make(folder: Path, image: GuestImage, restarts: int) -> None:
    work = folder / "work"
    work.mkdir()
    kernel, initrd = _system(work)
    tree = work / "tree"
    for path, prompt in ((PROMPT, "yes"), (NO_PROMPT, "no")):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        _efi_image(tree / path, kernel, initrd, f"stage=1 prompt={prompt}")
    (tree / "sources").mkdir()
    make_wim(work / "install.wim", EDITIONS)
    (work / "install.wim").rename(tree / "sources" / "install.wim")
    (tree / "standin").mkdir()
    (tree / "standin" / "restarts").write_text(f"{restarts}\n")
    _installed_system(tree / "standin", work, image, kernel, initrd)
    make_boot_disc(folder / "windows.iso", tree)
    # One that only asks: its boot is all that matters, so there is no system on it.
    (tree / NO_PROMPT).unlink()
    shutil.rmtree(tree / "standin")
    make_boot_disc(folder / "prompting.iso", tree)
    drivers = {f"{driver}/standin/amd64/driver.inf": b";" for driver in ("viostor", "vioscsi", "NetKVM")}
    # An ISO 9660 file system as well: the stand-in's kernel reads that.
    for name, content in drivers.items():
        (work / "virtio" / name).parent.mkdir(parents=True)
        (work / "virtio" / name).write_bytes(content)
    make_boot_disc(folder / "virtio.iso", work / "virtio")
    shutil.rmtree(work)


def _system(work: Path) -> tuple[Path, Path]:
    """The small Linux: a kernel, and an initrd with the stand-in as its first program."""
    debs = work / "debs"
    debs.mkdir()
    depends = run("apt-cache", "depends", "--important", "linux-image-amd64")
    package = next(word for word in depends.split() if word.startswith("linux-image-6."))
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, "busybox-static"],
        cwd=debs,
        check=True,
        timeout=300,
    )
    root = work / "root"
    root.mkdir()
    patterns = [f"./lib/modules/*/kernel/{name}/*" for name in FOLDERS]
    for deb, wanted in ((next(debs.glob("linux-image-*")), ["./boot/vmlinuz*", "*/modules.*", *patterns]),):
        _unpack(deb, root, wanted)
    _unpack(next(debs.glob("busybox-*")), root, ["./bin/busybox"])
    kernel = next((root / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    run("depmod", "-b", root, version)
    initramfs = work / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (initramfs / name).mkdir(parents=True)
    shutil.copy2(root / "bin" / "busybox", initramfs / "bin")
    shutil.copyfile(SOURCES / "init", initramfs / "init")
    (initramfs / "init").chmod(0o755)
    (initramfs / "bin" / "sh").symlink_to("busybox")
    shutil.copyfile(SOURCES / "unattend.awk", initramfs / "unattend.awk")
    names: list[str] = []
    for module in MODULES:
        for line in run("modprobe", "-d", root, "-S", version, "--show-depends", module).splitlines():
            verb, _, path = line.partition(" ")
            file = Path(path.split()[0]) if path else Path()
            if verb == "insmod" and file.name not in names:
                shutil.copyfile(file, initramfs / "modules" / file.name)
                names.append(file.name)
    (initramfs / "modules" / "list").write_text("".join(f"{name}\n" for name in names))
    initrd = work / "initrd"
    run("sh", "-c", f"cd '{initramfs}' && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >'{initrd}'")
    return kernel, initrd


def _unpack(deb: Path, root: Path, wanted: list[str]) -> None:
    quoted = " ".join(f"'{pattern}'" for pattern in wanted)
    run("sh", "-c", f"dpkg-deb --fsys-tarfile '{deb}' | tar -x -C '{root}' --wildcards {quoted}")


def _entry(kernel: str, initrd: str, options: str) -> str:
    return f"title stand-in\nlinux /{kernel}\ninitrd /{initrd}\noptions {options}\n"


def _put(image: str, path: str, content: bytes | Path, work: Path) -> None:
    source = content
    if isinstance(content, bytes):
        source = work / "mcopy.tmp"
        source.write_bytes(content)
    run("mcopy", "-o", "-i", image, str(source), f"::{path}")


def _loader(image: str, entries: dict[str, str], work: Path) -> None:
    """systemd-boot with entries, of which the first is taken at once."""
    run("mmd", "-i", image, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries")
    _put(image, "EFI/BOOT/BOOTX64.EFI", LOADER, work)
    _put(image, "loader/loader.conf", f"default {next(iter(entries))}.conf\ntimeout 0\n".encode(), work)
    for name, text in entries.items():
        _put(image, f"loader/entries/{name}.conf", text.encode(), work)


def _efi_image(path: Path, kernel: Path, initrd: Path, options: str) -> None:
    run("mformat", "-C", "-i", path, "-v", "SETUP", "-T", str(FAT_SECTORS), "-h", "16", "-s", "63", "::")
    _loader(str(path), {"setup": _entry("vmlinuz", "initrd", f"{OPTIONS} {options}")}, path.parent)
    _put(str(path), "vmlinuz", kernel, path.parent)
    _put(str(path), "initrd", initrd, path.parent)
    (path.parent / "mcopy.tmp").unlink(missing_ok=True)


def _installed_system(folder: Path, work: Path, image: GuestImage, kernel: Path, initrd: Path) -> None:
    """What is copied to the disk: the embedded guest's, with a loader for EFI that starts Setup's second part first."""
    raw = work / "system.raw"
    run("qemu-img", "convert", "-O", "raw", image.disk, raw)
    fat = f"{raw}@@{ESP_OFFSET}"
    syslinux = run("mtype", "-i", fat, "::syslinux.cfg")
    options = next(line.split(maxsplit=1)[1] for line in syslinux.splitlines() if "APPEND" in line)
    entries = {
        "stage2": _entry("setup.krn", "setup.img", f"{OPTIONS} stage=2"),
        "stage3": _entry("setup.krn", "setup.img", f"{OPTIONS} stage=3"),
        "guest": _entry("vmlinuz", "initrd", options),
    }
    _loader(fat, entries, work)
    _put(fat, "setup.krn", kernel, work)
    _put(fat, "setup.img", initrd, work)
    runs = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", raw))
    extents, packed = [], 0
    with raw.open("rb") as source, (folder / "system.packed").open("wb") as target:
        for part in runs:
            if part["data"] and not part["zero"]:
                first, last = part["start"] // CLUSTER, -(-(part["start"] + part["length"]) // CLUSTER)
                source.seek(first * CLUSTER)
                target.write(source.read((last - first) * CLUSTER))
                extents.append(f"{packed} {first} {last - first}\n")
                packed += last - first
    (folder / "extents").write_text("".join(extents))
    raw.unlink()
