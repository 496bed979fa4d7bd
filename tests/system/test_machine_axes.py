"""Cells that ask for firmware and a TPM, with the real OVMF, swtpm and guest: what they get is what the guest says.

The embedded guest's disk is for a BIOS. For UEFI its own kernel is taken out of it, and QEMU loads that through OVMF.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Boot, Cell, Enlightenments, GuestDefinition, Start
from harness.contract.machine_seen import MachineSeen, unlike, untold
from harness.contract.outcomes import Outcome
from harness.host.tools import require_tool
from harness.imaging.store import GuestImage, find_guest
from harness.paths import project_root
from harness.report.summary import summarize
from harness.runs import start
from harness.runs.guest import Guest
from harness.runs.lifetime import Lifetime, NotHere
from harness.runs.read_back import read_back
from harness.runs.start import GuestStarter
from harness.runs.suite import suite_command
from harness.vm.machine import DirectBoot
from harness.windows.system import System

BOOT_PARTITION = 1 << 20
CELL = Cell(id="axes", guest="embedded", accel=Accel.TCG, cpu="Nehalem", pmu=False)


@contextmanager
def started(
    cell: Cell, folder: Path, definition: GuestDefinition
) -> Generator[tuple[GuestStarter, Guest], None, None]:
    starter = GuestStarter(cell, definition, accel=Accel.TCG)
    starter.prepare(folder)
    with starter.start(folder / "guest") as guest:
        yield starter, guest


def asked(cell: Cell, guest: Guest) -> MachineSeen:
    return read_back(guest.session, cell, guest.definition)


@pytest.fixture(scope="session")
def with_its_kernel(tmp_path_factory: pytest.TempPathFactory) -> GuestImage:
    """The embedded image as one that QEMU loads the kernel of, as it does the aarch64 one's."""
    image, folder = find_guest("embedded"), tmp_path_factory.mktemp("kernel")
    raw = folder / "raw"
    subprocess.run(
        [require_tool("qemu-img"), "convert", "-O", "raw", image.disk, raw], check=True, timeout=300
    )
    for name in ("vmlinuz", "initrd", "syslinux.cfg"):
        source = f"{raw}@@{BOOT_PARTITION}"
        subprocess.run([require_tool("mcopy"), "-i", source, f"::{name}", folder], check=True, timeout=60)
    raw.unlink()
    options = re.search(r"(?mi)^\s*append\s+(.*)$", (folder / "syslinux.cfg").read_text())
    assert options
    words = [word for word in options[1].split() if not word.startswith("initrd=")]
    boot = DirectBoot(kernel=folder / "vmlinuz", initrd=folder / "initrd", options=" ".join(words))
    return replace(image, direct_boot=boot)


def test_a_clone_has_uefi_and_a_tpm(
    with_its_kernel: GuestImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = load_guest("embedded").model_copy(update={"also_boots": (Boot.UEFI,)})
    monkeypatch.setattr(start, "find_guest", lambda _: with_its_kernel)
    cell = CELL.model_copy(
        update={
            "firmware": Boot.UEFI,
            "tpm": True,
            "secure_boot": False,
            "enlightenments": Enlightenments.NONE,
        }
    )
    with started(cell, tmp_path, definition) as (starter, guest):
        assert starter.how == "clone"
        assert starter.provenance()["firmware"] == "uefi"
        seen = asked(cell, guest)
        assert (seen.firmware, seen.tpm, seen.group_cpus) == (Boot.UEFI, True, (2,))
        assert (unlike(cell, seen), untold(cell, seen)) == ((), ("secure_boot",))  # Wine does not tell
        other = cell.model_copy(update={"firmware": Boot.BIOS, "tpm": False})
        assert len(unlike(other, asked(other, guest))) == 2
        with pytest.raises(NotHere, match="what its firmware remembers"), Lifetime(starter, guest).restored():
            pass


def test_a_bios_without_a_tpm_says_so_also_after_a_reboot(tmp_path: Path) -> None:
    cell = CELL.model_copy(update={"firmware": Boot.BIOS, "tpm": False, "start": Start.COLD})
    with started(cell, tmp_path, load_guest("embedded")) as (starter, guest):
        seen = asked(cell, guest)
        assert (seen.firmware, seen.tpm, seen.enlightenments) == (Boot.BIOS, False, None)
        assert unlike(cell, seen) == ()
        wanted = cell.model_copy(update={"tpm": True})
        assert unlike(wanted, asked(wanted, guest)) == (
            "tpm=on was asked for, the guest does not have a TPM",
        )
        before = System(guest.session).boot()
        with Lifetime(starter, guest).rebooted() as again:
            assert not System(again.session).boot().same_as(before)
            assert asked(cell, again).firmware is Boot.BIOS


CLAUSES = ("ALLOC-4", "SHARE-2", "SHARE-3", "SHARE-4")


def test_a_cell_with_a_tpm_is_run_realised_and_says_so(tmp_path: Path) -> None:
    """Also the clauses that name processors by group, in a guest that has one."""
    matrix, runs = tmp_path / "m.yaml", tmp_path / "runs"
    matrix.write_text(
        "schema: 1\nname: axes\n"
        "include: [{guest: embedded, accel: tcg, cpu: Nehalem, pmu: off, tpm: on, suite: [basic]}]\n"
    )
    done = subprocess.run(
        suite_command(
            f"--halpmc-matrix={matrix}",
            f"--halpmc-runs-dir={runs}",
            *(f"--halpmc-clause={clause}" for clause in CLAUSES),
        ),
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    (folder,) = runs.glob("*/")
    (cell,) = summarize(folder).cells
    assert cell.realised, (cell.not_realised, cell.reason, done.stdout[-3000:])
    assert set(cell.clauses.values()) <= {Outcome.PASS, Outcome.RECORDED}, cell.clause_reasons
    assert cell.provenance["start"] == "clone"
    assert cell.provenance["the guest says"].startswith("firmware bios, TPM on")
    assert cell.provenance["the guest does not tell"] == "secure_boot"
