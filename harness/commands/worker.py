"""`halpmc worker`: this host works for a lab."""

from __future__ import annotations

import importlib.util
import json
from typing import Annotated

import typer
from rich.console import Console

from harness.commands import say
from harness.errors import UsageError

REMEDY = "pip install 'halpmc[cluster]'"


def require_distributed() -> None:
    """Raises UsageError when dask.distributed is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("the cluster needs dask.distributed, which is not installed", remedy=REMEDY)


def worker(
    scheduler: Annotated[str, typer.Argument(help="address of the lab's scheduler, such as tcp://lab:8786")],
    slots: Annotated[
        int | None, typer.Option(min=1, help="cells at a time (default: as many as the host has room for)")
    ] = None,
    name: Annotated[str, typer.Option(help="name in reports and logs (default: host and process)")] = "",
    host: Annotated[
        str, typer.Option(help="this host's own address, to listen on (default: the way to the scheduler)")
    ] = "",
    listing: Annotated[
        bool, typer.Option("--list", help="start nothing: show the workers of the lab and what they have")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --list: print them as JSON")] = False,
) -> None:
    """Run cells for a lab: say what this host has, and take the cells that it can run (docs/lab.md).

    SIGTERM and Ctrl-C end its cells, whose VMs are shut down, and give them back to their runs.
    """
    require_distributed()
    if as_json and not listing:
        raise UsageError("--json is for --list", remedy="add: --list")
    if listing:
        from harness.cluster import show

        members, strangers = show.look(scheduler)
        if as_json:
            print(json.dumps(show.as_json(members, strangers), indent=2))
        else:
            show.print_members(members, strangers, Console())
        return
    from harness.cluster.announcement import announce
    from harness.cluster.worker import serve

    serve(scheduler, announce(slots, say=say), name=name, listen=host, say=say)
