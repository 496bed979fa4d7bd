"""Cells on workers elsewhere: each goes where its requirements are met, and to another when its worker is lost."""

from __future__ import annotations

import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Future
from distributed.scheduler import KilledWorker

from harness.caching import Say
from harness.cluster.announcement import version
from harness.cluster.host import deliver_chunk, stop_job
from harness.cluster.images import ImageOffer, chunks
from harness.cluster.intake import Intake
from harness.cluster.lab import RECONNECT_S, Lab
from harness.cluster.order import RECORDS, SAY, WANT, JobOrder, JobReport
from harness.cluster.placement import Member, resources_for
from harness.cluster.roster import Roster
from harness.deadlines import Deadline
from harness.errors import InfrastructureError
from harness.runs.executor import CellJob, JobResult
from harness.runs.folder import cell_folder, write_config
from harness.runs.local import LOG, STOP_S
from harness.runs.record import IncidentRecord
from harness.runs.record_file import Recorder

#: So many workers may be lost under one cell; then the cell itself is suspect.
TRIES = 3
GATHER_S = 120.0
#: On top of what a worker gives its cells to stop: for telling it, and for bringing home what there is.
STOP_MARGIN_S = 10.0
TICK_S = 0.2
#: What of the environment is meant for the cells, wherever they run.
ENVIRONMENT = ("HALPMC_SEQUENCES", "HALPMC_SEED")
#: What this side tells itself: a try has ended, and what came of it is here.
DONE, ANSWER = "done", "answer"


class _WorkerLost(Exception):
    """A worker is gone with its cell; the text says how that was seen."""


class _SchedulerLost(_WorkerLost):
    """So are all others of this run, whose workers may be well."""


@dataclass
class _Placed:
    """A try of a cell on a worker."""

    token: str
    member: Member
    intake: Intake
    future: Future[Any]


@dataclass
class _Job:
    """A job that was taken: where it is now (None: it waits for another worker), and on which hosts it was lost."""

    job: CellJob
    placed: _Placed | None = None
    lost: tuple[str, ...] = ()


