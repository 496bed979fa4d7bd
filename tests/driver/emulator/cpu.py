"""CPUs with and without a PMU. Registers and CPUID leaves as in Intel's SDM volume 3 and AMD's APM volume 2.

A modelled counter counts ten instructions per executed basic block: the driver's known loop is one block of ten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.driver.emulator.errors import Fault

ACCESS_VIOLATION = 0xC0000005
PRIVILEGED_INSTRUCTION = 0xC0000096
ENABLE = 1 << 22
PMC0, SELECT0, FULL_WIDTH0, FIXED0 = 0xC1, 0x186, 0x4C1, 0x309
CAPABILITIES, FIXED_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, GLOBAL_CLEAR = 0x345, 0x38D, 0x38E, 0x38F, 0x390
AMD_CORE0 = 0xC0010200


def _name(text: bytes) -> tuple[int, int, int]:
    """EBX, EDX, ECX of leaf 0, in that order."""
    ebx, edx, ecx = (int.from_bytes(text[i : i + 4], "little") for i in (0, 4, 8))
    return ebx, edx, ecx


@dataclass
class Cpu:
    """A CPU without a PMU, as a strict hypervisor shows it: every access to a PMU register faults."""

    vendor: bytes = b"GenuineIntel"
    fault_code: int = ACCESS_VIOLATION
    faulting: set[int] = field(default_factory=set)
    """Registers that fault although they are advertised; RDPMC indexes are told apart by bit 32."""
    dead: bool = False
    """Counters keep what is written to them, and never count."""
    msrs: dict[int, int] = field(default_factory=dict)
    written: list[int] = field(default_factory=list)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX."""
        if leaf == 0:
            ebx, edx, ecx = _name(self.vendor)
            return 0xD, ebx, ecx, edx
        if leaf == 0x80000000:
            return 0x80000022, 0, 0, 0
        return 0, 0, 0, 0

    def rdmsr(self, register: int) -> int:
        if register in self.faulting or register not in self.msrs:
            raise Fault(self.fault_code)
        return self.msrs[register]

    def wrmsr(self, register: int, value: int) -> None:
        if register in self.faulting or register not in self.msrs:
            raise Fault(self.fault_code)
        self.written.append(register)
        self.msrs[register] = value

    def rdpmc(self, index: int) -> int:
        raise Fault(self.fault_code)

    def running(self) -> list[tuple[int, int]]:
        """Registers of counters that count, with their widths."""
        return []

    def retire(self, instructions: int) -> None:
        """Count executed instructions."""
        if self.dead:
            return
        for register, width in self.running():
            self.msrs[register] = (self.msrs[register] + instructions) & ((1 << width) - 1)

    def registers(self) -> dict[int, int]:
        """A copy of every register, to compare with."""
        return dict(self.msrs)


@dataclass
class QuietCpu(Cpu):
    """No PMU, as KVM shows it by default: reading a counter gives zero."""

    def rdpmc(self, index: int) -> int:
        return 0


@dataclass
class IntelCpu(Cpu):
    """Architectural PMU. Registers start with values that a careless driver would lose."""

    version: int = 2
    general: int = 4
    fixed: int = 3
    width: int = 48
    full_width: bool = True

    def __post_init__(self) -> None:
        names = [SELECT0 + i for i in range(self.general)]
        names += [(FULL_WIDTH0 if self.full_width else PMC0) + i for i in range(self.general)]
        if self.version >= 2:
            names += [FIXED0 + i for i in range(self.fixed)]
            names += [FIXED_CTRL, GLOBAL_CTRL, GLOBAL_STATUS, GLOBAL_CLEAR]
        self.msrs = {name: 0x100 + i for i, name in enumerate(names)}
        self.msrs[CAPABILITIES] = int(self.full_width) << 13
        if self.version >= 2:
            self.msrs.update({FIXED_CTRL: 0, GLOBAL_CTRL: 0, GLOBAL_STATUS: 0, GLOBAL_CLEAR: 0})

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        if leaf == 1:
            return 0x906EA, 0, 1 << 15, 0
        if leaf == 0xA:
            return (
                self.version | self.general << 8 | self.width << 16 | 7 << 24,
                0,
                (1 << self.fixed) - 1 if self.version >= 5 else 0,
                self.fixed | self.width << 5,
            )
        return super().cpuid(leaf, subleaf)

    def rdmsr(self, register: int) -> int:
        return 0 if register == GLOBAL_CLEAR and register in self.msrs else super().rdmsr(register)

    def wrmsr(self, register: int, value: int) -> None:
        enabled = (1 << self.general) - 1 | ((1 << self.fixed) - 1) << 32
        if register in (GLOBAL_STATUS, CAPABILITIES) or (register == GLOBAL_CTRL and value & ~enabled):
            raise Fault(self.fault_code)
        super().wrmsr(register, value)
        if register == GLOBAL_CLEAR:
            self.msrs[GLOBAL_STATUS] &= ~value
            self.msrs[GLOBAL_CLEAR] = 0

    def rdpmc(self, index: int) -> int:
        fixed, number = index >> 30, index & 0x3FFFFFFF
        if number >= (self.fixed if fixed else self.general):
            raise Fault(self.fault_code)
        return self.rdmsr((FIXED0 if fixed else FULL_WIDTH0 if self.full_width else PMC0) + number)

    def retire(self, instructions: int) -> None:
        if not self.running():
            return
        before = self.registers()
        super().retire(instructions)
        if self.version < 2:
            return
        for first, count, bit in (
            (FULL_WIDTH0 if self.full_width else PMC0, self.general, 0),
            (FIXED0, self.fixed, 32),
        ):
            for i in range(count):
                if self.msrs[first + i] < before[first + i]:
                    self.msrs[GLOBAL_STATUS] |= 1 << (bit + i)

    def running(self) -> list[tuple[int, int]]:
        enabled = self.msrs[GLOBAL_CTRL] if self.version >= 2 else (1 << self.general) - 1
        counters = FULL_WIDTH0 if self.full_width else PMC0
        found = [
            (counters + i, self.width)
            for i in range(self.general)
            if enabled >> i & 1 and self.msrs[SELECT0 + i] & ENABLE
        ]
        if self.version >= 2:
            found += [
                (FIXED0 + i, self.width)
                for i in range(self.fixed)
                if enabled >> (32 + i) & 1 and self.msrs[FIXED_CTRL] >> (4 * i) & 3
            ]
        return found


@dataclass
class AmdCpu(Cpu):
    """Six core counters, controls and counters in turn."""

    vendor: bytes = b"AuthenticAMD"

    def __post_init__(self) -> None:
        self.msrs = {AMD_CORE0 + i: 0x200 + i for i in range(12)}

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return (0, 0, 1 << 23, 0) if leaf == 0x80000001 else super().cpuid(leaf, subleaf)

    def rdpmc(self, index: int) -> int:
        if index >= 6:
            raise Fault(self.fault_code)
        return self.rdmsr(AMD_CORE0 + 2 * index + 1)

    def running(self) -> list[tuple[int, int]]:
        return [(AMD_CORE0 + 2 * i + 1, 48) for i in range(6) if self.msrs[AMD_CORE0 + 2 * i] & ENABLE]
