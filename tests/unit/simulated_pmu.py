"""SIMULATED x86 PMUs for tests of the C code in guest_driver/pmu: no real counter counts here.

The code is compiled for the host and run on a register file that is written in Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.deadlines import Deadline
from harness.paths import driver_sources
from harness.toolchain import zig

LOOP = 1000
INSTRUCTIONS = 10 * LOOP
MSR_READ, MSR_WRITE, RDPMC = 0, 1, 2
GENERAL_PROTECTION = 13

# The host side of pmu.h, handed through to Python.
GLUE = """
#include "pmu.h"
#include "pmu_x86.h"
uint32_t (*sim_guarded)(uint32_t op, uint32_t reg, uint64_t *value);
void (*sim_cpuid)(uint32_t leaf, uint32_t subleaf, struct pmu_cpuid *out);
uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value) { return sim_guarded(op, reg, value); }
void pmu_cpuid(uint32_t leaf, uint32_t subleaf, struct pmu_cpuid *out) { sim_cpuid(leaf, subleaf, out); }
"""

GUARDED = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint64))
CPUID = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32 * 4))


class Counter(ctypes.Structure):
    """struct pmu_counter."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("kind", "index", "event", "state")]
    _fields_ += [("count", ctypes.c_uint64)]
    _fields_ += [(name, ctypes.c_uint32) for name in ("fault", "checked", "passed", "rdpmc_fault")]
    _fields_ += [("rdpmc", ctypes.c_uint64)]
    kind: int
    index: int
    event: int
    state: int
    count: int
    fault: int
    checked: int
    passed: int
    rdpmc_fault: int
    rdpmc: int


class Report(ctypes.Structure):
    """struct pmu_report."""

    _fields_ = [
        *(
            (n, ctypes.c_uint32)
            for n in ("interface", "version", "general", "fixed", "width", "loop", "counters", "fault")
        ),
        ("counter", Counter * 48),
    ]
    interface: int
    version: int
    general: int
    fixed: int
    width: int
    counters: int
    fault: int


NONE, INTEL, AMD, AMD_V2 = range(4)
DEAD, COUNTING, FAULTED = range(3)
GENERAL, FIXED = 0, 1
CHECKS = ("started", "in_range", "stopped", "reset", "rdpmc", "overflow", "restored", "at_rest")
MASK = (1 << 48) - 1


@dataclass
class SimulatedCounter:
    """One counter: where its registers are, and when they say that it runs. `value` holds the count.

    `rdpmc` is its number for that instruction, `bit` its place in the overflow status.
    """

    control: int
    value: int
    running: Callable[[dict[int, int]], bool]
    event: Callable[[dict[int, int]], int]
    rdpmc: int
    bit: int


@dataclass
class SimulatedCpu:
    """A register file. `gain` is what each event counts per stretch; registers not in `msrs` fault."""

    cpuid: dict[int, tuple[int, int, int, int]]
    msrs: dict[int, int] = field(default_factory=dict)
    counters: list[SimulatedCounter] = field(default_factory=list)
    gain: dict[int, int] = field(default_factory=lambda: {0xC0: INSTRUCTIONS + 64, 0x3C: 3210})
    noise: list[int] = field(default_factory=list)  # added to the next stretches, one after the other
    reads_as_zero: bool = False  # as KVM without a virtual PMU: reads 0, drops writes
    never_stops: bool = False
    never_resets: bool = False
    rdpmc_shows: Callable[[int], int] | None = lambda value: value  # None: it faults
    status: tuple[int, int] | None = None  # registers of the overflow status: to read, to clear bits in
    sets_status: bool = True
    forgets: set[int] = field(default_factory=set)  # registers that lose bit 1 when they are written
    written: set[int] = field(default_factory=set)

    def run_cpuid(self, leaf: int, _subleaf: int, out: object) -> None:
        regs = out.contents  # type: ignore[attr-defined]
        for i, value in enumerate(self.cpuid.get(leaf, (0, 0, 0, 0))):
            regs[i] = value

    def guarded(self, op: int, reg: int, value: object) -> int:
        if op == RDPMC:
            return self._rdpmc(reg, value)
        if reg not in self.msrs:
            return GENERAL_PROTECTION
        if op == MSR_READ:
            if self.never_stops:
                for counter in self.counters:
                    self.msrs[counter.value] += 1
            value[0] = 0 if self.reads_as_zero else self.msrs[reg]  # type: ignore[index]
            return 0
        assert op == MSR_WRITE
        self.written.add(reg)
        if not self.reads_as_zero:
            self._write(reg, value[0])  # type: ignore[index]
        return 0

    def _write(self, reg: int, value: int) -> None:
        if self.status and reg == self.status[1]:
            self.msrs[self.status[0]] &= ~value
            return
        before = [(c, c.running(self.msrs), c.event(self.msrs)) for c in self.counters]
        if not (self.never_resets and value == 0 and any(c.value == reg for c in self.counters)):
            self.msrs[reg] = value & ~2 if reg in self.forgets else value
        for counter, ran, event in before:
            if ran and not counter.running(self.msrs):
                noise = self.noise.pop(0) if self.noise else 0
                self._add(counter, self.gain.get(event, 0) + noise)

    def _add(self, counter: SimulatedCounter, events: int) -> None:
        total = self.msrs[counter.value] + events
        self.msrs[counter.value] = total & MASK
        if total > MASK and self.status and self.sets_status:
            self.msrs[self.status[0]] |= 1 << counter.bit

    def _rdpmc(self, number: int, value: object) -> int:
        for counter in self.counters:
            if counter.rdpmc == number and self.rdpmc_shows:
                value[0] = self.rdpmc_shows(self.msrs[counter.value])  # type: ignore[index]
                return 0
        return GENERAL_PROTECTION


