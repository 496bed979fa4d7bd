"""Which accelerator really works here. KVM is proved by booting the PMU probe under it.

A /dev/kvm that opens is no proof: a nested or software-backed KVM may create VMs that never get through their
firmware.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.caching import Say
from harness.config.models import Accel, Arch, Cell, Icount
from harness.deadlines import FACTOR_VARIABLE, timeout_factor
from harness.errors import DeadlineExceeded, InfrastructureError, ProtocolError, QemuError
from harness.host.tools import host_arch, qemu_version
from harness.paths import cache_dir
from harness.probe.build import build_probe
from harness.probe.run import run_probe

PROOF_DEADLINE_S = 4.0
KVM_DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class AcceleratorChoice(BaseModel):
    """The accelerator to use, kvm or tcg, and why: one clause for records and messages.

    `remedy` says what makes KVM usable where it is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    accel: Accel
    reason: str
    remedy: str = ""


class _Proof(BaseModel):
    """Whether KVM runs guests here, what was seen, and what the user can do about it if not."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    usable: bool
    reason: str
    remedy: str = ""


def accelerator_for(cell: Cell) -> AcceleratorChoice:
    """The accelerator of a cell: as `choose_accelerator` decides, but only the emulator counts instructions exactly."""
    if cell.icount is Icount.EXACT:
        return AcceleratorChoice(accel=Accel.TCG, reason="icount: exact needs the emulator")
    return choose_accelerator(cell.accel, cell.arch, cell.machine)


def choose_accelerator(
    requested: Accel, arch: Arch, machine: str, *, say: Say = lambda _: None
) -> AcceleratorChoice:
    """Decide the accelerator for guests of `arch` on `machine`: TCG as asked for, KVM only when proved.

    The proof costs one run of the probe, at most 4 s (scaled); it is cached per boot of the host, QEMU
    version and machine. Raises InfrastructureError when `kvm` was asked for and is not proved;
    ToolMissing, BuildError.
    """
    if requested is Accel.TCG:
        return AcceleratorChoice(accel=Accel.TCG, reason="asked for")
    proof = _prove_kvm(arch, machine, say)
    if proof.usable:
        return AcceleratorChoice(accel=Accel.KVM, reason=proof.reason)
    if requested is Accel.KVM:
        raise InfrastructureError(
            f"KVM was asked for and is not usable: {proof.reason}",
            remedy=f"{proof.remedy}, or use the accelerator tcg or auto",
        )
    return AcceleratorChoice(accel=Accel.TCG, reason=proof.reason, remedy=proof.remedy)


def kvm_missing(arch: Arch, machine: str) -> str:
    """Why KVM cannot be used, as far as it is known without booting anything: nothing against it is the empty text.

    A proof of this boot of the host that failed counts; one that was never tried does not. Raises ToolMissing.
    """
    proof = _unproved(arch) or _recall(_remembered(arch, machine))
    return "" if proof is None or proof.usable else proof.reason


def forget_proofs() -> None:
    """Have KVM proved again: whoever has mended it need not boot the host for that."""
    for proof in (cache_dir() / "host").glob("kvm-*.json"):
        proof.unlink(missing_ok=True)


def _prove_kvm(arch: Arch, machine: str, say: Say) -> _Proof:
    """Cheap reasons against KVM first; then the cached proof, then a new one."""
    if (against := _unproved(arch)) is not None:
        return against
    remembered = _remembered(arch, machine)
    if (proof := _recall(remembered)) is not None:
        return proof
    build_probe(arch, say=say)  # not within the deadline of the proof
    proof, lasting = _boot_under_kvm(arch, machine, say)
    if lasting:
        _remember(remembered, proof)
    return proof


def _unproved(arch: Arch) -> _Proof | None:
    """Reasons against KVM that need no proof; None when there is none."""
    if host_arch() is not arch:
        return _Proof(
            usable=False,
            reason=f"the host's CPU cannot run {arch} guests under KVM",
            remedy=f"use an {arch} host",
        )
    try:
        os.close(os.open(KVM_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return _Proof(
            usable=False,
            reason=f"there is no {KVM_DEVICE}",
            remedy="enable virtualization (in the firmware, or nesting) and load the kvm module",
        )
    except PermissionError:
        return _Proof(
            usable=False,
            reason=f"this user may not open {KVM_DEVICE}",
            remedy="add the user to the group kvm (as root: adduser USER kvm) and log in again",
        )
    except OSError as error:
        return _Proof(
            usable=False,
            reason=f"{KVM_DEVICE} does not open ({error.strerror})",
            remedy="look at the kernel log for messages of kvm",
        )
    return None


def _remembered(arch: Arch, machine: str) -> Path:
    """Where the proof of this boot of the host is kept."""
    return cache_dir() / "host" / f"kvm-{_boot_id()}-{_fingerprint(arch, machine)}.json"


def _boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _fingerprint(arch: Arch, machine: str) -> str:
    parts = (arch.value, machine, qemu_version(arch), f"{PROOF_DEADLINE_S * timeout_factor()}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _boot_under_kvm(arch: Arch, machine: str, say: Say) -> tuple[_Proof, bool]:
    """The proof, and whether to remember it: QEMU may have refused for a reason that is not KVM's."""
    limit = PROOF_DEADLINE_S * timeout_factor()
    say(f"proving KVM: booting the PMU probe on {machine}, at most {limit:.0f} s (once per boot of the host)")
    try:
        answer = run_probe(arch, Accel.KVM, machine, "host", deadline_s=PROOF_DEADLINE_S, say=say)
    except DeadlineExceeded as error:
        seen = error.last_seen or "nothing"
        reason = f"the PMU probe did not answer under KVM within {error.seconds:.0f} s (seen: {seen})"
        return _Proof(
            usable=False,
            reason=f"{KVM_DEVICE} opens, but {reason}",
            remedy=f"use a host with hardware virtualization, or raise {FACTOR_VARIABLE}",
        ), True
    except (QemuError, ProtocolError) as error:
        reason = f"{KVM_DEVICE} opens, but the PMU probe failed under KVM: {error.message}"
        remedy = (
            "use a host with hardware virtualization, or another machine type if QEMU's words are about that"
        )
        return _Proof(usable=False, reason=reason, remedy=remedy), False
    say(f"KVM works: the PMU probe answered in {answer.elapsed_s:.2f} s")
    return _Proof(usable=True, reason="proved: the PMU probe answers under KVM"), True


def _recall(path: Path) -> _Proof | None:
    """A remembered proof; one that cannot be read is as good as none, and will be made again."""
    try:
        return _Proof.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _remember(path: Path, proof: _Proof) -> None:
    """Publish the proof at once as a whole, and forget those of earlier boots."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".kvm-", delete=False) as file:
        file.write(proof.model_dump_json())
    Path(file.name).rename(path)
    for old in path.parent.glob("kvm-*.json"):
        if not old.name.startswith(f"kvm-{_boot_id()}-"):
            old.unlink(missing_ok=True)
