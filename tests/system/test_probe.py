"""The PMU probe in real QEMU machines under TCG, whose x86 has no PMU and whose aarch64 has a real PMUv3."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import psutil
import pytest

from harness.config.models import Accel, Arch
from harness.contract.exact import CYCLES_PER_INSTRUCTION, LOOP_INSTRUCTIONS
from harness.contract.outcomes import Outcome
from harness.contract.overflow import judge_probe_overflow
from harness.errors import DeadlineExceeded, InfrastructureError, QemuError
from harness.host.tools import host_arch
from harness.probe import accelerator
from harness.probe.accelerator import choose_accelerator
from harness.probe.models import Counter, CounterState, PmuVerdict, ProbeAnswer
from harness.probe.run import run_probe

UNDEFINED_OPCODE = "0x6"
PMU_INTERRUPT = 23  # of QEMU's virt machine


def probe(arch: Arch, machine: str, cpu: str, smp: int = 1) -> ProbeAnswer:
    return run_probe(arch, Accel.TCG, machine, cpu, smp=smp)


def with_event(answer: ProbeAnswer, event: str, prefix: str) -> list[Counter]:
    return [c for c in answer.counters if c.event == event and c.name.startswith(prefix)]


@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize(
    "cpu", ["max,pmu=on", "max,pmu=off", "qemu64,pmu=on", "Nehalem,pmu=on", "EPYC,pmu=on"]
)
def test_x86_tcg_has_no_pmu_whatever_is_asked_for(machine: str, cpu: str) -> None:
    answer = probe(Arch.X86_64, machine, cpu)
    assert answer.verdict is PmuVerdict.ABSENT
    assert (answer.interface, answer.general_counters, answer.fixed_counters) == ("none", 0, 0)
    assert answer.advertised["cpuid.0xa.eax"] == "0x0"
    assert answer.counters
    assert all(c.state is not CounterState.COUNTING and c.count == 0 for c in answer.counters)


def test_instructions_counted_by_the_emulator_are_exact() -> None:
    """The same numbers in every run: as many instructions for the loop as it has, and two cycles for each."""
    first, second = (
        run_probe(Arch.AARCH64, Accel.TCG, "virt", "neoverse-n1,pmu=on", icount=True) for _ in range(2)
    )
    assert first.counters == second.counters
    (instructions,) = {c.count for c in first.counters if c.event == "instructions"}
    assert 0 < instructions - LOOP_INSTRUCTIONS * first.counters[0].loop < 100
    assert {c.count for c in first.counters if c.event == "cycles"} == {CYCLES_PER_INSTRUCTION * instructions}


def test_a_fault_is_an_answer() -> None:
    answer = probe(Arch.X86_64, "q35", "Nehalem,pmu=on")  # QEMU's TCG does not implement RDPMC
    assert [(c.name, c.state, c.fault) for c in answer.counters] == [
        (f"gp{i}", CounterState.FAULTED, UNDEFINED_OPCODE) for i in range(4)
    ]


def test_several_cpus() -> None:
    assert probe(Arch.X86_64, "q35", "max,pmu=on", smp=4).verdict is PmuVerdict.ABSENT
    assert probe(Arch.AARCH64, "virt", "cortex-a72,pmu=on", smp=4).verdict is PmuVerdict.COUNTING


@pytest.mark.parametrize("gic", ["2", "3"])
@pytest.mark.parametrize("cpu", ["max", "cortex-a72", "neoverse-n1"])
@pytest.mark.parametrize("virtualization", ["on", "off"])
def test_aarch64_overflows_interrupt(gic: str, cpu: str, virtualization: str) -> None:
    """Each counter once, by the PMU's own interrupt, with its own status bit."""
    machine = f"virt,gic-version={gic},virtualization={virtualization}"
    answer = probe(Arch.AARCH64, machine, f"{cpu},pmu=on")
    bits = {"cycle": 1 << 31, **{f"event{i}": 1 << i for i in range(6)}}
    assert [(o.name, o.event) for o in answer.overflows] == [(c.name, c.event) for c in answer.counters]
    assert [(o.interrupts, o.number, int(o.status, 16)) for o in answer.overflows] == [
        (1, PMU_INTERRUPT, bits[o.name]) for o in answer.overflows
    ]
    assert judge_probe_overflow(answer).outcome is Outcome.PASS, answer.overflows


def test_what_is_not_tried_is_said() -> None:
    without = probe(Arch.AARCH64, "virt", "max,pmu=off")
    assert (without.overflows, without.overflows_untried) == ((), "there is no PMU")
    x86 = probe(Arch.X86_64, "q35", "max,pmu=on")
    assert (x86.overflows, "interrupt controller" in x86.overflows_untried) == ((), True)


