"""Readable ids of cells: guest and axes in their declared order; safe in a path, in a shell, in pytest -k."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.config.schema import PROBE_ONLY

_BARE = frozenset(
    {"guest", "arch", "accel", "machine", "cpu", "start", "firmware", "generation", "without_pmu"}
)
"""Settings whose value speaks for itself; the others are written with their name, as in smp_4."""

_SHORT = {"memory_mib": "mem", "enlightenments": "hv"}


def word(key: str, value: Any) -> str:
    """One setting in an id: cpu `Nehalem,+rdrand` is nehalem+rdrand, pmu True is pmu_on, smp 4 is smp_4."""
    if key == "guest" and value == PROBE_ONLY:
        return "probe"
    if isinstance(value, bool):
        text = "on" if value else "off"
    else:
        text = "none" if value is None else _safe(str(value))
    return text if key in _BARE else f"{_SHORT.get(key, key)}_{text}"


def cell_id(settings: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The id of a cell with these settings, in which `keys` are named in this order behind the guest."""
    parts = [word("guest", settings["guest"])]
    parts += [word(key, settings[key]) for key in keys if key != "guest"]
    return "-".join(parts)


@functools.cache
def _safe(text: str) -> str:
    text = re.sub(r",(?=[+-])", "", text.lower()).replace(",", ".").replace("=", "_")
    return re.sub(r"[^a-z0-9+._-]", "_", text)
