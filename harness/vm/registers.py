"""What the CPUs do, from QEMU's register dump: enough to tell a hang with interrupts off from an idle guest."""

from __future__ import annotations

import re
from dataclasses import dataclass

X86_INTERRUPTS = 1 << 9  # EFLAGS.IF
ARM_IRQ_MASKED = 1 << 7  # PSTATE.I


@dataclass(frozen=True)
class CpuState:
    """One CPU. `halted` is None where QEMU does not say (aarch64)."""

    index: int
    pc: int
    interrupts: bool
    halted: bool | None


def cpu_states(text: str) -> tuple[CpuState, ...]:
    """The CPUs in the output of `info registers -a`; those whose registers are not understood are left out."""
    found = []
    parts = re.split(r"CPU#(\d+)", text)
    for index, block in zip(parts[1::2], parts[2::2], strict=True):
        x86 = re.search(r"[RE]IP=([0-9a-f]+) [RE]FL=([0-9a-f]+).* HLT=([01])", block)
        arm = re.search(r"PC=([0-9a-f]+).*PSTATE=([0-9a-f]+)", block, re.DOTALL)
        if x86:
            flags, halted = int(x86[2], 16), x86[3] == "1"
            found.append(CpuState(int(index), int(x86[1], 16), bool(flags & X86_INTERRUPTS), halted))
        elif arm:
            masked = bool(int(arm[2], 16) & ARM_IRQ_MASKED)
            found.append(CpuState(int(index), int(arm[1], 16), not masked, None))
    return tuple(found)


def describe(first: tuple[CpuState, ...], later: tuple[CpuState, ...]) -> str:
    """One clause about all CPUs, from two looks at them; empty when nothing is known.

    One look proves nothing: every CPU has its interrupts off for moments.
    """
    if not later or len(first) != len(later):
        return ""
    where = ", ".join(f"0x{cpu.pc:x}" for cpu in later)
    both = list(zip(first, later, strict=True))
    deaf = [after for before, after in both if not (before.interrupts or after.interrupts)]
    if all(before.halted and after.halted for before, after in both):
        if len(deaf) == len(both):
            return f"every CPU is halted with interrupts off (at {where}), so only an NMI can wake it"
        return f"every CPU is idle (at {where}): the guest waits for something"
    stuck = ", ".join(f"CPU {cpu.index} at 0x{cpu.pc:x}" for cpu in deaf if not cpu.halted)
    return f"interrupts stay off on {stuck}" if stuck else f"the CPUs are at {where}"