@pytest.mark.parametrize("machine", ["virt", "virt,virtualization=on"])
@pytest.mark.parametrize("cpu", ["max", "cortex-a72", "neoverse-n1"])
def test_aarch64_tcg_counts_with_a_pmu(machine: str, cpu: str) -> None:
    answer = probe(Arch.AARCH64, machine, f"{cpu},pmu=on")
    assert (answer.verdict, answer.interface) == (PmuVerdict.COUNTING, "pmuv3")
    assert answer.version > 0
    assert (answer.general_counters, answer.fixed_counters) == (6, 1)
    names = {f"event{i}" for i in range(6)}
    (cycle,) = with_event(answer, "cycles", "cycle")
    cycles = with_event(answer, "cycles", "event")
    software = with_event(answer, "sw-incr", "event")
    assert cycle.count > 0
    assert {c.name for c in cycles} == {c.name for c in software} == names
    assert all(c.count > 0 for c in cycles)
    assert [c.count for c in software] == [5] * 6
    assert all(c.state is CounterState.COUNTING for c in answer.counters)
    for counter in answer.counters:  # every check that this architecture has
        checks = counter.checks.model_dump()
        assert {name for name, passed in checks.items() if passed is None} == {"rdpmc"}, counter
        assert all(passed is not False for passed in checks.values()), counter


@pytest.mark.parametrize("machine", ["virt", "virt,virtualization=on"])
@pytest.mark.parametrize("cpu", ["max", "cortex-a72", "neoverse-n1"])
def test_aarch64_tcg_has_none_without(machine: str, cpu: str) -> None:
    answer = probe(Arch.AARCH64, machine, f"{cpu},pmu=off")
    assert (answer.verdict, answer.interface) == (PmuVerdict.ABSENT, "none")
    assert (answer.general_counters, answer.fixed_counters) == (0, 0)
    assert all(c.state is not CounterState.COUNTING for c in answer.counters)
    assert int(answer.advertised["ID_AA64DFR0_EL1"], 16) >> 8 & 0xF == 0


def hanging_image(arch: Arch, folder: Path) -> Path:
    """An image that boots and does nothing for ever."""
    image = folder / "hang"
    if arch is Arch.AARCH64:
        image.write_bytes(struct.pack("<I", 0x14000000))  # b .
    else:  # multiboot with the addresses in its header, then: jmp .
        magic, flags, load = 0x1BADB002, 1 << 16, 0x100000
        entry, end = load + 32, load + 34
        checksum = -(magic + flags) & 0xFFFFFFFF
        image.write_bytes(
            struct.pack("<8I", magic, flags, checksum, load, load, end, end, entry) + b"\xeb\xfe"
        )
    return image


@pytest.mark.parametrize(("arch", "machine"), [(Arch.X86_64, "q35"), (Arch.AARCH64, "virt")])
def test_an_image_that_hangs_is_ended_at_the_deadline(arch: Arch, machine: str, tmp_path: Path) -> None:
    before = psutil.Process().children(recursive=True)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="nothing was seen"):
        run_probe(arch, Accel.TCG, machine, "max", deadline_s=1.0, image=hanging_image(arch, tmp_path))
    assert time.monotonic() - start < 10
    assert psutil.Process().children(recursive=True) == before


def test_a_machine_that_qemu_does_not_have() -> None:
    with pytest.raises(QemuError, match=r"before the PMU probe answered: .*unsupported machine type"):
        run_probe(Arch.X86_64, Accel.TCG, "no-such-machine", "max")


def test_auto_proves_kvm_here_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "cache_dir", lambda: tmp_path)  # decide afresh
    arch = host_arch()
    if arch is None:
        pytest.skip("the host's architecture is none that guests have")
    machine = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}[arch]
    before = psutil.Process().children(recursive=True)
    choice = choose_accelerator(Accel.AUTO, arch, machine)
    assert psutil.Process().children(recursive=True) == before
    if choice.accel is Accel.KVM:
        assert choice.reason.startswith("proved")
        assert run_probe(arch, Accel.KVM, machine, "host").accel is Accel.KVM
    else:
        assert "/dev/kvm" in choice.reason or "under KVM" in choice.reason
        with pytest.raises(InfrastructureError, match="KVM was asked for"):
            choose_accelerator(Accel.KVM, arch, machine)
    start = time.monotonic()
    assert choose_accelerator(Accel.AUTO, arch, machine) == choice
    assert time.monotonic() - start < 2  # remembered, or a cheap reason
