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
    CHECKS,
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
    checks,
    intel,
    measure,
    simulated,
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


ALL_CHECKS = dict.fromkeys(CHECKS, True)


@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param(intel(2, general=4, fixed=3), id="intel-v2"),
        pytest.param(intel(5, general=8, fixed=3, full_width=True), id="intel-v5"),
        pytest.param(amd(v2=6), id="amd-v2"),
    ],
)
def test_a_healthy_counter_passes_every_check(library: ctypes.CDLL, cpu: SimulatedCpu) -> None:
    report = measure(library, cpu)
    assert [checks(c) for c in entries(report)] == [ALL_CHECKS] * report.counters
    assert [c.rdpmc for c in entries(report)] == [c.count for c in entries(report)]
    assert cpu.status is not None and cpu.msrs[cpu.status[0]] == 0


@pytest.mark.parametrize("cpu", [intel(1, general=2, fixed=0), amd(), amd(core=True)])
def test_without_a_status_register_overflow_is_not_asked(library: ctypes.CDLL, cpu: SimulatedCpu) -> None:
    expected = {name: True for name in CHECKS if name != "overflow"}
    assert [checks(c) for c in entries(measure(library, cpu))] == [expected] * len(cpu.counters)


def test_amd_counters_behind_the_sixth_are_not_read_by_rdpmc(library: ctypes.CDLL) -> None:
    """Their numbers belong to counters of other units there."""
    asked = ["rdpmc" in checks(c) for c in entries(measure(library, amd(v2=8)))]
    assert asked == [True] * 6 + [False] * 2


@pytest.mark.parametrize(
    ("broken", "failing"),
    [
        pytest.param({"gain": {}}, {"started", "in_range"}, id="does-not-start"),
        pytest.param({"gain": {0xC0: 7}}, {"in_range"}, id="out-of-range"),
        pytest.param({"never_stops": True}, {"stopped", "reset", "restored"}, id="does-not-stop"),
        pytest.param({"never_resets": True}, {"reset"}, id="does-not-reset"),
        pytest.param({"rdpmc_shows": lambda value: value + 1}, {"rdpmc"}, id="rdpmc-shows-another-count"),
        pytest.param({"rdpmc_shows": None}, {"rdpmc"}, id="rdpmc-faults"),
        pytest.param({"sets_status": False}, {"overflow"}, id="overflow-is-not-seen"),
        pytest.param({"forgets": {0x38F}}, {"restored"}, id="a-register-does-not-come-back"),
    ],
)
def test_each_check_fails_for_what_it_is_about(
    library: ctypes.CDLL, broken: dict[str, object], failing: set[str]
) -> None:
    cpu = intel(2, general=2, fixed=0)
    for name, value in broken.items():
        setattr(cpu, name, value)
    counter = entries(measure(library, cpu))[0]
    assert {name for name, passed in checks(counter).items() if not passed} == failing


def test_a_counter_that_somebody_left_enabled_was_not_at_rest(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=2, fixed=2)
    cpu.msrs[0x186] |= 1 << 22
    cpu.msrs[0x38D] |= 0b0010_0000
    resting = [checks(counter)["at_rest"] for counter in entries(measure(library, cpu))]
    assert resting == [False, True, True, False]


def test_a_faulting_rdpmc_is_no_fault_of_the_counter(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=1, fixed=0)
    cpu.rdpmc_shows = None
    (counter,) = entries(measure(library, cpu))
    assert (counter.state, counter.fault, counter.rdpmc_fault) == (COUNTING, 0, GENERAL_PROTECTION)


def test_an_overflow_that_was_there_before_is_left_alone(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=2, fixed=0)
    cpu.msrs[0x38E] = 0b10
    made = ["overflow" in checks(c) for c in entries(measure(library, cpu))]
    assert (made, cpu.msrs[0x38E]) == ([True, False], 0b10)


def test_a_busy_host_does_not_hide_an_overflow(library: ctypes.CDLL) -> None:
    """Cycles of the first run may be many times those of the next: the value before the wrap must not rest on them."""
    cpu = intel(2, general=1, fixed=2)
    cpu.noise = [0, 0, 0, 0, 1_000_000]  # two runs for each counter; the first of the cycle counter
    cycles = entries(measure(library, cpu))[-1]
    assert (cycles.count > 1_000_000, checks(cycles)["overflow"]) == (True, True)


def test_faulting_status_registers_leave_a_counter_counting(library: ctypes.CDLL) -> None:
    cpu = intel(2, general=1, fixed=0)
    cpu.status = None
    del cpu.msrs[0x38E], cpu.msrs[0x390]
    (counter,) = entries(measure(library, cpu))
    assert (counter.state, checks(counter)["overflow"]) == (COUNTING, False)


@pytest.mark.parametrize(
    ("cpu", "understood"),
    [
        (intel(1, general=2, fixed=0), True),
        (intel(5, general=2, fixed=0), True),
        (intel(6, general=2, fixed=0), False),
        (amd(), True),
        (amd(v2=6), True),
    ],
)
def test_unknown_versions_are_not_understood(
    library: ctypes.CDLL, cpu: SimulatedCpu, understood: bool
) -> None:
    report = Report()
    with simulated(library, cpu):
        library.pmu_describe(ctypes.byref(report))
    assert bool(library.pmu_understood(ctypes.byref(report))) is understood


def test_provoked_accesses_fault_and_change_nothing(library: ctypes.CDLL) -> None:
    cpu = SimulatedCpu(cpuid={}, msrs={})
    with simulated(library, cpu):
        assert [library.pmu_provoke(write) for write in (0, 1)] == [GENERAL_PROTECTION] * 2
    lax = intel(2, general=1, fixed=0)  # takes any bit of GLOBAL_CTRL
    saved = dict(lax.msrs)
    with simulated(library, lax):
        assert library.pmu_provoke(1) == 0
    assert lax.msrs == saved


def test_the_words_of_the_answers(library: ctypes.CDLL) -> None:
    assert [library.pmu_interface_name(i) for i in range(6)] == [
        b"none", b"intel-arch", b"amd", b"amd-v2", b"pmuv3", b"?",
    ]  # fmt: skip
    assert [library.pmu_state_name(i) for i in range(4)] == [b"dead", b"counting", b"faulted", b"?"]
    assert [library.pmu_check_name(i).decode() for i in range(9)] == [*CHECKS, "?"]
    name = ctypes.create_string_buffer(16)
    library.pmu_counter_name(INTEL, ctypes.byref(Counter(kind=FIXED, index=0xFFFFFFFF)), name)
    assert name.raw == b"fixed4294967295\0"  # the longest there is
