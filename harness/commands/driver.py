"""`halpmc driver`: building, inspecting, signing and loading drivers."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands import complete, epilog, say
from harness.config.models import Arch
from harness.errors import EXIT_OK, EXIT_VIOLATION, HalpmcError, UsageError

app = typer.Typer(
    no_args_is_help=True, help="The test driver, its client and the reference HAL; drivers of your own."
)


class Toolchain(StrEnum):
    """What builds the driver: the pinned cross compiler on this host, or Microsoft's kit in a Windows guest."""

    ZIG = "zig"
    WDK = "wdk"


@app.command("build")
def driver_build(
    arch: Annotated[Arch, typer.Option(help="guest architecture")] = Arch.X86_64,
    toolchain: Annotated[
        Toolchain, typer.Option(help="zig on this host; wdk in a Windows guest (the driver alone)")
    ] = Toolchain.ZIG,
    guest: Annotated[
        str | None, typer.Option(help="wdk: the guest to build in", autocompletion=complete.guests)
    ] = None,
    ewdk: Annotated[
        Path | None, typer.Option(help="wdk: an EWDK's ISO for the guest's drive (default: on its disk)")
    ] = None,
    out: Annotated[Path, typer.Option(help="wdk: folder for the driver")] = Path("wdk"),
    as_json: Annotated[bool, typer.Option("--json", help="print paths and hashes as JSON")] = False,
) -> None:
    """Build the test driver, its client and the reference HAL (or find them in the cache)."""
    from harness.driver.build import build_driver
    from harness.runs.wdk import build_with_wdk

    if toolchain is Toolchain.WDK:
        if guest is None:
            raise UsageError("the WDK runs in a Windows guest", remedy="name one with --guest")
        files = {"driver": build_with_wdk(guest, arch, out, ewdk=ewdk, say=say)}
    else:
        if guest is not None or ewdk is not None:
            raise UsageError("--guest and --ewdk are for the WDK", remedy="add --toolchain wdk")
        build = build_driver(arch, say=say)
        files = {"driver": build.sys, "client": build.client, "reference_hal": build.hal}
    if as_json:
        print(
            json.dumps(
                {name: {"path": str(f.path), "sha256": f.sha256} for name, f in files.items()}, indent=2
            )
        )
    else:
        for name, file in files.items():
            print(f"{name:14} {file.sha256[:16]}  {file.path}")


@app.command("deploy", epilog=epilog.DEPLOY)
def driver_deploy(
    file: Annotated[Path, typer.Argument(help="a kernel driver (.sys) of your own")],
    guest: Annotated[
        str, typer.Option(help="guest to load it into", autocompletion=complete.guests)
    ] = "embedded",
    service: Annotated[str | None, typer.Option(help="name of its service (default: the file's)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Load any driver into a guest, see whether it starts and stops, and leave nothing."""
    import shutil
    import tempfile

    from harness.config.load import load_guest
    from harness.driver.image import check_driver_file
    from harness.runs.own_driver import own_guest

    check_driver_file(file, load_guest(guest).arch)  # before a guest is started for it
    folder = Path(tempfile.mkdtemp(prefix="halpmc-deploy-"))
    try:
        with own_guest(guest, folder, say=say) as g:
            with g.loaded(file, service) as driver:
                result = {
                    "schema_version": 1,
                    "guest": g.definition.title,
                    "guest_kind": str(g.definition.kind),
                    "guest_start": g.start,
                    "driver": str(file),
                    "sha256": driver.sha256,
                    "service": driver.service,
                    "state": driver.state().state,
                }
            result["unloaded"] = True
    except HalpmcError as error:
        error.evidence["logs"] = str(folder)  # serial port, SSH, client: kept for a look at what went wrong
        raise
    shutil.rmtree(folder)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{file.name} {driver.sha256[:16]} ran as service {driver.service}, and was unloaded")
        print(f"in {g.definition.title} ({g.definition.kind}), started {g.start}")


@app.command("inspect", epilog=epilog.INSPECT)
def driver_inspect(
    file: Annotated[Path, typer.Argument(help="any 64-bit driver, such as pmctest.sys")],
    windows_build: Annotated[
        int, typer.Option("--windows-build", min=3790, help="Windows build that shall load it")
    ] = 17763,
    arch: Annotated[
        Arch | None, typer.Option(help="architecture of that Windows (default: the file's)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print facts and findings as JSON")] = False,
) -> None:
    """Say what would keep a Windows from loading a driver. Exit code 1 when something would."""
    from harness.driver.inspect import inspect_driver
    from harness.driver.inspection import Target
    from harness.report.inspection import print_inspection

    inspection = inspect_driver(file, Target(build=windows_build, arch=arch))
    if as_json:
        print(inspection.model_dump_json(indent=2))
    else:
        print_inspection(inspection, Console())
    raise typer.Exit(EXIT_VIOLATION if inspection.failures else EXIT_OK)


@app.command("sign")
def driver_sign(
    files: Annotated[list[Path], typer.Argument(help="drivers to sign")],
    cert: Annotated[Path | None, typer.Option(help="PEM certificate (default: a test certificate)")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM private key of --cert, without a passphrase")] = None,
    out: Annotated[Path, typer.Option(help="folder of the signed copies")] = Path("signed"),
    as_json: Annotated[bool, typer.Option("--json", help="print what an inspection says of them")] = False,
) -> None:
    """Sign drivers for test guests with SHA-256 and print where the signed copies are."""
    from harness.driver.sign import sign_drivers, user_identity

    signed = sign_drivers(files, out, user_identity(cert, key))
    if as_json:
        print(json.dumps([inspection.model_dump(mode="json") for inspection in signed], indent=2))
    else:
        for inspection in signed:
            print(inspection.path)
