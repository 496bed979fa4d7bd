"""The folder in which commands of the pages are executed: what they name lies there under the name that the pages use.

    bin/, .venv/bin   halpmc, pytest and python, of this checkout and this interpreter
    ci, tests, docs   the checkout's own
    MATRIX            a matrix of one probe-only cell
    docs.yaml         the same and a cell with the embedded guest
    FILE.sys, mydriver.sys   the test driver
    test_mine.py      the tests that docs/pytest.md shows
    MEMORY.DMP        a memory dump in which the test driver is implicated
    DISK, win.vhdx    a disk of 4 MiB; `id`, `FILE`: a key; `PEM`: a certificate with its key
    runs              the folder of runs: runs/RUN and runs/NEW at Place.RUN

The store of guests is the folder's own, with a guest `win`. So is the cache at Place.DESK, with links to what is built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.config.models import Arch
from harness.driver.build import build_driver
from harness.paths import cache_dir, project_root
from tests.documents.forms import Executed
from tests.documents.parsing import expand
from tests.unit.dump_files import triage
from tests.unit.test_imaging_formats import partitioned, qemu_img

LIMIT_S = 800  # of a command on a busy host; the suite's own timeout is 900
PROBE_CELL = "{id: probe, guest: none, arch: x86_64, accel: tcg, cpu: max, pmu: off}"
GUEST_CELL = "{id: guest, guest: embedded, accel: tcg, cpu: Nehalem, pmu: off, suite: [basic]}"
#: Names of runs and cells in the pages, and what there is of them.
ALIASES = {
    r"\bruns/(?:FOLDER|OLD)\b": "runs/RUN",
    r"\bcells/ID\b": "cells/embedded-nehalem-pmu_off-shared-grant",
}


@dataclass(frozen=True)
class Desk:
    """A folder ready for commands, and their environment."""

    folder: Path
    environment: Mapping[str, str]

    def bash(self, line: str) -> subprocess.CompletedProcess[str]:
        """Execute a line of shell there. Both streams are in stdout."""
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def copy(self, folder: Path) -> Desk:
        """The same in a folder of its own, so that no command sees what another one left."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Desk(
            folder, {key: moved(value, self.folder, folder) for key, value in self.environment.items()}
        )


def moved(text: str, old: Path, new: Path) -> str:
    """A value that names the old folder."""
    return text.replace(str(old), str(new))


def make_desk(folder: Path, *, own_cache: bool) -> Desk:
    """Everything but runs. The driver is built, where it is not yet."""
    folder.mkdir(exist_ok=True)
    driver = build_driver(Arch.X86_64).sys.path
    for name in ("FILE.sys", "mydriver.sys"):
        shutil.copyfile(driver, folder / name)
    for name in ("ci", "tests", "docs"):
        (folder / name).symlink_to(project_root() / name)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, module in (("halpmc", "-m harness.cli"), ("pytest", "-m pytest"), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to("../bin")
    head = "schema: 1\nname: docs\ninclude:\n"
    (folder / "MATRIX").write_text(f"{head}  - {PROBE_CELL}\n")
    (folder / "docs.yaml").write_text(f"{head}  - {PROBE_CELL}\n  - {GUEST_CELL}\n")
    example = (project_root() / "docs" / "pytest.md").read_text().split("```python\n")[1]
    (folder / "test_mine.py").write_text(example.partition("```")[0])
    (folder / "MEMORY.DMP").write_bytes(triage())
    (folder / "runs").mkdir()
    qemu_img("convert", "-O", "vhdx", partitioned(folder / "raw"), folder / "DISK")
    (folder / "raw").unlink()
    shutil.copyfile(folder / "DISK", folder / "win.vhdx")
    for name in ("id", "FILE"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "PEM").write_bytes(certificate_with_key())
    environment = {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project_root()),
        "HALPMC_GUESTS": str(folder / "guests"),
        "COLUMNS": "200",
    }
    if own_cache:
        (folder / "cache").mkdir()
        for kind in ("driver", "zig"):
            (cache_dir() / kind).mkdir(parents=True, exist_ok=True)
            (folder / "cache" / kind).symlink_to(cache_dir() / kind)
        environment["HALPMC_CACHE"] = str(folder / "cache")
    desk = Desk(folder, environment)
    done = desk.bash("halpmc guest import win.vhdx --as win --ssh-key id")
    assert done.returncode == 0, done.stdout
    return desk


def certificate_with_key() -> bytes:
    """A certificate for code signing of a driver's author, and its key, in one PEM file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Drivers")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def line_of(row: Executed) -> str:
    """What the shell gets. AssertionError when a replacement does not fit the command."""
    line = expand(row.command)
    for words, others in row.instead.items():
        assert words in line, f"{row.command}: {words!r} is not in it"
        line = line.replace(words, others)
    for pattern, name in ALIASES.items():
        line = re.sub(pattern, name, line)
    return f"{line} {row.add}".strip()


def execute(row: Executed, desk: Desk) -> None:
    """Run the command; AssertionError with its output when it ends or prints otherwise than the row says."""
    line = line_of(row)
    done = desk.bash(line)
    print(f"$ {line}\n{done.stdout}")
    assert done.returncode == row.code, f"{line}: exit code {done.returncode}\n{done.stdout}"
    assert "Traceback" not in done.stdout
    assert re.search(row.prints, done.stdout), f"{line}: nothing like {row.prints!r} in\n{done.stdout}"
