"""The x86 part of the PMU core against SIMULATED PMUs: no real counter counts here.

QEMU's TCG has no x86 PMU, so this is all that can be shown without KVM on a host with a PMU.
"""

from __future__ import annotations

import ctypes

import pytest

from harness.config.models import Arch
from harness.host.tools import host_arch
from tests.unit.simulated_pmu import (
    AMD,
    AMD_V2,
    COUNTING,
    DEAD,
    FAULTED,
    FIXED,
    GENERAL_PROTECTION,
    INSTRUCTIONS,
    INTEL,
    NONE,
    Counter,
    Report,
    SimulatedCpu,
    amd,
    build_core,
    intel,
    measure,
    vendor,
)

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="x86 code, run on the host's own CPU")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_core(tmp_path_factory.mktemp("pmu"))


def entries(report: Report) -> list[Counter]:
    return list(report.counter[: report.counters])


def states(report: Report) -> list[int]:
    return [counter.state for counter in entries(report)]


def names(library: ctypes.CDLL, report: Report) -> list[tuple[str, str]]:
    result = []
    for counter in entries(report):
        name = ctypes.create_string_buffer(16)
        library.pmu_counter_name(report.interface, ctypes.byref(counter), name)
        event = library.pmu_event_name(report.interface, ctypes.byref(counter))
        result.append((name.value.decode(), event.decode()))
    return result


@pytest.mark.parametrize("version", [2, 4, 5])
@pytest.mark.parametrize("full_width", [False, True])
def test_intel_counts_and_is_restored(library: ctypes.CDLL, version: int, full_width: bool) -> None:
    cpu = intel(version, general=4, fixed=3, full_width=full_width)
    saved = dict(cpu.msrs)
    report = measure(library, cpu)
    assert (report.interface, report.version, report.general, report.fixed, report.width) == (
        INTEL,
        version,
        4,
        3,
        48,
    )
    assert states(report) == [COUNTING] * 7
    assert [c.count for c in entries(report)] == [INSTRUCTIONS + 64] * 5 + [3210] * 2
    assert names(library, report) == [
        *((f"gp{i}", "instructions") for i in range(4)),
        ("fixed0", "instructions"),
        ("fixed1", "cycles"),
        ("fixed2", "ref-cycles"),
    ]
    assert cpu.msrs == saved
    assert report.fault == 0


def test_intel_version_1_has_no_global_control_and_no_fixed_counters(library: ctypes.CDLL) -> None:
    cpu = intel(1, general=2, fixed=3)
    report = measure(library, cpu)
    assert (report.fixed, states(report)) == (0, [COUNTING] * 2)
    assert 0x38F not in cpu.written


def test_intel_without_the_instructions_event_counts_cycles(library: ctypes.CDLL) -> None:
    report = measure(library, intel(2, general=1, fixed=0, missing_events=0b10))
    assert names(library, report) == [("gp0", "cycles")]
    assert states(report) == [COUNTING]


def test_intel_advertised_but_dead(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=4, fixed=3)
    cpu.gain = {}
    report = measure(library, cpu)
    assert (report.interface, report.general, states(report)) == (INTEL, 4, [DEAD] * 7)


def test_intel_registers_that_drop_writes_are_dead(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=2, fixed=1)
    cpu.reads_as_zero = True
    assert states(measure(library, cpu)) == [DEAD] * 3


def test_a_faulting_global_control_is_an_answer_and_nothing_stays_changed(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=2, fixed=1)
    del cpu.msrs[0x38F]
    saved = dict(cpu.msrs)
    report = measure(library, cpu)
    assert states(report) == [FAULTED] * 3
    assert {c.fault for c in entries(report)} == {GENERAL_PROTECTION} == {report.fault}
    assert cpu.msrs == saved


def test_a_fault_in_one_counter_spares_the_others_and_restores_what_was_saved(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=3, fixed=0)
    del cpu.msrs[0xC2]
    cpu.counters.pop(1)
    saved = dict(cpu.msrs)
    assert states(measure(library, cpu)) == [COUNTING, FAULTED, COUNTING]
    assert cpu.msrs == saved


