"""`halpmc guest import|list|show|check|rm|gc`: the guests that there are (docs/guests.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.commands import complete, epilog, print_table, say
from harness.config.models import Accel
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK
from harness.imaging.formats import DiskFormat

Json = Annotated[bool, typer.Option("--json", help="print the answer as JSON")]
Name = Annotated[
    str, typer.Argument(help="a guest, as `halpmc guest list` names it", autocompletion=complete.guests)
]


def add_commands(app: typer.Typer) -> None:
    """Add them to the group `guest`."""
    app.command("import", epilog=epilog.IMPORT)(guest_import)
    app.command("list")(guest_list)
    app.command("show")(guest_show)
    app.command("check", epilog="Exit codes: 0 nothing failed, 3 something failed.")(guest_check)
    app.command("rm")(guest_rm)
    app.command("gc")(guest_gc)


def guest_import(
    disk: Annotated[Path, typer.Argument(help="disk image: vhdx, vhd, vmdk, qcow2 or raw")],
    name: Annotated[str, typer.Option("--as", help="the guest's name in matrices")],
    ssh_key: Annotated[Path, typer.Option(help="private key that logs in to the guest")],
    user: Annotated[str | None, typer.Option(help="user to log in as (default: Administrator)")] = None,
    definition: Annotated[
        str | None,
        typer.Option(
            help="a guest definition, or its file, for devices and timeouts (default: Windows, inbox)",
            autocompletion=complete.guests,
        ),
    ] = None,
    kind: Annotated[
        DiskFormat | None, typer.Option("--format", help="what the image has to be (default: by its content)")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="what the image's SHA-256 has to be")] = None,
    variables: Annotated[
        Path | None, typer.Option(help="what its UEFI firmware remembers (raw; default: nothing)")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a disk that you have as a guest. Nothing in it is changed."""
    from harness.imaging.importing import import_guest
    from harness.imaging.library import describe

    import_guest(
        disk,
        name,
        key=ssh_key,
        user=user,
        definition=definition,
        wanted=kind,
        sha256=sha256,
        variables=variables,
        say=say,
    )
    if as_json:
        print(describe(name).model_dump_json(indent=2))
    else:
        print(f"guest {name} is in the store; next: halpmc guest check {name}")


def guest_list(as_json: Json = False) -> None:
    """All guests: what they are, and whether they can be used."""
    from harness.imaging.library import list_guests

    entries = list_guests()
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "state", "kind", "arch", "MiB", "what it is"):
        table.add_column(column, justify="right" if column == "MiB" else "left")
    for entry in entries:
        state = f"{entry.state}, in use" if entry.in_use else str(entry.state)
        size = str(entry.bytes >> 20) if entry.bytes else "-"
        table.add_row(entry.name, state, entry.kind, entry.arch, size, entry.detail or entry.title)
    print_table(table)


def guest_show(name: Name, as_json: Json = False) -> None:
    """All that is known of one guest."""
    from harness.imaging.library import describe

    details = describe(name)
    if as_json:
        print(details.model_dump_json(indent=2))
        return
    described = details.model_dump(mode="json", exclude_none=True)
    for title, part in described.items():
        print(f"{title}:")
        for key, value in part.items():
            if value not in ("", [], {}):
                print(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")


def guest_check(
    name: Name,
    accel: Annotated[Accel, typer.Option(help="accelerator to boot it with")] = Accel.AUTO,
    memory_mib: Annotated[
        int | None, typer.Option(help="its memory (default: 4096 for Windows, else 512)", min=64)
    ] = None,
    cpus: Annotated[int, typer.Option(help="its CPUs", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Boot a guest (its disk is not changed) and say of each requirement whether it is met, and what to do."""
    import shutil
    import tempfile

    from harness.errors import HalpmcError
    from harness.imaging.check import exit_code, print_report
    from harness.runs.check_guest import check_guest

    folder = Path(tempfile.mkdtemp(prefix="halpmc-check-"))
    try:
        report = check_guest(name, folder, accel=accel, memory_mib=memory_mib, cpus=cpus, say=say)
    except HalpmcError as error:
        error.evidence["logs"] = str(folder)
        raise
    shutil.rmtree(folder)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        print_report(report, Console())
    raise typer.Exit(EXIT_INFRASTRUCTURE if exit_code(report) else EXIT_OK)


def guest_rm(name: Name, as_json: Json = False) -> None:
    """Remove a guest's image; an imported guest is gone then. One that is in use stays."""
    from harness.imaging.library import remove_guest

    removed = remove_guest(name)
    print(removed.model_dump_json(indent=2) if as_json else f"removed {removed.folder}")


def guest_gc(
    dry_run: Annotated[bool, typer.Option(help="only say what would be removed")] = False,
    as_json: Json = False,
) -> None:
    """Remove images of older recipes, templates of guests that are gone, and what killed processes left."""
    from harness.imaging.library import collect_garbage

    removed = collect_garbage(dry_run=dry_run)
    if as_json:
        print(json.dumps([item.model_dump(mode="json") for item in removed], indent=2))
        return
    for item in removed:
        print(f"{item.bytes >> 20:6} MiB  {item.folder}  ({item.why})")
    verb = "would be removed" if dry_run else "removed"
    print(f"{sum(item.bytes for item in removed) >> 20} MiB in {len(removed)} folders {verb}")
