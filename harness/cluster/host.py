"""The worker's side: cells that a run sends are run here as they would be locally, and what came of them goes back."""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from harness.caching import Say
from harness.cluster.announcement import Announcement
from harness.cluster.images import Chunk, present, take
from harness.cluster.order import RECORDS, SAY, WANT, JobOrder, JobReport, Trouble
from harness.cluster.parcel import pack
from harness.deadlines import Deadline, wait_for
from harness.errors import HalpmcError, InfrastructureError
from harness.imaging.use import hold, in_use
from harness.paths import GUESTS_VARIABLE, cache_dir
from harness.runs.executor import CellJob, JobResult
from harness.runs.folder import cell_folder
from harness.runs.local import Command, LocalExecutor, cell_command
from harness.runs.record_file import Recorder

PLUGIN = "halpmc"
KEY_PREFIX = "halpmc-"
TICK_S = 0.2
#: The run's host is asked for an image, and has so long to send the next piece of it.
CHUNK_S = 60.0
#: Pieces that wait to be written. The run's host sends no more until there is room.
CHUNKS_WAITING = 4
LEAVE_S = 40.0


class _Ended(Exception):
    """The cell shall not go on: it was stopped, or nobody waits for it any more."""


class _Job:
    """One try of one cell on this worker."""

    def __init__(self, order: JobOrder, worker: Worker, folder: Path, command: Command, say: Say) -> None:
        self.order = order
        self.stopped = threading.Event()
        self.inbox: queue.Queue[Chunk] = queue.Queue(CHUNKS_WAITING)
        self._worker = worker
        self._folder = folder
        self._command = command
        self._say_here = say
        self._sent = 0

    def run(self) -> JobReport:
        """Run the cell to its end, or until it is stopped."""
        recorder = Recorder(self._folder)
        result: JobResult | None = None
        try:
            environment = {**os.environ, **self.order.environment, **self._guests()}
            executor = LocalExecutor(
                self._folder, recorder, None, command=self._command, environment=environment, say=self._say
            )
            try:
                result = self._process(executor)
            finally:
                executor.close()
        except _Ended:
            return JobReport(status=-1, tail="stopped before its process began")
        except HalpmcError as error:
            return JobReport(trouble=Trouble(error.message, error.remedy, error.evidence))
        finally:
            recorder.close()
        return self._report(result)

    def _guests(self) -> dict[str, str]:
        """Where the cell's guest is, when it is not where this host has its own."""
        image = self.order.image
        if image is None or present(image):
            return {}
        return {GUESTS_VARIABLE: str(take(image, self._receive, check=self._check, say=self._say))}

    def _process(self, executor: LocalExecutor) -> JobResult:
        job = CellJob(self.order.cell, self.order.clauses)
        while not executor.submit(job):
            self._check()
            self.stopped.wait(TICK_S)
        while not self.stopped.is_set():
            ended = executor.wait(TICK_S)
            self._send_records()
            if ended:
                return ended[0]
        return executor.stop()[0]

    def _report(self, result: JobResult) -> JobReport:
        parcel = pack(cell_folder(self._folder, self.order.cell.id))
        return JobReport(
            status=result.status,
            seconds=result.seconds,
            tail=result.tail,
            records=self._records(0),
            folder=parcel.data,
            left_out=parcel.left_out,
            kept=str(self._folder) if parcel.left_out else "",
        )

    def _records(self, offset: int) -> bytes:
        """The whole lines from there on."""
        with (self._folder / "records.jsonl").open("rb") as file:
            file.seek(offset)
            data = file.read()
        return data[: data.rfind(b"\n") + 1]

    def _send_records(self) -> None:
        """What is new goes to the run at once; it all goes with the report again, so nothing depends on that."""
        data = self._records(self._sent)
        if data:
            self._tell(RECORDS, offset=self._sent, data=data)
            self._sent += len(data)

    def _say(self, text: str) -> None:
        self._say_here(f"{self.order.cell.id}: {text}")
        self._tell(SAY, text=text)

    def _tell(self, kind: str, **message: Any) -> None:
        self._worker.log_event(self.order.topic, {"kind": kind, "token": self.order.token, **message})

    def _check(self) -> None:
        if self.stopped.is_set():
            raise _Ended

    def _receive(self) -> Iterator[Chunk]:
        """Ask the run's host for the image, and give what it sends."""
        self._tell(WANT)
        guest = self.order.cell.guest
        while True:
            yield wait_for(f"image of guest {guest} from the run's host", CHUNK_S, self._next_chunk)

    def _next_chunk(self, _deadline: Deadline) -> Chunk | None:
        self._check()
        try:
            return self.inbox.get(timeout=TICK_S)
        except queue.Empty:
            return None