def vendor(text: str, highest: int) -> tuple[int, int, int, int]:
    ebx, edx, ecx = (int.from_bytes(text[i : i + 4].encode(), "little") for i in (0, 4, 8))
    return highest, ebx, ecx, edx


def select(control: int, value: int, global_reg: int | None, bit: int) -> SimulatedCounter:
    """A general counter: bit 22 enables, bits 16 and 17 say where, and a global register may forbid."""

    def running(msrs: dict[int, int]) -> bool:
        local = msrs[control] & 0x430000 == 0x430000
        return local and (global_reg is None or bool(msrs[global_reg] >> bit & 1))

    return SimulatedCounter(control, value, running, lambda msrs: msrs[control] & 0xFF, rdpmc=bit, bit=bit)


def intel(
    version: int, general: int, fixed: int, *, full_width: bool = False, missing_events: int = 0
) -> SimulatedCpu:
    global_ctrl = 0x38F if version >= 2 else None
    value0 = 0x4C1 if full_width else 0xC1
    cpu = SimulatedCpu(
        cpuid={
            0: vendor("GenuineIntel", 0xD),
            1: (0, 0, 1 << 15 if full_width else 0, 0),
            0xA: (version | general << 8 | 48 << 16 | 7 << 24, missing_events, 0, fixed | 48 << 5),
            0x80000000: (0x80000008, 0, 0, 0),
        }
    )
    for i in range(general):
        cpu.msrs |= {0x186 + i: 0x01003C, value0 + i: 0x1234 + i}
        cpu.counters.append(select(0x186 + i, value0 + i, global_ctrl, i))
    if full_width:
        cpu.msrs[0x345] = 1 << 13
    if global_ctrl:
        cpu.msrs |= {global_ctrl: 0xF, 0x38D: 0x080, 0x38E: 0, 0x390: 0}
        cpu.status = 0x38E, 0x390
        for i in range(fixed):
            cpu.msrs[0x309 + i] = 77

            def running(msrs: dict[int, int], i: int = i) -> bool:
                return msrs[0x38D] >> 4 * i & 3 == 3 and bool(msrs[0x38F] >> 32 + i & 1)

            def event(_: dict[int, int], i: int = i) -> int:
                return 0xC0 if i == 0 else 0x3C

            cpu.counters.append(
                SimulatedCounter(0x38D, 0x309 + i, running, event, rdpmc=1 << 30 | i, bit=32 + i)
            )
    return cpu


def amd(*, core: bool = False, v2: int = 0, name: str = "AuthenticAMD") -> SimulatedCpu:
    cpu = SimulatedCpu(
        cpuid={
            0: vendor(name, 0xD),
            0x80000000: (0x80000022, 0, 0, 0),
            0x80000001: (0, 0, 1 << 23 if core or v2 else 0, 0),
            0x80000022: (1 if v2 else 0, v2, 0, 0),
        }
    )
    places = [(0xC0010000 + i, 0xC0010004 + i) for i in range(4)]
    if core or v2:
        places = [(0xC0010200 + 2 * i, 0xC0010201 + 2 * i) for i in range(v2 or 6)]
    if v2:
        cpu.msrs |= dict.fromkeys((0xC0000300, 0xC0000301, 0xC0000302), 0)
        cpu.status = 0xC0000300, 0xC0000302
    for i, (control, value) in enumerate(places):
        cpu.msrs |= {control: 0, value: 5}
        cpu.counters.append(select(control, value, 0xC0000301 if v2 else None, i))
    return cpu


def build_core(folder: Path) -> ctypes.CDLL:
    """The PMU core as a library of this host, with its guard and its CPUID left to Python."""
    sources = driver_sources() / "pmu"
    glue, built = folder / "glue.c", folder / "pmu.so"
    glue.write_text(GLUE)
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-DPMU_CPUID_SUPPLIED"]
    inputs = [*map(str, sorted(sources.glob("*.c"))), str(glue)]
    arguments = ["cc", "-target", "x86_64-linux-gnu", *flags, f"-I{sources}", *inputs, "-o", str(built)]
    zig(arguments, Deadline("building the PMU core for the host", 300.0))
    loaded = ctypes.CDLL(str(built))
    names = (
        loaded.pmu_event_name,
        loaded.pmu_interface_name,
        loaded.pmu_state_name,
        loaded.pmu_check_name,
    )
    for function in names:
        function.restype = ctypes.c_char_p
    return loaded


@contextmanager
def simulated(library: ctypes.CDLL, cpu: SimulatedCpu) -> Generator[None, None, None]:
    """The core runs on this CPU inside the context."""
    guarded, cpuid = GUARDED(cpu.guarded), CPUID(cpu.run_cpuid)
    ctypes.c_void_p.in_dll(library, "sim_guarded").value = ctypes.cast(guarded, ctypes.c_void_p).value
    ctypes.c_void_p.in_dll(library, "sim_cpuid").value = ctypes.cast(cpuid, ctypes.c_void_p).value
    yield


def measure(library: ctypes.CDLL, cpu: SimulatedCpu) -> Report:
    report = Report()
    with simulated(library, cpu):
        library.pmu_measure(ctypes.byref(report), ctypes.c_uint32(LOOP))
    return report


def checks(counter: Counter) -> dict[str, bool]:
    """The checks that were made of a counter, by name."""
    return {
        name: bool(counter.passed >> bit & 1) for bit, name in enumerate(CHECKS) if counter.checked >> bit & 1
    }
