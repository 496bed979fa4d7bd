"""Which accelerator guests really get, proved by booting the PMU probe, and what PMU they get with it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.caching import Say
from harness.config.models import Accel, Arch
from harness.doctor.finding import Finding, failed, ok, warn
from harness.errors import HalpmcError
from harness.host.tools import host_arch
from harness.probe.accelerator import AcceleratorChoice, choose_accelerator
from harness.probe.models import PmuVerdict, ProbeAnswer
from harness.probe.run import DEFAULT_MACHINES, run_probe

CPUS = {Accel.KVM: "host,pmu=on", Accel.TCG: "max,pmu=on"}
SEE_ALSO = "see the checks vpmu.*"
NOT_REALISED = "cells with pmu on run, and are reported as not realised"


def check_accelerator(arch: Arch, say: Say) -> Iterator[Finding]:
    """Decide as `accel: auto` does (the answer is kept for this boot of the host), then boot the probe with pmu=on.

    Raises ToolMissing, BuildError.
    """
    machine = DEFAULT_MACHINES[arch]
    choice = choose_accelerator(Accel.AUTO, arch, machine, say=say)
    try:
        answer = run_probe(arch, choice.accel, machine, CPUS[choice.accel], say=say)
    except HalpmcError as error:
        yield failed(f"accelerator.{arch}", error)
        return
    yield judge_choice(arch, choice, answer, native=host_arch() is arch)
    yield judge_pmu(arch, choice.accel, answer)


def judge_choice(arch: Arch, choice: AcceleratorChoice, answer: ProbeAnswer, *, native: bool) -> Finding:
    """TCG for guests of a foreign architecture is as it must be; for the host's own it is a limit."""
    proved = f"the PMU probe answered in {answer.elapsed_s:.2f} s"
    detail = f"accel auto takes {choice.accel} for {arch} guests ({proved}): {choice.reason}"
    if choice.accel is Accel.KVM or not native:
        return ok(f"accelerator.{arch}", detail)
    return warn(f"accelerator.{arch}", f"{detail}; guests run, several times slower", choice.remedy)


def judge_pmu(arch: Arch, accel: Accel, answer: ProbeAnswer) -> Finding:
    """What PMU a guest has that asks for one."""
    check = f"pmu.{arch}"
    asked = f"-cpu {answer.cpu} under {accel}"
    match answer.verdict:
        case PmuVerdict.COUNTING:
            counters = f"{answer.general_counters} general and {answer.fixed_counters} fixed counters"
            return ok(check, f"{asked}: a real PMU that counts ({answer.interface}, {counters})")
        case PmuVerdict.ABSENT:
            if accel is Accel.TCG:
                detail = f"no PMU: TCG emulates none for {arch}; {NOT_REALISED}"
                return warn(check, f"{asked}: {detail}", f"use an {arch} host whose KVM works")
            detail = f"no PMU: KVM gives its guests none here; {NOT_REALISED}"
            return warn(check, f"{asked}: {detail}", SEE_ALSO)
        case _:
            return warn(
                check,
                f"{asked}: a PMU is advertised and does not count ({answer.verdict})",
                f"{SEE_ALSO}; somebody else may use the host's counters",
            )
