"""What is to be expected of a cell, computed from what is known of it; each expectation names the fact that led to it.

"Refused" can be right: a HAL that refuses where its machine has no PMU keeps the contract, and so does one that grants
there. What is right follows from the generation of the contract, from whose HAL it is, and from the PMU probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.config.models import Generation, GuestKind, HalKind, HalSettings, WithoutPmu
from harness.contract.clauses import clause
from harness.probe.models import PmuVerdict, ProbeAnswer

FIRST_SHARED_BUILD = 18362
"""Windows 10 1903: from here on ResourceList and GroupAffinty have a meaning."""


class Expected(StrEnum):
    """What is expected of a request, of a counter, or of a clause."""

    GRANTED = "granted"
    REFUSED = "refused as unavailable"
    DOCUMENTED = "granted, or refused with a documented error"
    COUNTING = "must count"
    SILENT = "must not count"
    JUDGED = "judged"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Expectation:
    """`because` is the fact that led to it: a sentence without its full stop."""

    expected: Expected
    because: str


def generation_of(hal: HalKind, settings: HalSettings, os_build: int) -> Generation:
    """The generation of the contract: the reference HAL's setting, else by the build of Windows."""
    if hal is HalKind.REFERENCE:
        return settings.generation
    return Generation.SHARED if os_build >= FIRST_SHARED_BUILD else Generation.EXCLUSIVE


@dataclass(frozen=True)
class CellFacts:
    """What is known of a cell's guest before a clause is judged.

    `hal_settings` count where the HAL is our reference HAL; `privileged`: the test driver may touch the PMU;
    `no_interrupt`: why it cannot have a counter interrupt, empty where it can.
    """

    kind: GuestKind
    hal: HalKind
    hal_settings: HalSettings
    os_build: int
    probe: ProbeAnswer
    privileged: bool
    no_interrupt: str

    @property
    def generation(self) -> Generation:
        """The generation of the contract: the reference HAL's setting, else by the build of Windows."""
        return generation_of(self.hal, self.hal_settings, self.os_build)

    @property
    def generation_fact(self) -> str:
        """Why it is this generation."""
        if self.hal is HalKind.REFERENCE:
            return set_generation(self.generation)
        return f"Windows is of build {self.os_build}, and {FIRST_SHARED_BUILD} is the first of the shared generation"


def expect_clause(clause_id: str, facts: CellFacts) -> Expectation:
    """Whether a clause is judged here: skipped when it belongs to the other generation only."""
    return expect_generation(clause_id, facts.generation, facts.generation_fact)


def expect_generation(clause_id: str, generation: Generation, because: str) -> Expectation:
    """The same where the generation is known, and why, before anything else is."""
    generations = clause(clause_id).generations
    if generation in generations:
        return Expectation(Expected.JUDGED, because)
    (only,) = generations
    return Expectation(
        Expected.SKIPPED,
        f"a clause of the {only} generation; this cell is of the {generation} one: {because}",
    )


def set_generation(generation: Generation) -> str:
    """Why it is the generation that the reference HAL is set to."""
    return f"the reference HAL is set to the {generation} generation"


def expect_plain_request(facts: CellFacts) -> Expectation:
    """What the first plain request gives, with nothing held."""
    if facts.hal is not HalKind.REFERENCE:
        return Expectation(
            Expected.DOCUMENTED, "the pages promise no grant: somebody else may hold the counters already"
        )
    if facts.probe.verdict is not PmuVerdict.ABSENT:
        return Expectation(
            Expected.GRANTED,
            f"the PMU probe found a PMU ({facts.probe.interface}), which the reference HAL grants whoever asks first",
        )
    if facts.hal_settings.without_pmu is WithoutPmu.REFUSE:
        return Expectation(
            Expected.REFUSED, "the PMU probe found no PMU, and the reference HAL is set to refuse then"
        )
    return Expectation(
        Expected.GRANTED, "the PMU probe found no PMU, and the reference HAL is set to grant all the same"
    )


def expect_counters(probe: ProbeAnswer, *, privileged: bool) -> Expectation:
    """What granted counters do in the guest, by what they did for the PMU probe on the same machine."""
    if probe.verdict is PmuVerdict.ABSENT:
        return Expectation(
            Expected.SILENT,
            f"the PMU probe found no PMU with {probe.accel}, {probe.machine}, -cpu {probe.cpu}",
        )
    if probe.verdict is PmuVerdict.DEAD:
        return Expectation(
            Expected.SILENT, f"the PMU probe found a PMU that is advertised ({probe.interface}) but dead"
        )
    if not privileged:
        return Expectation(
            Expected.SKIPPED, "the guest runs the test driver without the privilege to touch the PMU"
        )
    return Expectation(
        Expected.COUNTING, f"the PMU probe ran with {probe.accel}, {probe.machine}, -cpu {probe.cpu}"
    )


def expect_overflow(facts: CellFacts) -> Expectation:
    """Whether an overflow can be made and must reach the handler."""
    counters = expect_counters(facts.probe, privileged=facts.privileged)
    if counters.expected is not Expected.COUNTING:
        return Expectation(Expected.SKIPPED, f"nothing can overflow here: {counters.because}")
    if facts.no_interrupt:
        return Expectation(Expected.SKIPPED, f"no counter can interrupt here: {facts.no_interrupt}")
    return counters