class JobHost(WorkerPlugin):
    """What makes a dask worker one of ours: it knows its running cells, and lets none of them outlive it.

    A cell whose run gave it up, or is gone, is stopped: dask tells by releasing its task.
    """

    name = PLUGIN

    def __init__(
        self, announcement: Announcement, *, command: Command = cell_command, say: Say = lambda _: None
    ) -> None:
        self.announcement = announcement
        self._command = command
        self._say = say
        self._jobs: dict[str, _Job] = {}
        self._leaving = threading.Event()
        self._idle = threading.Condition()
        self._work = cache_dir() / "cluster" / f"work-{announcement.incarnation}"
        _sweep(self._work.parent)
        self._work.mkdir(parents=True)
        hold(self._work)

    def run(self, order: JobOrder, worker: Worker) -> JobReport:
        """Run a cell here, in a thread of the worker. Whatever is wrong with it is in the report."""
        own = self.announcement
        if order.version != own.version:
            return JobReport(trouble=Trouble(mixed(own.host, own.version, order.version), SAME_VERSION))
        if order.incarnation != own.incarnation or self._leaving.is_set():
            return JobReport(leaving=True)  # it was meant for a process that is gone
        folder = Path(tempfile.mkdtemp(prefix="cell-", dir=self._work))
        job = _Job(order, worker, folder, self._command, self._say)
        with self._idle:
            self._jobs[order.token] = job
        self._say(f"{order.cell.id}: begins")
        report = JobReport()
        try:
            report = job.run()
        finally:
            if not report.kept:
                shutil.rmtree(folder, ignore_errors=True)
            with self._idle:
                del self._jobs[order.token]
                self._idle.notify_all()
            self._say(f"{order.cell.id}: ended")
        return JobReport(leaving=True) if self._leaving.is_set() and job.stopped.is_set() else report

    def stop(self, token: str) -> bool:
        """Have a cell end, with a chance to shut its VM down; False when there is no such cell."""
        job = self._jobs.get(token)
        if job is not None:
            job.stopped.set()
        return job is not None

    def leave(self) -> None:
        """End all cells and take no more; returns when they have ended, in bounded time."""
        self._leaving.set()
        deadline = Deadline("cells of this worker ending", LEAVE_S)
        with self._idle:
            for job in self._jobs.values():
                job.stopped.set()
            self._idle.wait_for(lambda: not self._jobs, deadline.remaining())

    def deliver(self, token: str, chunk: Chunk) -> bool | None:
        """A piece of an image for a cell: True when it is taken, None without room for it yet, False with no cell."""
        job = self._jobs.get(token)
        if job is None:
            return False
        try:
            job.inbox.put_nowait(chunk)
        except queue.Full:
            return None
        return True

    # -- what dask calls ----------------------------------------------------------------------------------------

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - dask's signature
        """The worker closes, also because its scheduler is gone."""
        await asyncio.to_thread(self.leave)
        if not any(self._work.iterdir()):  # else: what was too large to be sent home
            self._work.rmdir()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """A running task that is released has nobody who waits for it."""
        if start in ("executing", "long-running") and finish == "released":
            self.stop(str(key).removeprefix(KEY_PREFIX))


SAME_VERSION = "install the same halpmc on all hosts (halpmc version --full shows what a host has)"


def mixed(host: str, theirs: str, ours: str) -> str:
    """The words for a worker of another version."""
    return f"the worker on {host} has halpmc {theirs}, and the run's host {ours}"


def _host_of(worker: Worker) -> JobHost:
    plugin = worker.plugins.get(PLUGIN)
    if not isinstance(plugin, JobHost):
        raise InfrastructureError(f"{worker.address} is a dask worker, but none of halpmc's")
    return plugin


def run_order(text: str) -> JobReport:
    """The task of a cell."""
    worker = get_worker()
    return _host_of(worker).run(JobOrder.model_validate_json(text), worker)


def stop_job(token: str, dask_worker: Worker) -> bool:
    """Sent to a worker by `Client.run`: see JobHost.stop."""
    return _host_of(dask_worker).stop(token)


async def deliver_chunk(token: str, chunk: Chunk, dask_worker: Worker) -> bool:
    """Sent to a worker by `Client.run`: returns when there was room for the piece; False when no one waits for it."""
    host = _host_of(dask_worker)
    while (taken := host.deliver(token, chunk)) is None:
        await asyncio.sleep(0.01)
    return taken


def _sweep(folder: Path) -> None:
    """Remove what workers left that were killed. What one kept on purpose stays as long as it lives, no longer."""
    for left in folder.glob("work-*"):
        try:
            if not in_use(left):
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue
