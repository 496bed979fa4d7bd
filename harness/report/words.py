"""How results are shown: each has a symbol, a word and a style. Colour is never the only signal."""

from __future__ import annotations

from typing import NamedTuple

from harness.contract.outcomes import Outcome, Verdict
from harness.report.summary import CellSummary


class Shown(NamedTuple):
    """How one word of a result looks: its symbol, its text, the name of its style, and what it means."""

    symbol: str
    text: str
    style: str
    meaning: str


OUTCOMES: dict[Outcome, Shown] = {
    Outcome.FAIL: Shown("✗", "violated", "fail", "The documentation promises it, and it does not hold."),
    Outcome.ERROR: Shown(
        "!", "not judged", "error", "Trouble of the infrastructure or the guest: neither pass nor fail."
    ),
    Outcome.PASS: Shown("✓", "holds", "pass", "The documentation promises it, and it holds."),
    Outcome.RECORDED: Shown(
        "●", "recorded", "recorded", "The documentation is silent: what was seen is kept, not judged."
    ),
    Outcome.SKIPPED: Shown("–", "skipped", "skipped", "Could not apply in this cell; the reason is given."),  # noqa: RUF001
}
MISSING = Shown("?", "not recorded", "missing", "Planned, and no record was made: the run is short of it.")

LETTERS: dict[Outcome | None, str] = {
    outcome: chr(ord("a") + number) for number, outcome in enumerate(OUTCOMES)
} | {None: "?"}
"""A letter for each outcome, for lines with one result per clause; None was planned and not recorded."""
NOT_PLANNED = " "
"""The letter of a clause that was not planned in a cell."""

VERDICTS: dict[Verdict, Shown] = {
    Verdict.USABLE: Shown("✓", "usable", "good", "Granted, and counters count."),
    Verdict.PHANTOM: Shown(
        "◇",
        "phantom",
        "phantom",
        "Granted, and nothing counts: success alone does not mean that "
        "there is a PMU. The documentation of HalAllocateHardwareCounters warns of this.",
    ),
    Verdict.REFUSED: Shown("⊘", "refused", "refused", "Never granted, always with a documented error."),
    Verdict.ABSENT: Shown(
        "∅", "absent", "plain", "The routines are not exported; in a probe-only cell: there is no PMU."
    ),
    Verdict.BROKEN: Shown("✗", "broken", "fail", "A clause that the documentation promises does not hold."),
    Verdict.UNKNOWN: Shown("?", "unknown", "error", "Could not be run or judged; the reason is given."),
    Verdict.COUNTING: Shown(
        "▲", "counting", "good", "Probe-only cell: the PMU is there, and its counters count."
    ),
    Verdict.DEAD: Shown("▽", "dead", "warn", "Probe-only cell: a PMU is advertised, and no counter counts."),
}

PROBES: dict[str, Shown] = {
    "counting": Shown("▲", "counting", "good", "At least one counter counts a known loop."),
    "dead": Shown("▽", "dead", "warn", "A PMU is advertised, and no counter counts."),
    "absent": Shown("∅", "absent", "plain", "No PMU is advertised."),
}
NO_PROBE = Shown("?", "no answer", "error", "The PMU probe did not answer in this cell.")

REALISED: dict[bool | None, Shown] = {
    True: Shown(
        "=",
        "realised",
        "plain",
        "The machine is what was asked for, as far as the probe and the guest can tell.",
    ),
    False: Shown(
        "≠",
        "not realised",
        "warn",
        "The command line asked for something that this machine did not get. QEMU accepts "
        "pmu=on silently where it cannot deliver it; such a cell says nothing about a machine with a PMU.",
    ),
    None: Shown("?", "unknown", "error", "The cell did not get far enough to tell."),
}

COLOURS: dict[str, str] = {
    "good": "green",
    "pass": "green",
    "fail": "red",
    "missing": "red",
    "error": "yellow",
    "warn": "yellow",
    "phantom": "magenta",
    "refused": "blue",
    "recorded": "blue",
    "plain": "default",
    "skipped": "default",
}
"""The colour of each style on a terminal."""

WINE_LABEL = "Wine guest with the reference HAL, not Windows"
WINE_NOTE = (
    "The real test driver runs on Wine's NT kernel, and the HAL under test is our reference HAL, a model of "
    "the documentation. What these cells show is how driver, client and harness behave; they say nothing "
    "about what Windows does."
)


def guest_label(cell: CellSummary) -> str:
    """What the guest of a cell really is; a Wine guest is never called Windows."""
    name = cell.config.get("guest")
    if name is None:
        return "PMU probe only, no guest"
    kind = cell.provenance.get("guest_kind", "")
    if kind == "wine":
        return f"{name} · {WINE_LABEL}"
    if kind == "windows":
        return f"{name} · Windows, HAL: {cell.provenance.get('hal', 'not recorded')}"
    return f"{name} · what this guest is was not recorded: the cell did not get that far"


def is_wine(cell: CellSummary) -> bool:
    """Whether a Wine guest made the results of this cell."""
    return cell.provenance.get("guest_kind") == "wine"
