"""Installation media for tests, made with the tools that make such media: real WIM files, real boot catalogues."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

import pycdlib

LIMIT_S = 120.0
PROMPT = "efi/microsoft/boot/efisys.bin"
NO_PROMPT = "efi/microsoft/boot/efisys_noprompt.bin"


def run(*command: str | Path, **options: object) -> str:
    """Run a tool; its output."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_wim(
    path: Path,
    names: Sequence[str],
    *,
    build: int = 20348,
    arch: int = 9,
    server: bool = True,
    language: str = "en-US",
    compress: str = "LZX",
) -> Path:
    """An install.wim with an image per name, described as Microsoft's are (arch 9: amd64, 12: arm64)."""
    content = path.parent / f"{path.name}.content"
    content.mkdir(parents=True)
    (content / "file.txt").write_text("nothing of Windows\n")
    for number, name in enumerate(names, start=1):
        verb = ("capture",) if number == 1 else ("append",)
        extra = (f"--compress={compress}",) if number == 1 else ()
        properties = {
            "WINDOWS/ARCH": arch,
            "WINDOWS/PRODUCTTYPE": "ServerNT" if server else "WinNT",
            "WINDOWS/LANGUAGES/LANGUAGE": language,
            "WINDOWS/VERSION/BUILD": build,
        }
        run("wimlib-imagex", *verb, content, path, name, *extra)
        for key, value in properties.items():
            run("wimlib-imagex", "info", path, str(number), f"--image-property={key}={value}")
    return path


def make_udf_disc(path: Path, files: Mapping[str, bytes]) -> Path:
    """A medium as Microsoft makes them: all files in UDF, a README alone in ISO 9660."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, udf="2.60", vol_ident="TEST")
    readme = b"This disc contains a UDF file system.\r\n"
    image.add_fp(BytesIO(readme), len(readme), "/README.TXT;1")
    made = {PurePosixPath("/")}
    for number, (name, content) in enumerate(files.items()):
        target = PurePosixPath("/", name)
        for folder in reversed(target.parents):
            if folder not in made:
                image.add_directory(udf_path=str(folder))
                made.add(folder)
        image.add_fp(BytesIO(content), len(content), f"/F{number}.;1", udf_path=str(target))
        image.rm_hard_link(iso_path=f"/F{number}.;1")
    image.write(str(path))
    image.close()
    return path


def make_boot_disc(path: Path, tree: Path, *, bios: str | None = None, load_sectors: int = 4) -> Path:
    """A medium from a folder, which EFI boots by `efisys.bin`, and a BIOS by `load_sectors` of `bios` where given."""
    boot: list[str] = []
    if bios:
        boot += ["-b", bios, "-no-emul-boot", "-boot-load-size", str(load_sectors)]
    if (tree / PROMPT).is_file():
        boot += ["-eltorito-alt-boot"] if bios else []
        boot += ["-eltorito-platform", "efi", "-b", PROMPT, "-no-emul-boot"]
    run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", "TEST", *boot, "-o", path, tree)
    return path