class DaskExecutor:
    """Runs jobs on the workers of a lab, at most `slots` at a time (None: as many as they have room for).

    A job goes to one worker, chosen here. When that is lost, the job goes to another one; a record says so.
    """

    in_order = False

    def __init__(
        self,
        run: Path,
        recorder: Recorder,
        lab: Lab,
        roster: Roster,
        slots: int | None,
        *,
        say: Say = lambda _: None,
    ) -> None:
        self._run = run
        self._recorder = recorder
        self._lab = lab
        self._roster = roster
        self._slots = slots
        self._say = say
        self._topic = f"halpmc-run-{uuid.uuid4().hex}"
        self._inbox: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._jobs: list[_Job] = []
        self._unreachable: Deadline | None = None
        self._stopping = False
        lab.listen(self._topic, self._inbox.put)

    @property
    def running(self) -> int:
        """How many jobs were taken and have no result yet; those that wait for another worker count."""
        return len(self._jobs)

    def submit(self, job: CellJob) -> bool:
        """Send a job to a worker that has room for it. Raises InfrastructureError when none of the lab can run it."""
        if not self._lab.connected:
            if gone := self._scheduler_gone():
                raise gone
            return False
        if self._slots is not None and self.running >= self._slots:
            return False
        taken = _Job(job)
        if not self._place(taken):
            return False
        self._jobs.append(taken)
        return True

    def _place(self, this: _Job) -> bool:
        cell = this.job.cell
        running = [(other.placed.member.address, other.job.cell) for other in self._jobs if other.placed]
        member = self._roster.place(this.job, running, this.lost)
        if member is None:
            return False
        offered = self._roster.offer_for(cell)
        order = JobOrder(
            token=uuid.uuid4().hex,
            topic=self._topic,
            version=version(),
            incarnation=member.said.incarnation,
            cell=cell,
            clauses=this.job.clauses,
            environment={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            image=offered[0] if offered else None,
        )
        write_config(cell_folder(self._run, cell.id), cell)
        intake = Intake(self._run, self._recorder, cell.id, member)
        intake.begin()
        future = self._lab.submit(order, member, resources_for(this.job, member.said))
        this.placed = _Placed(order.token, member, intake, future)
        future.add_done_callback(lambda _: self._inbox.put({"kind": DONE, "token": order.token}))
        return True

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> Sequence[JobResult]:
        """What ended; workers that were lost are noticed here, and their jobs sent elsewhere."""
        results = self._look()
        until = time.monotonic() + timeout_s
        while not results and (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                results += self._hear(self._inbox.get(timeout=left))
        while not self._inbox.empty():
            results += self._hear(self._inbox.get())
        return results

    def _look(self) -> list[JobResult]:
        """Lost workers, and the jobs that wait for another one."""
        if not self._lab.connected:
            gone = self._scheduler_gone()
            return [result for this in list(self._jobs) for result in self._end(this, gone)] if gone else []
        if self._unreachable is not None:
            self._unreachable = None
            self._lab.listen(self._topic, self._inbox.put)
        results: list[JobResult] = []
        members = self._roster.members()
        for this in list(self._jobs):
            if this.placed and not _there(this.placed.member, members):
                results += self._lose(this, this.placed, "it is no longer connected")
        for this in [job for job in self._jobs if job.placed is None]:
            try:
                self._place(this)
            except InfrastructureError as error:
                results += self._end(this, error)
        return results

    def _scheduler_gone(self) -> InfrastructureError | None:
        """The error when it does not come back in time. Workers end with it; when it is back they come anew."""
        if self._unreachable is None:
            self._unreachable = Deadline("the scheduler", RECONNECT_S)
            self._say(f"the scheduler at {self._lab.address} does not answer; waiting for it")
        if not self._unreachable.expired():
            return None
        words = f"the scheduler at {self._lab.address} is gone"
        return InfrastructureError(words, remedy="start it, then: halpmc run --resume")

    def _hear(self, message: Mapping[str, Any]) -> list[JobResult]:
        """Something of a try; of one that was given up nothing counts any more."""
        token = message["token"]
        found = ((job, job.placed) for job in self._jobs if job.placed and job.placed.token == token)
        this, placed = next(found, (None, None))
        if this is None or placed is None:
            return []
        kind = message["kind"]
        if kind == DONE:
            self._beside(self._fetch_answer, placed)
        elif kind == ANSWER:
            return self._done(this, placed, message["answer"])
        elif kind == RECORDS:
            placed.intake.records(message["offset"], message["data"])
        elif kind == SAY:
            self._say(f"{placed.member.said.host}: {message['text']}")
        elif kind == WANT and (offered := self._roster.offer_for(this.job.cell)):
            self._beside(self._send_image, placed, *offered)
        return []

    def _done(self, this: _Job, placed: _Placed, answer: JobReport | Exception) -> list[JobResult]:
        try:
            if isinstance(answer, Exception):
                raise answer
            placed.intake.report(report := answer)
        except _WorkerLost as lost:
            if isinstance(lost, _SchedulerLost):
                self._lab.forget()
            else:
                self._roster.gone(placed.member)
            return self._lose(this, placed, str(lost))
        except InfrastructureError as error:
            return self._end(this, error)
        self._jobs.remove(this)
        log = str((cell_folder(self._run, this.job.cell.id) / LOG).relative_to(self._run))
        return [JobResult(this.job, report.status, report.seconds, log, report.tail)]

    # -- losing, ending -----------------------------------------------------------------------------------------

    def _lose(self, this: _Job, placed: _Placed, why: str) -> list[JobResult]:
        """A worker is gone, and with it a cell: another try, shown in the records; or none, when there were enough."""
        placed.future.cancel()
        this.placed = None
        this.lost = (*this.lost, placed.member.said.host)
        words = f"worker {placed.member} was lost while it ran this cell: {why}"
        if self._stopping:
            return self._end(this, _stopped(f"as worker {placed.member} was lost"))
        if len(this.lost) == TRIES:
            last = f"{words}; it was the last of {TRIES} tries (on {', '.join(this.lost)})"
            remedy = "does the cell bring its hosts down? look at their logs"
            return self._end(this, InfrastructureError(last, remedy=remedy))
        self._recorder.write(
            IncidentRecord(
                cell=this.job.cell.id,
                branch=InfrastructureError.branch,
                message=f"{words}; the cell runs again from its beginning (try {len(this.lost) + 1} of {TRIES})",
                evidence={
                    "worker": placed.member.address,
                    "host": placed.member.said.host,
                    "results that are void": placed.intake.results,
                },
                retried=True,
                restarted=True,
            )
        )
        return []

    def _end(self, this: _Job, error: InfrastructureError) -> list[JobResult]:
        if this.placed is not None:
            this.placed.future.cancel()
        self._jobs.remove(this)
        return [JobResult(this.job, -1, 0.0, "", "", error)]

    def stop(self) -> Sequence[JobResult]:
        """Have all cells end, each with a chance to shut its VM down; who does not answer in time is given up."""
        self._stopping = True
        results: list[JobResult] = []
        for this in list(self._jobs):
            if this.placed is None:
                results += self._end(this, _stopped("while it waited for another worker"))
            else:
                self._beside(self._tell_stop, this.placed)
        deadline = Deadline("cells stopping", STOP_S + STOP_MARGIN_S)
        while self._jobs and self._lab.connected and not deadline.expired():
            results += self.wait(TICK_S)
        for this in list(self._jobs):
            results += self._end(this, _stopped("and its worker did not answer"))
        return results

    def close(self) -> None:
        """Nothing to give back: what was not taken was never sent."""

    # -- beside the run's own thread ----------------------------------------------------------------------------

    def _beside(self, what: Callable[..., None], *arguments: object) -> None:
        """Calls of workers wait for their answer: the run does not."""
        threading.Thread(target=what, args=arguments, daemon=True, name=what.__name__).start()

    def _fetch_answer(self, placed: _Placed) -> None:
        answer: JobReport | Exception
        try:
            answer = _answer(placed)
        except (_WorkerLost, InfrastructureError) as error:
            answer = error
        self._inbox.put({"kind": ANSWER, "token": placed.token, "answer": answer})

    def _tell_stop(self, placed: _Placed) -> None:
        self._lab.call(placed.member, stop_job, placed.token)

    def _send_image(self, placed: _Placed, offer: ImageOffer, folder: Path) -> None:
        """Piece by piece, each when the one before was taken. What goes wrong the worker notices: no piece comes."""
        for chunk in chunks(folder, offer):
            if self._lab.call(placed.member, deliver_chunk, placed.token, chunk) is not True:
                return


def _answer(placed: _Placed) -> JobReport:
    """What came of a try that has ended. Raises _WorkerLost, InfrastructureError."""
    try:
        report = placed.future.result(timeout=GATHER_S)
    except KilledWorker as error:
        raise _WorkerLost(str(error)) from None
    except Exception as error:  # whatever the task raised comes through, a mistake of ours, too
        what = f"{type(error).__name__}: {error}"
        if placed.future.status == "cancelled":
            raise _SchedulerLost("the connection to the scheduler broke") from None
        if placed.future.status != "error":
            raise _WorkerLost(f"its answer did not arrive ({what})") from None
        raise InfrastructureError(f"worker {placed.member} failed: {what}") from error
    if not isinstance(report, JobReport):
        raise InfrastructureError(f"what worker {placed.member} answered is no report of a cell")
    if report.leaving:
        raise _WorkerLost("it was told to end")
    if report.trouble is not None:
        raise report.trouble.error()
    return report


def _there(member: Member, members: Mapping[str, Member]) -> bool:
    """Whether it is there still: the same process, not one that came after it at the same address."""
    now = members.get(member.address)
    return now is not None and now.said.incarnation == member.said.incarnation


def _stopped(how: str) -> InfrastructureError:
    return InfrastructureError(f"the cell was stopped {how}", remedy="halpmc run --resume runs it again")
