"""A worker of the lab: a dask worker that says what its host has, and runs cells."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from distributed import Worker

from harness.caching import Say
from harness.cluster.announcement import Announcement
from harness.cluster.host import JobHost
from harness.cluster.lab import LOGGER, worker_settings
from harness.errors import InfrastructureError, UsageError
from harness.runs.local import Command, cell_command


def serve(
    scheduler: str,
    said: Announcement,
    *,
    name: str = "",
    listen: str = "",
    command: Command = cell_command,
    say: Say,
) -> None:
    """Be a worker of this scheduler until SIGTERM or SIGINT, which end the cells here and give them back.

    `listen`: the address that the worker listens on, when dask's choice is not right. Raises UsageError for what is no
    address, InfrastructureError when the scheduler goes away.
    """
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    asyncio.run(
        _serve(
            scheduler,
            said,
            name or f"{said.host}-{os.getpid()}",
            listen,
            JobHost(said, command=command, say=say),
            say,
        )
    )


async def _serve(scheduler: str, said: Announcement, name: str, listen: str, host: JobHost, say: Say) -> None:
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    try:
        worker = Worker(
            scheduler, name=name, contact_address=None, host=listen or None, **worker_settings(said, host)
        )
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{scheduler!r} is no address of a scheduler: {error}",
            remedy="write tcp://HOST:8786, for example",
        ) from None
    say(f"worker {name}: waiting for the scheduler at {scheduler}")
    stop = asyncio.ensure_future(told.wait())
    start = asyncio.ensure_future(worker.start())
    await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        start.cancel()
        return
    await start
    say(f"worker {name} at {worker.address} is ready")
    closed = asyncio.ensure_future(worker.finished())
    await asyncio.wait({closed, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not told.is_set():
        raise InfrastructureError(
            f"the scheduler at {scheduler} is gone, or has sent this worker away",
            remedy="start the worker again when the scheduler is back; the systemd unit does (docs/lab.md)",
        )
    say(f"worker {name} ends: its cells are given back")
    await asyncio.to_thread(host.leave)
    await worker.close(reason="told to end")
