"""`halpmc guest build`: embedded guests from their recipe, Windows from its installation medium (docs/windows.md)."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from harness.commands import complete, say
from harness.config.models import Accel, Arch, GuestDefinition
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, UsageError
from harness.imaging.windows_request import WindowsRequest

if TYPE_CHECKING:
    from harness.imaging.store import GuestImage

#: Stands for the definition that fits the medium.
ANY_WINDOWS = "windows"


def guest_build(
    name: Annotated[
        str,
        typer.Argument(
            help="a guest definition, such as embedded; windows: the one that --iso is for",
            autocompletion=complete.guests,
        ),
    ],
    arch: Annotated[
        Arch | None, typer.Option(help="the guest made by the same recipe for this architecture")
    ] = None,
    iso: Annotated[Path | None, typer.Option(help="Windows: the installation medium")] = None,
    sha256: Annotated[str | None, typer.Option(help="Windows: what the medium's SHA-256 has to be")] = None,
    edition: Annotated[
        str | None, typer.Option(help="Windows: name or index in install.wim (default: the definition's)")
    ] = None,
    virtio_iso: Annotated[
        Path | None, typer.Option(help="Windows: the virtio-win medium; the guest gets virtio devices")
    ] = None,
    openssh: Annotated[
        Path | None, typer.Option(help="Windows: Win32-OpenSSH as zip or MSI (default: the release's own)")
    ] = None,
    product_key: Annotated[str | None, typer.Option(help="Windows: for media that want one")] = None,
    ems: Annotated[
        bool,
        typer.Option("--ems", help="Windows: the emergency console on COM2, instead of the client's lane"),
    ] = False,
    definition: Annotated[
        Path | None,
        typer.Option(help="a file with a definition of your own, instead of the one that comes with halpmc"),
    ] = None,
    name_as: Annotated[
        str | None,
        typer.Option("--as", help="Windows: the guest's name in the store (default: the definition's)"),
    ] = None,
    accel: Annotated[Accel, typer.Option(help="Windows: accelerator to install with")] = Accel.AUTO,
    runs_dir: Annotated[Path, typer.Option(help="Windows: where the build makes its folder of logs")] = Path(
        "runs"
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="print its folder and its manifest as JSON")
    ] = False,
) -> None:
    """Build a guest image (or find the one that is there)."""
    from harness.config.load import guest_names, guests_folder, load_guest, load_guest_file, load_guest_for
    from harness.imaging.embedded import build_guest

    if definition is not None:
        guest = load_guest_file(definition)
    elif name == ANY_WINDOWS:
        from harness.imaging.windows_media import detect

        if iso is None:
            raise UsageError(
                "a Windows guest is made from its installation medium", remedy="give it with --iso"
            )
        # The project's own: an image that was built under another name has the definition of the same release.
        own = guests_folder()
        guest = detect(iso, [load_guest(each, own) for each in guest_names(own)])
        say(f"the medium is for guest {guest.name}")
    else:
        guest = load_guest(name) if arch is None else load_guest_for(name, arch)
    if guest.windows is None:
        if iso is not None:
            raise UsageError(f"guest {guest.name!r} is not installed from a medium", remedy="leave --iso out")
        _print_built(build_guest(guest, say=say), as_json=as_json)
        return
    if iso is None:
        raise UsageError(
            f"guest {guest.name!r} is made from its installation medium", remedy="give it with --iso PATH"
        )
    _build_windows(
        guest if name_as is None else guest.model_copy(update={"name": name_as}),
        WindowsRequest(iso, sha256, edition, virtio_iso, openssh, product_key, ems),
        accel,
        runs_dir,
        as_json=as_json,
    )


def _print_built(image: GuestImage, *, as_json: bool) -> None:
    if as_json:
        manifest = image.manifest.model_dump(mode="json")
        print(json.dumps({"folder": str(image.folder), "manifest": manifest}, indent=2))
    else:
        print(image.folder)


def _build_windows(
    guest: GuestDefinition, request: WindowsRequest, accel: Accel, runs_dir: Path, *, as_json: bool
) -> None:
    """Install, and check what was installed as `halpmc guest check` does. Its exit code is that of the check."""
    from harness.imaging.check import exit_code, print_report
    from harness.imaging.windows_build import build_windows
    from harness.runs.check_guest import check_guest

    logs = runs_dir / f"{datetime.now():%Y%m%d-%H%M%S}-build-{guest.name}"
    memory_mib = guest.windows.memory_mib if guest.windows else None
    image = build_windows(guest, request, logs, accel=accel, say=say)
    checked = logs / "check"
    checked.mkdir()
    report = check_guest(guest.name, checked, accel=accel, memory_mib=memory_mib, say=say)
    print_report(report, Console(stderr=True))
    _print_built(image, as_json=as_json)
    raise typer.Exit(EXIT_INFRASTRUCTURE if exit_code(report) else EXIT_OK)
