"""The lab as a run sees it: a connection to dask's scheduler, and the workers that are there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client, Future, LocalCluster
from pydantic import ValidationError

from harness.caching import Say
from harness.cluster.announcement import KEY, Announcement, announce, version
from harness.cluster.host import KEY_PREFIX, SAME_VERSION, JobHost, mixed, run_order
from harness.cluster.order import JobOrder
from harness.cluster.placement import Member, resources_of, threads_of
from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.errors import DeadlineExceeded, InfrastructureError, UsageError

#: Everything goes through the scheduler: workers need not be reachable from the run's host.
CLIENT: Mapping[str, Any] = {"set_as_default": False, "name": "halpmc", "direct_to_workers": False}
CONNECT_S = 10.0
#: A scheduler that was there may take so long to come back.
RECONNECT_S = 120.0
FIRST_WORKER_S = 60.0
SILENT_S = 1.0
LOOK_S = 0.5
#: dask's own words about connections that break would come between ours.
LOGGER = "distributed"


class Lab:
    """Workers behind one scheduler. A thread asks who is there: a scheduler that is gone keeps nobody waiting."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address
        self._seen: tuple[Mapping[str, Member], tuple[str, ...]] = ({}, ())
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True, name="lab")
        self._watch.start()

    @property
    def connected(self) -> bool:
        """Whether the scheduler answers, as far as it is known."""
        return bool(self.client.status == "running")

    @property
    def members(self) -> Mapping[str, Member]:
        """The workers that were there at the last look, by address."""
        return self._seen[0]

    @property
    def strangers(self) -> tuple[str, ...]:
        """The words for those that cannot be used."""
        return self._seen[1]

    def forget(self) -> None:
        """Nobody is there until the scheduler has said so again."""
        self._seen = ({}, ())

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.is_set():
            if not self.connected:
                self._seen = ({}, ())  # workers end with their scheduler
            else:
                with suppress(Exception):  # of dask's own many kinds: what was last seen stands
                    self._seen = members_of(self.client)
            self._closed.wait(LOOK_S)

    def submit(self, order: JobOrder, member: Member, resources: Mapping[str, float]) -> Future[Any]:
        """Have that worker, and no other, run an order."""
        return self.client.submit(
            run_order,
            order.model_dump_json(),
            key=f"{KEY_PREFIX}{order.token}",
            workers=[member.address],
            allow_other_workers=False,
            resources=dict(resources),
            retries=0,
            pure=False,
        )

    def call(self, member: Member, function: Callable[..., Any], *arguments: object) -> Any:
        """What a function answers that is called in a worker; None when it fails, or the worker is not there."""
        try:
            answers = self.client.run(function, *arguments, workers=[member.address], on_error="ignore")
        except Exception:  # of dask's own many kinds: the connection is gone, or the worker
            return None
        return answers.get(member.address)

    def listen(self, topic: str, heard: Callable[[Mapping[str, Any]], None]) -> None:
        """Call `heard`, in a thread of dask, with what workers tell on that topic."""
        self.client.subscribe_topic(topic, lambda event: heard(event[1]))


def members_of(client: Client) -> tuple[Mapping[str, Member], tuple[str, ...]]:
    """The workers of a scheduler by address, and the words for those that cannot be used."""
    members, strangers = {}, []
    # Not Client.scheduler_info: it answers from a cache, which dask's own timer empties of workers now and then.
    if client.scheduler is None:
        raise OSError("the connection to the scheduler is closed")
    told = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    for address, facts in told.items():
        said = _announcement(facts)
        if isinstance(said, str):
            strangers.append(f"{address}: {said}")
        else:
            members[address] = Member(address, _name(facts, said), said)
    return members, tuple(sorted(strangers))


def _name(facts: Mapping[str, Any], said: Announcement) -> str:
    """A worker's name; dask has but a number for the one of a lab of this host alone."""
    name = facts.get("name")
    return name if isinstance(name, str) else said.host


