"""The workers of a lab for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cluster.lab import connected, members_of
from harness.cluster.placement import Member
from harness.report.text import one_line


def look(scheduler: str) -> tuple[Sequence[Member], tuple[str, ...]]:
    """The workers of a scheduler, by host, and why others cannot be used. Raises as `connected` does."""
    with connected(scheduler) as client:
        members, strangers = members_of(client)
    return sorted(members.values(), key=lambda member: (member.said.host, member.name)), strangers


def as_json(members: Sequence[Member], strangers: Sequence[str]) -> Mapping[str, Any]:
    """The same as data."""
    told = [
        {"address": member.address, "name": member.name, **member.said.model_dump(mode="json")}
        for member in members
    ]
    return {"workers": told, "unusable": list(strangers)}


def print_members(members: Sequence[Member], strangers: Sequence[str], console: Console) -> None:
    """A table of what cells can have, and a line for each worker that none can have."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("host", "worker", "arch", "CPU", "CPUs", "MiB", "KVM", "PMU under KVM", "guests"):
        table.add_column(title, overflow="fold")
    for member in members:
        said, has = member.said, member.said.capabilities
        table.add_row(
            *(Text(one_line(text)) for text in (said.host, member.name, str(has.arch or "?"))),
            Text(one_line(f"{has.cpu_model} ({has.cpu_vendor or '?'})")),
            *(Text(str(number)) for number in (has.cpus, has.memory_mib)),
            Text(one_line(f"no: {has.kvm_missing}")) if has.kvm_missing else Text("yes"),
            Text(one_line(said.pmu)),
            Text(
                ", ".join(f"{name} {sha256[:12]}" for name, sha256 in sorted(said.guests.items())) or "none"
            ),
        )
    if members:
        console.print(table)
    else:
        console.print("no worker of halpmc is connected")
    for stranger in strangers:
        console.print(Text(f"not usable: {one_line(stranger)}", "yellow"), soft_wrap=True)
