"""The catalogue of defects: ways to break the reference HAL on purpose, and the clauses that must notice.

A defect is one entry here and one place in guest_driver/reference_hal that asks `defect("its-name")`; docs/defects.md
shows the table and how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.config.models import Generation

BOTH = frozenset(Generation)
EXCLUSIVE = frozenset({Generation.EXCLUSIVE})
SHARED = frozenset({Generation.SHARED})

NAME_ROOM = 32
"""Bytes of a name with its end in the page that client and HAL share (include/reference_settings.h)."""


@dataclass(frozen=True)
class Defect:
    """One way to break the HAL: what it then does, in which generations that shows, and who promises that it does not.

    `promises` are the ids of the clauses of which at least one has to notice.
    """

    name: str
    promises: tuple[str, ...]
    does: str
    generations: frozenset[Generation] = BOTH


_CATALOGUE = (
    # -- who is granted
    Defect("double-grant", ("ALLOC-2",), "Grants whatever is asked for, whoever holds it."),
    Defect("exclusive-per-cpu", ("ALLOC-4",), "Excludes only requests that come from the holder's CPU."),
    Defect("exclusive-per-driver", ("ALLOC-3",), "Excludes only requests of the driver that holds."),
    Defect("exclusive-per-thread", ("ALLOC-6",), "Excludes only requests of the thread that holds."),
    Defect("race-window", ("ALLOC-6",), "Looks who holds, lets go of its lock, and grants by what it saw."),
    Defect("free-lost-in-race", ("ALLOC-6",), "A free that meets a request succeeds and frees nothing."),
    Defect("always-busy", ("ALLOC-1",), "Refuses every request as if somebody held the counters."),
    Defect("busy-on-cpu-1", ("ALLOC-5",), "Refuses every request that comes from CPU 1."),
    # -- what a refusal looks like
    Defect(
        "null-not-written", ("ALLOC-2", "ALLOC-3", "ALLOC-4"), "Leaves the handle cell alone on a refusal."
    ),
    Defect("garbage-after-refusal", ("ALLOC-2",), "Writes something that is no handle on a refusal."),
    Defect("refused-as-invalid", ("ALLOC-2",), "Refuses held counters as an invalid parameter."),
    Defect("undocumented-refusal", ("ALLOC-7",), "Refuses held counters with STATUS_ACCESS_DENIED."),
    Defect("waits-across-cpus", ("ALLOC-4",), "Never returns when who holds asks again on another CPU."),
    # -- what a grant looks like
    Defect("success-null-handle", ("ALLOC-1",), "Grants, and gives NULL for a handle."),
    Defect("success-unwritten", ("ALLOC-1",), "Grants, and writes no handle."),
    Defect("no-broker", ("FREE-3",), "Is a stub: supports no request, and frees whatever it is given."),
    # -- again and again
    Defect("leaks-every-1000th", ("ALLOC-5",), "Every 1000th free succeeds and frees nothing."),
    Defect("late-failure", ("ALLOC-5",), "Is out of resources from the 5000th grant on."),
    Defect("late-undocumented", ("ALLOC-5",), "Answers STATUS_UNSUCCESSFUL from the 5000th grant on."),
    Defect("late-null-handle", ("ALLOC-5",), "Grants from the 5000th time on with NULL for a handle."),
    # -- freeing
    Defect("free-refused", ("FREE-1",), "Frees a held handle, and says that it is none."),
    Defect("free-keeps", ("ALLOC-5",), "Frees nothing, and says that it did."),
    Defect("double-free-accepted", ("FREE-2",), "Says of a stale handle that it was freed."),
    Defect("double-free-hangs", ("FREE-2",), "Never returns when a stale handle is freed."),
    Defect("invalid-handle-status", ("FREE-2", "FREE-3"), "Answers STATUS_INVALID_HANDLE to what is none."),
    Defect("null-accepted", ("FREE-3",), "Says of NULL that it was freed."),
    Defect("null-frees-holder", ("FREE-3",), "Refuses NULL, and frees whoever holds the counters."),
    Defect(
        "stale-frees-holder", ("FREE-5",), "Refuses a stale handle, and frees whoever holds the counters."
    ),
    Defect("near-miss-frees", ("FREE-4",), "Takes what lies 8 bytes beside a handle for the handle."),
    Defect("handle-reused", ("FREE-5",), "Gives out the same handle again as soon as it is free."),
    Defect(
        "only-its-thread-frees", ("FREE-6",), "Refuses a free from another thread than the one that asked."
    ),
    Defect(
        "only-its-process-frees",
        ("FREE-6",),
        "Refuses a free from another process than the one that asked.",
    ),
    # -- generations mixed up
    Defect("reserved-ignored", ("PARAM-X",), "Takes no notice of the reserved parameters.", EXCLUSIVE),
    Defect("shared-in-exclusive", ("PARAM-X",), "Grants parts, as a system from 1903 on does.", EXCLUSIVE),
    Defect("exclusive-in-shared", ("PARAM-3",), "Refuses lists, as a system before 1903 does.", SHARED),
    # -- parameters
    Defect("extended-accepted", ("PARAM-3",), "Grants an extended counter configuration.", SHARED),
    Defect("extended-invalid", ("PARAM-3",), "Calls an extended configuration an invalid parameter.", SHARED),
    Defect("flags-ignored", ("PARAM-2",), "Takes no notice of a descriptor's flags.", SHARED),
    Defect(
        "offline-cpu-accepted", ("PARAM-1",), "Takes a processor list with a CPU that is not there.", SHARED
    ),
    # -- parts
    Defect(
        "same-counter-granted",
        ("SHARE-2",),
        "Grants a counter that is held to whoever names it alone.",
        SHARED,
    ),
    Defect("overlap-granted", ("SHARE-2",), "Excludes only requests for exactly the counters held.", SHARED),
    Defect("range-without-end", ("SHARE-2",), "Forgets the last counter of a range.", SHARED),
    Defect("part-beside-whole", ("SHARE-3",), "Grants a part while the whole PMU is held.", SHARED),
    Defect("whole-beside-part", ("SHARE-3",), "Grants the whole PMU while a part is held.", SHARED),
    Defect("whole-of-cpu-0", ("SHARE-3",), "Takes the whole PMU for that of CPU 0 alone.", SHARED),
    Defect("affinity-is-nothing", ("SHARE-3",), "Takes a processor list without counters for none.", SHARED),
    Defect("first-of-list", ("SHARE-6",), "Takes the first entry of a list for all of it.", SHARED),
    Defect("list-partly-granted", ("SHARE-6",), "Grants of a list what is free.", SHARED),
    Defect("refused-list-keeps", ("SHARE-6",), "Refuses a list, and keeps what was free of it.", SHARED),
    Defect("list-partly-freed", ("SHARE-6",), "Frees a list but for its last counter.", SHARED),
)

DEFECTS: Mapping[str, Defect] = MappingProxyType({defect.name: defect for defect in _CATALOGUE})
"""All defects by name."""


def table() -> str:
    """The catalogue as the table of docs/defects.md."""
    lines = ["| defect | generations | noticed by | what the HAL then does |", "|---|---|---|---|"]
    for entry in DEFECTS.values():
        shows = "both" if entry.generations == BOTH else ", ".join(entry.generations)
        lines.append(f"| `{entry.name}` | {shows} | {', '.join(entry.promises)} | {entry.does} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