def _announcement(facts: Mapping[str, Any]) -> Announcement | str:
    """What a worker said of itself, or why it cannot be used."""
    said = facts.get(KEY)
    if not isinstance(said, dict):
        return "it is a dask worker, but none of halpmc's (start it by: halpmc worker)"
    if said.get("version") != version():
        return mixed(str(said.get("host", "?")), str(said.get("version", "?")), version())
    try:
        return Announcement.model_validate(said)
    except ValidationError as error:
        return f"what it says of itself cannot be read: {error.errors()[0]['msg']}"


@contextmanager
def open_lab(
    scheduler: str | None, slots: int | None, *, workers: int = 1, say: Say
) -> Generator[Lab, None, None]:
    """The lab of a scheduler, when it has so many workers; None: one on this host alone, with a scheduler of its own.

    Raises UsageError when that is no address, InfrastructureError when no scheduler answers, when too few workers come,
    and when a worker has another halpmc than this host.
    """
    with _alone(slots, say) if scheduler is None else connected(scheduler) as client:
        lab = Lab(client, scheduler or "this host")
        try:
            _first_workers(lab, workers, say)
            yield lab
        finally:
            lab.close()


@contextmanager
def connected(scheduler: str) -> Generator[Client, None, None]:
    """A client of a scheduler. Raises UsageError, InfrastructureError as `open_lab` does."""
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    try:
        with Client(scheduler, timeout=CONNECT_S * timeout_factor(), **CLIENT):
            pass  # it answers; the one that stays may take longer to find it again
        client = Client(scheduler, timeout=RECONNECT_S * timeout_factor(), **CLIENT)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"--scheduler {scheduler!r} is no address: {error}", remedy="write tcp://HOST:8786, for example"
        ) from None
    except (OSError, TimeoutError) as error:
        raise InfrastructureError(
            f"no scheduler answers at {scheduler}",
            remedy="is `dask scheduler` running there, and may this host reach it? (docs/lab.md)",
            evidence={"error": str(error)},
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_S)


def _first_workers(lab: Lab, workers: int, say: Say) -> None:
    """Wait until there are so many workers. Mixed versions are refused before anything runs."""

    def look(deadline: Deadline) -> bool | None:
        if len(lab.members) >= workers or _refused(lab) or (lab.strangers and not lab.members):
            return True
        if not deadline.last_seen and deadline.elapsed() > SILENT_S:
            deadline.last_seen = "too few"
            many = "a worker" if workers == 1 else f"{workers} workers"
            say(f"waiting for {many} at {lab.address}")
        return None

    try:
        wait_for("a worker", FIRST_WORKER_S, look)
    except DeadlineExceeded as error:
        if lab.members:
            raise InfrastructureError(
                f"only {len(lab.members)} of {workers} workers are connected to {lab.address} after "
                f"{error.seconds:.0f} s",
                remedy=f"start the others, or ask for fewer: halpmc worker {lab.address} --list",
            ) from None
        raise InfrastructureError(
            f"no worker is connected to {lab.address} after {error.seconds:.0f} s",
            remedy=f"start one on each host: halpmc worker {lab.address}",
        ) from None
    if refused := _refused(lab):
        raise InfrastructureError(refused[0], remedy=SAME_VERSION)
    if not lab.members:
        raise InfrastructureError(
            f"no worker of halpmc is connected to {lab.address}: {lab.strangers[0]}",
            remedy=f"start one on each host: halpmc worker {lab.address}",
        )


def _refused(lab: Lab) -> tuple[str, ...]:
    """The words for workers with another version of halpmc."""
    return tuple(reason for reason in lab.strangers if version() in reason)


@contextmanager
def _alone(slots: int | None, say: Say) -> Generator[Client, None, None]:
    """A client of a scheduler and one worker in this process."""
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    said = announce(slots, say=say)
    settings = worker_settings(said, JobHost(said))
    threads = settings.pop("nthreads")
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            **settings,
        ) as cluster,
        Client(cluster, **CLIENT) as client,
    ):
        yield client


def worker_settings(said: Announcement, host: JobHost) -> dict[str, Any]:
    """The arguments of dask's Worker for one of ours."""
    return {
        "nthreads": threads_of(said),
        "memory_limit": 0,  # of Python's own; the memory of VMs is looked after by `resources` and the host's ledger
        "resources": resources_of(said),
        "startup_information": {KEY: lambda _: said.model_dump(mode="json")},
        "plugins": (host,),
    }
