"""What a worker says of itself: its halpmc, its host, what cells can have there, and the guests that are there."""

from __future__ import annotations

import functools
import os
import platform
import uuid
from collections.abc import Mapping
from pathlib import Path

from harness import __version__
from harness.caching import Say, content_hash
from harness.config.base import Model
from harness.config.load import guest_names
from harness.config.models import Accel
from harness.errors import HalpmcError, InfrastructureError
from harness.host.tools import host_arch, host_facts
from harness.imaging.store import find_guest
from harness.paths import cache_dir, contract_suite, driver_sources, image_sources
from harness.probe.accelerator import choose_accelerator
from harness.probe.models import PmuVerdict
from harness.probe.run import DEFAULT_MACHINES, run_probe
from harness.runs.capabilities import Capabilities, read_capabilities
from harness.runs.needs import usual_needs

#: The key under which dask's scheduler tells it of a worker.
KEY = "halpmc"
STORE_ID = "store-id"


class Announcement(Model):
    """A worker as it was when it started.

    `incarnation` is of this very process; `store` of its cache, which workers of one host share. `slots` limits its
    cells (None: as many as there is room for). `pmu` is what the PMU probe found under KVM, or why there is none;
    `guests` maps each guest whose image is there to the SHA-256 of its disk; `facts` are those of a run's own host.
    """

    version: str
    incarnation: str
    host: str
    store: str
    slots: int | None
    capabilities: Capabilities
    pmu: str
    guests: Mapping[str, str]
    facts: Mapping[str, str]


@functools.cache
def version() -> str:
    """The version with a hash of all that decides what a cell does: two checkouts of one version may well differ."""
    parts = [Path(__file__).parents[1], contract_suite(), driver_sources(), image_sources()]
    return f"{__version__}+{content_hash(parts)}"


def announce(slots: int | None = None, *, prove: bool = True, say: Say = lambda _: None) -> Announcement:
    """Look at this host. With `prove` KVM is proved, and the PMU probe asked under it, in some seconds."""
    pmu, no_vpmu = _pmu(say) if prove else ("not looked at", "")
    has = read_capabilities(needs=usual_needs())
    if no_vpmu and not has.vpmu_missing:
        has = has.model_copy(update={"vpmu_missing": no_vpmu})
    return Announcement(
        version=version(),
        incarnation=uuid.uuid4().hex,
        host=platform.node(),
        store=_store_id(),
        slots=slots,
        capabilities=has,
        pmu=pmu,
        guests=_guests(),
        facts=host_facts(),
    )


def _pmu(say: Say) -> tuple[str, str]:
    """The PMU of a guest under KVM in words, and what there is against it: empty when it counts."""
    arch = host_arch()
    if arch is None:
        return "none: the host's CPU is of an unknown kind", ""
    machine = DEFAULT_MACHINES[arch]
    try:
        choice = choose_accelerator(Accel.AUTO, arch, machine, say=say)
        if choice.accel is not Accel.KVM:
            return f"none: {choice.reason}", ""
        answer = run_probe(arch, Accel.KVM, machine, "host,pmu=on", say=say)
    except InfrastructureError as error:
        return f"none: {error.message}", f"the PMU probe failed under KVM: {error.message}"
    words = (
        f"{answer.interface} version {answer.version}, {answer.general_counters} general and "
        f"{answer.fixed_counters} fixed counters, {answer.verdict}"
    )
    counting = answer.verdict is PmuVerdict.COUNTING
    return words, "" if counting else f"the PMU probe says under KVM: {answer.verdict}"


def _guests() -> dict[str, str]:
    found = {}
    for name in guest_names():
        try:
            found[name] = find_guest(name).manifest.disk_sha256
        except HalpmcError:
            continue  # not there, or not fit for use: a cell that needs it gets it from its run's host
    return found


def _store_id() -> str:
    """The id of this cache, made when there is none: published whole, so that all who ask get the same."""
    path = cache_dir() / "cluster" / STORE_ID
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        scratch = path.with_name(f".{STORE_ID}-{uuid.uuid4().hex}")
        scratch.write_text(uuid.uuid4().hex)
        try:
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path.read_text()
