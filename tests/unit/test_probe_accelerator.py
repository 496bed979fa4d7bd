"""How the accelerator is decided, with the probe's run simulated; the real decision is a system test."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Accel, Arch, Cell, Icount
from harness.errors import DeadlineExceeded, InfrastructureError, ProtocolError, QemuError
from harness.probe import accelerator
from harness.probe.accelerator import accelerator_for, choose_accelerator, forget_proofs
from harness.probe.models import PmuVerdict, ProbeAnswer

ANSWER = ProbeAnswer(
    arch=Arch.X86_64, accel=Accel.KVM, machine="q35", cpu="host", verdict=PmuVerdict.ABSENT, interface="none",
    version=0, general_counters=0, fixed_counters=0, counters=(), advertised={}, elapsed_s=0.1,
    qemu_version="9.9",
)  # fmt: skip


class Host:
    """A host of x86-64 with a /dev/kvm that opens; `outcome` is what the probe does under it."""

    def __init__(self, folder: Path) -> None:
        self.device = folder / "kvm"
        self.device.touch()
        self.boot_id = folder / "boot_id"
        self.boot_id.write_text("boot-one\n")
        self.cache = folder / "cache"
        self.runs: list[tuple[Accel, str, str]] = []
        self.outcome: Callable[[], ProbeAnswer] = lambda: ANSWER

    def run_probe(self, _arch: Arch, accel: Accel, machine: str, cpu: str, **_: object) -> ProbeAnswer:
        self.runs.append((accel, machine, cpu))
        return self.outcome()


def fails(error: Exception) -> Callable[[], ProbeAnswer]:
    def outcome() -> ProbeAnswer:
        raise error

    return outcome


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(accelerator, "KVM_DEVICE", made.device)
    monkeypatch.setattr(accelerator, "BOOT_ID", made.boot_id)
    monkeypatch.setattr(accelerator, "cache_dir", lambda: made.cache)
    monkeypatch.setattr(accelerator, "host_arch", lambda: Arch.X86_64)
    monkeypatch.setattr(accelerator, "qemu_version", lambda _: "9.9")
    monkeypatch.setattr(accelerator, "build_probe", lambda *_, **__: Path("image"))
    monkeypatch.setattr(accelerator, "run_probe", made.run_probe)
    return made


def test_tcg_needs_no_proof(host: Host) -> None:
    assert choose_accelerator(Accel.TCG, Arch.X86_64, "q35").accel is Accel.TCG
    assert host.runs == []


@pytest.mark.parametrize("requested", [Accel.AUTO, Accel.KVM])
def test_a_kvm_that_answers_is_taken_and_remembered(host: Host, requested: Accel) -> None:
    for _ in range(2):
        choice = choose_accelerator(requested, Arch.X86_64, "q35")
        assert (choice.accel, choice.reason) == (Accel.KVM, "proved: the PMU probe answers under KVM")
    assert host.runs == [(Accel.KVM, "q35", "host")]


def test_counting_instructions_takes_the_emulator_where_kvm_works(host: Host) -> None:
    cell = Cell(id="a", smp=1)
    assert accelerator_for(cell).accel is Accel.KVM
    exact = accelerator_for(cell.model_copy(update={"icount": Icount.EXACT}))
    assert (exact.accel, exact.reason) == (Accel.TCG, "icount: exact needs the emulator")


def test_each_machine_is_proved_on_its_own(host: Host) -> None:
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    choose_accelerator(Accel.AUTO, Arch.X86_64, "pc")
    assert [machine for _, machine, _ in host.runs] == ["q35", "pc"]


def test_a_kvm_that_hangs_gives_tcg_once_and_kvm_an_error(host: Host) -> None:
    host.outcome = fails(DeadlineExceeded("PMU probe", 4.0))
    for _ in range(2):
        choice = choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
        assert choice.accel is Accel.TCG
        assert "opens, but the PMU probe did not answer under KVM within 4 s" in choice.reason
    with pytest.raises(InfrastructureError, match="KVM was asked for and is not usable") as caught:
        choose_accelerator(Accel.KVM, Arch.X86_64, "q35")
    assert "tcg or auto" in caught.value.remedy
    assert len(host.runs) == 1


def test_another_boot_of_the_host_is_proved_again_and_forgets_the_last(host: Host) -> None:
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    host.boot_id.write_text("boot-two\n")
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    assert len(host.runs) == 2
    assert [path.name.startswith("kvm-boot-two-") for path in (host.cache / "host").iterdir()] == [True]


def test_a_longer_deadline_is_a_new_proof(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.outcome = fails(DeadlineExceeded("PMU probe", 4.0))
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    monkeypatch.setenv("HALPMC_TIMEOUT_FACTOR", "3")
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    assert len(host.runs) == 2


@pytest.mark.parametrize("error", [QemuError("unsupported machine type"), ProtocolError("malformed")])
def test_a_failure_that_is_not_kvms_is_not_remembered(host: Host, error: Exception) -> None:
    host.outcome = fails(error)
    assert f"failed under KVM: {error}" in choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").reason
    host.outcome = lambda: ANSWER
    assert choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").accel is Accel.KVM


def test_a_damaged_memory_is_replaced(host: Host) -> None:
    choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    (remembered,) = (host.cache / "host").iterdir()
    remembered.write_text('{"usable": tr')
    assert choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").accel is Accel.KVM
    assert len(host.runs) == 2
    assert '"usable":true' in remembered.read_text()


def test_without_the_device(host: Host) -> None:
    host.device.unlink()
    assert "there is no" in choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").reason
    with pytest.raises(InfrastructureError, match="there is no") as caught:
        choose_accelerator(Accel.KVM, Arch.X86_64, "q35")
    assert "load the kvm module" in caught.value.remedy
    assert host.runs == []


def test_a_device_that_does_not_open(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "KVM_DEVICE", host.cache.parent)  # a folder cannot be opened for writing
    assert "does not open (Is a directory)" in choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").reason


def test_a_device_that_this_user_may_not_open(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str | Path, flags: int, *more: int) -> int:
        if path == host.device:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)  # root may open everything
    choice = choose_accelerator(Accel.AUTO, Arch.X86_64, "q35")
    assert choice.accel is Accel.TCG
    assert "this user may not open" in choice.reason
    assert "group kvm" in choice.remedy
    assert host.runs == []


def test_proofs_can_be_forgotten(host: Host) -> None:
    host.outcome = fails(DeadlineExceeded("PMU probe", 4.0))
    assert choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").accel is Accel.TCG
    host.outcome = lambda: ANSWER
    forget_proofs()
    assert choose_accelerator(Accel.AUTO, Arch.X86_64, "q35").accel is Accel.KVM
    assert len(host.runs) == 2


def test_a_foreign_architecture(host: Host) -> None:
    choice = choose_accelerator(Accel.AUTO, Arch.AARCH64, "virt")
    assert choice.accel is Accel.TCG
    assert "cannot run aarch64 guests" in choice.reason
    assert host.runs == []
