"""Which worker a cell may go to, and which of those it goes to now: pure rules over what workers announced."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.cluster.announcement import Announcement
from harness.config.models import Accel, Cell, Icount
from harness.config.requirements import Unmet
from harness.host.resources import HostResources
from harness.host.slots import VCPUS_PER_CPU, Needs, capacity_mib, never_fits, processors_short, vm_needs
from harness.runs.capabilities import unmet
from harness.runs.executor import CellJob

#: Resources of a dask worker. Dask keeps their sum over the cells of all runs.
MEMORY, VCPUS, COUNTERS = "halpmc-memory-mib", "halpmc-vcpus", "halpmc-counters"


@dataclass(frozen=True)
class Member:
    """A worker of the lab: its address, the name that dask has for it, and what it said of itself."""

    address: str
    name: str
    said: Announcement

    def __str__(self) -> str:
        return f"{self.name} ({self.address}, host {self.said.host})"


def resources_of(said: Announcement) -> dict[str, float]:
    """What a worker has for cells."""
    host = _resources(said)
    return {MEMORY: capacity_mib(host), VCPUS: VCPUS_PER_CPU * host.cpus, COUNTERS: host.cpus}


def resources_for(job: CellJob, said: Announcement) -> dict[str, float]:
    """What a cell takes of them; a cell with more CPUs than the host takes all, and runs alone."""
    need, all_ = needs_on(job.cell, said), resources_of(said)
    wanted = {MEMORY: need.memory_mib, VCPUS: need.cpus, COUNTERS: need.counters}
    return {name: min(number, all_[name]) for name, number in wanted.items() if number}


def threads_of(said: Announcement) -> int:
    """How many cells a worker can ever have at a time."""
    return said.slots or max(1, VCPUS_PER_CPU * said.capabilities.cpus)


def needs_on(cell: Cell, said: Announcement) -> Needs:
    """What a cell's VM needs on that host. KVM counts as there while nothing speaks against it, as in a local run."""
    kvm = cell.accel is Accel.KVM or (
        cell.accel is Accel.AUTO
        and cell.arch is said.capabilities.arch
        and cell.icount is not Icount.EXACT
        and not said.capabilities.kvm_missing
    )
    return vm_needs(cell.memory_mib, cell.smp, Accel.KVM if kvm else Accel.TCG, cell.pmu)


def lacks(job: CellJob, said: Announcement, image_sha256: str = "") -> Unmet | None:
    """What a cell's `requires` asks for and that worker does not have. `image_sha256`: of its guest's disk, if any."""
    cell, has = job.cell, said.capabilities
    if cell.guest and said.guests.get(cell.guest) != image_sha256:
        no_image = (
            f"the host has no image of guest {cell.guest!r} with this hash"
            if image_sha256
            else f"the run's host has no image of guest {cell.guest!r} to tell it by"
        )
        has = has.model_copy(update={"guests_missing": {cell.guest: no_image}})
    return unmet(job.requires, cell, has)


def never(job: CellJob, said: Announcement, image_sha256: str = "") -> Unmet | None:
    """Why a cell can never run on that worker; None when it can.

    Beside what the cell requires it has to have QEMU for it, KVM if it asks for that, and enough memory.
    """
    cell, has = job.cell, said.capabilities
    if reason := lacks(job, said, image_sha256):
        return reason
    if cell.accel is Accel.KVM and has.kvm_missing:
        return Unmet("needs accel kvm", has.kvm_missing)
    if cell.arch not in has.qemu:
        return Unmet(f"needs QEMU for {cell.arch}", "it is not installed")
    short = never_fits(_resources(said), needs_on(cell, said).memory_mib)
    return Unmet(f"needs memory_mib {cell.memory_mib}", short) if short else None


def in_words(reasons: Iterable[tuple[Member, Unmet]]) -> str:
    """Each condition once, with the workers that do not meet it and what each has: `requires kvm: a (…), b (…)`."""
    by_condition: dict[str, list[str]] = {}
    for member, reason in sorted(reasons, key=lambda found: (found[1].condition, found[0].name)):
        by_condition.setdefault(reason.condition, []).append(f"{member.name} ({reason.has})")
    return "; ".join(f"{condition}: {', '.join(has)}" for condition, has in by_condition.items())


def has_room(job: CellJob, said: Announcement, running: Sequence[Cell]) -> bool:
    """Whether a worker that runs these cells of this run may get one more."""
    if len(running) >= threads_of(said):
        return False
    need, taken = needs_on(job.cell, said), [needs_on(cell, said) for cell in running]
    if sum(other.memory_mib for other in taken) + need.memory_mib > capacity_mib(_resources(said)):
        return False
    return said.slots is not None or not processors_short(_resources(said), taken, need)


def choose(
    job: CellJob,
    fit: Collection[Member],
    running: Mapping[str, Sequence[Cell]],
    *,
    avoid: Collection[str] = (),
    image_at: Collection[str] = (),
) -> Member | None:
    """The worker to run a cell now, of those that it fits; None: it has to wait for room. `running` is by address.

    Hosts in `avoid` come last: this cell's worker was lost there. Where the image is already (`image_at`: stores) comes
    first, then who has the fewest cells for its CPUs.
    """

    def order(member: Member) -> tuple[bool, bool, float, str]:
        load = len(running.get(member.address, ())) / max(1, member.said.capabilities.cpus)
        far = bool(image_at) and member.said.store not in image_at
        return member.said.host in avoid, far, load, member.address

    room = (member for member in fit if has_room(job, member.said, running.get(member.address, ())))
    return min(room, key=order, default=None)


def _resources(said: Announcement) -> HostResources:
    has = said.capabilities
    return HostResources(has.memory_mib, has.memory_mib, float(has.cpus))