@pytest.mark.parametrize(
    ("gain", "state"),
    [
        pytest.param(INSTRUCTIONS - 1, DEAD, id="below-the-loop"),
        pytest.param(INSTRUCTIONS, COUNTING, id="the-loop"),
        pytest.param(INSTRUCTIONS + INSTRUCTIONS // 5 + 20000, COUNTING, id="at-the-limit"),
        pytest.param(INSTRUCTIONS + INSTRUCTIONS // 5 + 20001, DEAD, id="beyond-the-limit"),
        pytest.param(1, DEAD, id="hardly-anything"),
    ],
)
def test_instructions_have_a_range(library: ctypes.CDLL, gain: int, state: int) -> None:
    cpu = intel(2, general=1, fixed=0)
    cpu.gain = {0xC0: gain}
    report = measure(library, cpu)
    assert (states(report), entries(report)[0].count) == ([state], gain)


@pytest.mark.parametrize(("noisy", "state"), [(1, COUNTING), (2, COUNTING), (3, DEAD)])
def test_noise_gets_three_tries(library: ctypes.CDLL, noisy: int, state: int) -> None:
    cpu = intel(2, general=1, fixed=0)
    cpu.noise = [1_000_000] * noisy
    assert states(measure(library, cpu)) == [state]


def test_a_counter_that_does_not_stop_is_not_counting(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=1, fixed=0)
    cpu.never_stops = True
    assert states(measure(library, cpu)) == [DEAD]


@pytest.mark.parametrize("name", ["AuthenticAMD", "HygonGenuine"])
def test_amd_legacy_counters_count_though_nothing_advertises_them(library: ctypes.CDLL, name: str) -> None:
    cpu = amd(name=name)
    saved = dict(cpu.msrs)
    report = measure(library, cpu)
    assert (report.interface, report.general, states(report)) == (AMD, 0, [COUNTING] * 4)
    assert cpu.msrs == saved


def test_dead_amd_legacy_counters_are_no_pmu(library: ctypes.CDLL) -> None:
    cpu = amd()
    cpu.reads_as_zero = True
    report = measure(library, cpu)
    assert (report.interface, report.general, report.width, states(report)) == (NONE, 0, 0, [DEAD] * 4)
    assert not any(reg in cpu.written for reg in (0xC0000301, 0x38F))


def test_amd_core_counters(library: ctypes.CDLL) -> None:
    report = measure(library, amd(core=True))
    assert (report.interface, report.general, states(report)) == (AMD, 6, [COUNTING] * 6)


def test_dead_amd_core_counters_stay_advertised(library: ctypes.CDLL) -> None:
    cpu = amd(core=True)
    cpu.gain = {}
    report = measure(library, cpu)
    assert (report.interface, report.general, states(report)) == (AMD, 6, [DEAD] * 6)


def test_amd_v2_uses_its_global_control(library: ctypes.CDLL) -> None:
    cpu = amd(v2=15)
    saved = dict(cpu.msrs)
    report = measure(library, cpu)
    assert (report.interface, report.version, report.general) == (AMD_V2, 2, 15)
    assert states(report) == [COUNTING] * 15
    assert names(library, report)[-1] == ("gp14", "instructions")
    assert 0xC0000301 in cpu.written
    assert cpu.msrs == saved


def test_no_pmu_is_observed_through_rdpmc_and_writes_nothing(library: ctypes.CDLL) -> None:
    cpu = SimulatedCpu(cpuid={0: vendor("GenuineIntel", 0xD), 0x80000000: (0x80000008, 0, 0, 0)})
    report = measure(library, cpu)
    assert (report.interface, states(report), report.fault) == (NONE, [FAULTED] * 4, GENERAL_PROTECTION)
    assert cpu.written == set()


def test_leaves_beyond_the_highest_are_not_believed(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=4, fixed=3)
    cpu.cpuid[0] = vendor(
        "GenuineIntel", 0x7
    )  # a real CPU answers leaf 0xA with the contents of another one then
    assert measure(library, cpu).interface == NONE


def test_the_words_of_the_answers(library: ctypes.CDLL) -> None:
    assert [library.pmu_interface_name(i) for i in range(6)] == [
        b"none", b"intel-arch", b"amd", b"amd-v2", b"pmuv3", b"?",
    ]  # fmt: skip
    assert [library.pmu_state_name(i) for i in range(4)] == [b"dead", b"counting", b"faulted", b"?"]
    name = ctypes.create_string_buffer(16)
    library.pmu_counter_name(INTEL, ctypes.byref(Counter(kind=FIXED, index=0xFFFFFFFF)), name)
    assert name.raw == b"fixed4294967295\0"  # the longest there is
