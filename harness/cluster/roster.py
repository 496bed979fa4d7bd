"""The workers that a run has seen, and which of them is the next for a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from harness.caching import Say
from harness.cluster.images import ImageOffer
from harness.cluster.lab import Lab
from harness.cluster.placement import Member, choose, in_words, lacks, never
from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.config.requirements import Unmet
from harness.deadlines import Deadline
from harness.errors import InfrastructureError
from harness.runs.executor import CellJob
from harness.runs.select import Selection

#: A worker that was there may take so long to come back.
WORKER_WAIT_S = 120.0

#: The images that can be sent, by guest: what they are, and the folder of each.
Offers = Mapping[str, tuple[ImageOffer, Path]]


class Roster:
    """Places cells. It knows which hosts have which image, and how long a cell has waited for workers that are gone."""

    def __init__(self, lab: Lab, offers: Offers, *, say: Say) -> None:
        self._lab = lab
        self._offers = offers
        self._say = say
        self._seen: dict[str, Member] = {}
        self._told: set[str] = set()
        self._gone: set[str] = set()
        self._reasons: dict[tuple[str, str], Unmet | None] = {}
        self._patience: dict[str, Deadline] = {}
        self._sent: dict[str, set[str]] = {}

    def members(self) -> Mapping[str, Member]:
        """The workers that are there, by address. Each worker that cannot be used is said once."""
        members = self._lab.members
        self._seen.update((member.said.incarnation, member) for member in members.values())
        for stranger in self._lab.strangers:
            if stranger not in self._told:
                self._told.add(stranger)
                self._say(f"a worker is left alone: {stranger}")
        return members

    def gone(self, member: Member) -> None:
        """A worker ends, or has lost a cell: it gets no other, even while it can still be seen."""
        self._gone.add(member.said.incarnation)

    def offer_for(self, cell: Cell) -> tuple[ImageOffer, Path] | None:
        """The image that a cell needs."""
        return self._offers.get(cell.guest or "")

    def fitting(self, matrix: Matrix, chosen: Selection) -> Selection:
        """The chosen cells less those whose `requires` no worker of the lab meets: skipped, with what each has instead.

        Only what a matrix says may leave a cell out: one that wants KVM or memory without saying so is an error,
        here as on one host. This is decided once, by the workers that are there: one that is lost later takes its
        cells to another, or they are not judged.
        """
        self.members()
        jobs = [CellJob(cell, requires=matrix.traits_of(cell).requires) for cell in chosen.cells]
        found = ((job.cell.id, self._of_all(partial(self._lacks, job))) for job in jobs)
        return chosen.less({name: reason for name, reason in found if reason})

    def _nobody_for(self, job: CellJob) -> str:
        """What keeps each worker that is or was there from running a cell, in words; empty when one can or could."""
        return self._of_all(partial(self._never, job))

    def _of_all(self, reason_of: Callable[[Member], Unmet | None]) -> str:
        reasons = [(member, reason) for member in self._seen.values() if (reason := reason_of(member))]
        return in_words(reasons) if len(reasons) == len(self._seen) else ""

    def place(
        self, job: CellJob, running: Iterable[tuple[str, Cell]], avoid: Collection[str] = ()
    ) -> Member | None:
        """The worker to run a cell now; None: it has to wait. `running` are this run's cells with their addresses.

        Raises InfrastructureError when no worker that was ever there can run it, and when those that could are gone for
        too long.
        """
        members = self.members()
        there = [member for member in members.values() if member.said.incarnation not in self._gone]
        fit = [member for member in there if not self._never(job, member)]
        if fit:
            self._patience.pop(job.cell.id, None)
            return self._choose(job, fit, running, avoid)
        able = [member for member in self._seen.values() if not self._never(job, member)]
        if not able:
            raise InfrastructureError(
                f"cell {job.cell.id} can never run in this lab: {self._nobody_for(job) or 'it has no worker'}",
                remedy="add a host that has it (halpmc worker SCHEDULER --list shows the hosts)",
            )
        patience = self._patience.setdefault(job.cell.id, Deadline("a worker", WORKER_WAIT_S))
        if patience.expired():
            raise InfrastructureError(
                f"cell {job.cell.id}: the workers that could run it are lost, and none came back within "
                f"{patience.seconds:.0f} s",
                remedy="look at the hosts, then: halpmc run --resume",
                evidence={"workers": "\n".join(str(member) for member in able)},
            )
        return None

    def _choose(
        self,
        job: CellJob,
        fit: Collection[Member],
        running: Iterable[tuple[str, Cell]],
        avoid: Collection[str],
    ) -> Member | None:
        busy: dict[str, list[Cell]] = {}
        for address, cell in running:
            busy.setdefault(address, []).append(cell)
        member = choose(job, fit, busy, avoid=avoid, image_at=self._stores(job.cell))
        if member is not None and (offered := self.offer_for(job.cell)):
            self._sent.setdefault(offered[0].digest, set()).add(member.said.store)
        return member

    def _stores(self, cell: Cell) -> set[str]:
        """The stores that have the cell's image, or will have it soon."""
        offered = self.offer_for(cell)
        if offered is None:
            return set()
        guest, disk = offered[0].guest, offered[0].disk_sha256
        own = {member.said.store for member in self._seen.values() if member.said.guests.get(guest) == disk}
        return own | self._sent.get(offered[0].digest, set())

    def _never(self, job: CellJob, member: Member) -> Unmet | None:
        key = (job.cell.id, member.said.incarnation)
        if key not in self._reasons:
            self._reasons[key] = never(job, member.said, self._image(job))
        return self._reasons[key]

    def _lacks(self, job: CellJob, member: Member) -> Unmet | None:
        return lacks(job, member.said, self._image(job))

    def _image(self, job: CellJob) -> str:
        offered = self.offer_for(job.cell)
        return offered[0].disk_sha256 if offered else ""
