"""Verdicts of cells, and what was asked for but not realised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from harness.config.models import Accel, Arch, Cell
from harness.contract.observations import Call
from harness.contract.outcomes import Outcome, Verdict
from harness.contract.verdict import cell_verdict, realisation
from harness.probe.models import Counter, CounterChecks, CounterState, PmuVerdict, ProbeAnswer

PASS, FAIL, ERROR = (Outcome.PASS, ""), (Outcome.FAIL, "it broke"), (Outcome.ERROR, "no banner within 90 s")
SKIPPED = (Outcome.SKIPPED, "nothing can be held here")
GOOD = {"PROBE-1": PASS, "PRES-1": PASS, "ALLOC-1": PASS}
GRANTED = Call(status=0, handle=0x1010, written=True)
REFUSED = Call(status=0xC000009A, written=True)


@dataclass(frozen=True)
class Seen:
    name: str
    state: str
    event: str = "cycles"
    checks: CounterChecks = field(default_factory=CounterChecks)


@dataclass(frozen=True)
class Counters:
    counters: Sequence[Seen]
    cpu: int = 0
    group: int = 0
    interface: str = "none"
    general: int = 0


@dataclass(frozen=True)
class Granted:
    first: Call
    counted: Counters | None = None


def probe(verdict: PmuVerdict, accel: Accel = Accel.TCG, arch: Arch = Arch.X86_64) -> ProbeAnswer:
    state = CounterState.COUNTING if verdict is PmuVerdict.COUNTING else CounterState.DEAD
    found = (
        ()
        if verdict is PmuVerdict.ABSENT
        else (Counter(name="gp0", event="cycles", state=state, count=1, loop=1),)
    )
    return ProbeAnswer(
        arch=arch,
        accel=accel,
        machine="q35",
        cpu="max,pmu=on",
        verdict=verdict,
        interface="none" if verdict is PmuVerdict.ABSENT else "intel-arch",
        version=2,
        general_counters=len(found),
        fixed_counters=0,
        counters=found,
        advertised={},
        elapsed_s=0.2,
        qemu_version="7.2",
    )


ABSENT, DEAD, COUNTING = (probe(verdict) for verdict in PmuVerdict)
SILENT = Granted(GRANTED, Counters([Seen("gp0", "dead")]))
ALIVE = Granted(GRANTED, Counters([Seen("gp0", "counting"), Seen("gp1", "dead")]))


@pytest.mark.parametrize(
    ("outcomes", "grant", "answer", "expected"),
    [
        (
            GOOD,
            SILENT,
            ABSENT,
            (Verdict.PHANTOM, "granted, but the PMU probe found no PMU: the warning of the Allocate page"),
        ),
        (
            GOOD,
            SILENT,
            DEAD,
            (
                Verdict.PHANTOM,
                "granted, but no counter counts in the guest, "
                "on a machine whose PMU is advertised but dead, says the PMU probe",
            ),
        ),
        (
            GOOD,
            SILENT,
            COUNTING,
            (
                Verdict.PHANTOM,
                "granted, but no counter counts in the guest, "
                "on a machine whose PMU counts, says the PMU probe",
            ),
        ),
        (
            GOOD,
            SILENT,
            None,
            (
                Verdict.PHANTOM,
                "granted, but no counter counts in the guest, and the PMU probe did not answer",
            ),
        ),
        (GOOD, ALIVE, COUNTING, (Verdict.USABLE, "granted, and 1 of 2 counters count")),
        (GOOD, ALIVE, None, (Verdict.USABLE, "granted, and 1 of 2 counters count")),
        (
            GOOD,
            Granted(REFUSED),
            ABSENT,
            (
                Verdict.REFUSED,
                "refused with the documented STATUS_INSUFFICIENT_RESOURCES (0xC000009A), "
                "on a machine where the PMU probe found no PMU",
            ),
        ),
        (
            GOOD,
            Granted(Call(status=0xC0000008)),
            ABSENT,
            (Verdict.BROKEN, "refused with STATUS_INVALID_HANDLE (0xC0000008), which no page documents"),
        ),
        (
            GOOD,
            Granted(Call(status=0xC00000BB)),
            COUNTING,
            (
                Verdict.REFUSED,
                "refused with the documented STATUS_NOT_SUPPORTED (0xC00000BB) "
                "(the routines are there, but nothing behind them), "
                "on a machine whose PMU counts, says the PMU probe",
            ),
        ),
        (
            GOOD,
            Granted(GRANTED),
            ABSENT,
            (Verdict.UNKNOWN, "granted, but whether counters count was not seen"),
        ),
        (GOOD, None, ABSENT, (Verdict.UNKNOWN, "nothing was asked for")),
        ({**GOOD, "ALLOC-6": FAIL}, SILENT, ABSENT, (Verdict.BROKEN, "ALLOC-6: it broke")),
        (
            {"FREE-2": FAIL, "ALLOC-2": FAIL, **GOOD},
            SILENT,
            ABSENT,
            (Verdict.BROKEN, "ALLOC-2: it broke (and 1 more: FREE-2)"),
        ),
        ({"PROBE-1": FAIL}, None, ABSENT, (Verdict.BROKEN, "PROBE-1: it broke")),
        (
            {"PROBE-1": PASS, "PRES-1": (Outcome.FAIL, "not exported"), "ALLOC-1": SKIPPED},
            None,
            ABSENT,
            (Verdict.ABSENT, "not exported"),
        ),
        ({"PROBE-1": PASS, "PRES-1": ERROR, "ALLOC-1": ERROR}, None, ABSENT, (Verdict.UNKNOWN, ERROR[1])),
        ({"PROBE-1": ERROR, "PRES-1": ERROR}, None, None, (Verdict.UNKNOWN, ERROR[1])),
        ({}, None, None, (Verdict.UNKNOWN, "no clause was judged")),
        # A grant was seen, but the probe's own clause and a skip judge nothing of the guest.
        (
            {"PROBE-1": PASS, "PRES-1": ERROR, "VIRT-2": SKIPPED},
            ALIVE,
            COUNTING,
            (Verdict.UNKNOWN, ERROR[1]),
        ),
        (
            {"PROBE-1": PASS, "PARAM-1": (Outcome.RECORDED, "zero mask: refused")},
            ALIVE,
            COUNTING,
            (Verdict.USABLE, "granted, and 1 of 2 counters count"),
        ),
        (
            {**GOOD, "FREE-6": ERROR},
            ALIVE,
            COUNTING,
            (Verdict.USABLE, "granted, and 1 of 2 counters count; 1 clause could not be judged"),
        ),
    ],
)
def test_verdict_of_a_guest(
    outcomes: dict[str, tuple[Outcome, str]],
    grant: Granted | None,
    answer: ProbeAnswer | None,
    expected: tuple[Verdict, str],
) -> None:
    assert cell_verdict(outcomes, grant=grant, probe=answer, probe_only=False) == expected


@pytest.mark.parametrize(
    ("outcome", "answer", "expected"),
    [
        (PASS, COUNTING, (Verdict.COUNTING, "1 of 1 counters count (intel-arch version 2)")),
        (
            PASS,
            DEAD,
            (Verdict.DEAD, "a PMU is advertised (intel-arch version 2), but none of 1 counters counts"),
        ),
        (PASS, ABSENT, (Verdict.ABSENT, "no PMU is advertised")),
        (ERROR, None, (Verdict.UNKNOWN, ERROR[1])),
        (FAIL, ABSENT, (Verdict.BROKEN, "PROBE-1: it broke")),
    ],
)
def test_verdict_of_a_probe_only_cell(
    outcome: tuple[Outcome, str], answer: ProbeAnswer | None, expected: tuple[Verdict, str]
) -> None:
    assert cell_verdict({"PROBE-1": outcome}, grant=None, probe=answer, probe_only=True) == expected


KVM_ABSENT = probe(PmuVerdict.ABSENT, Accel.KVM)
ON, OFF = Cell(id="on", pmu=True), Cell(id="off", pmu=False)


@pytest.mark.parametrize(
    ("asked", "answer", "cpus", "expected"),
    [
        (ON, COUNTING, 2, ()),
        (OFF, ABSENT, 2, ()),
        (ON, ABSENT, 2, ("pmu=on was asked for, the PMU probe found no PMU: TCG has no x86 PMU",)),
        (
            ON,
            KVM_ABSENT,
            None,
            ("pmu=on was asked for, the PMU probe found no PMU: the host's KVM gives this guest none",),
        ),
        (
            ON,
            probe(PmuVerdict.ABSENT, arch=Arch.AARCH64),
            None,
            ("pmu=on was asked for, the PMU probe found no PMU",),
        ),
        (ON, DEAD, 2, ("pmu=on was asked for, the PMU is advertised (intel-arch), but no counter counts",)),
        (OFF, COUNTING, 2, ("pmu=off was asked for, the PMU probe found one (intel-arch, counting)",)),
        (OFF, DEAD, 2, ("pmu=off was asked for, the PMU probe found one (intel-arch, dead)",)),
        (OFF, ABSENT, 1, ("smp=2 was asked for, the guest has 1 CPU",)),
        (
            Cell(id="kvm", pmu=False, accel=Accel.KVM),
            ABSENT,
            4,
            ("accel=kvm was asked for, tcg was used", "smp=2 was asked for, the guest has 4 CPUs"),
        ),
        (ON, None, None, ()),
    ],
)
def test_realisation(
    asked: Cell, answer: ProbeAnswer | None, cpus: int | None, expected: tuple[str, ...]
) -> None:
    assert realisation(asked, answer, cpus=cpus) == expected


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Counters([Seen("gp0", "counting")], interface="intel-arch", general=1), ""),
        (
            Counters([Seen("gp0", "counting")], interface="intel-arch", general=4),
            "the driver finds intel-arch with 4 general counters, the probe intel-arch with 1 general counters",
        ),
        (
            Counters([Seen("gp0", "faulted")]),
            "the driver finds no PMU, the probe intel-arch with 1 general counters",
        ),
        (
            Counters([Seen("gp0", "counting", "branches")], interface="intel-arch", general=1),
            "the driver finds the events branches, the probe cycles",
        ),
    ],
)
def test_a_guest_with_another_pmu_than_the_probe_is_not_realised(seen: Counters, words: str) -> None:
    expected = (f"guest and probe have different PMUs: {words}",) if words else ()
    assert realisation(ON, COUNTING, cpus=2, counted=seen) == expected
