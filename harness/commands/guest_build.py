"""`halpmc guest build`: embedded guests from their recipe, Windows from its installation medium (docs/windows.md)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.commands import say
from harness.config.models import Accel, Arch
from harness.errors import UsageError

#: Stands for the definition that fits the medium.
ANY_WINDOWS = "windows"


def guest_build(
    name: Annotated[
        str, typer.Argument(help="a guest definition, such as embedded; windows: the one that --iso is for")
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
    definition: Annotated[Path | None, typer.Option(help="a file instead of images/guests/NAME.yaml")] = None,
    accel: Annotated[Accel, typer.Option(help="Windows: accelerator to install with")] = Accel.AUTO,
    runs_dir: Annotated[Path, typer.Option(help="Windows: where the build makes its folder of logs")] = Path(
        "runs"
    ),
) -> None:
    """Build a guest image (or find the one that is there)."""
    from harness.config.load import guest_names, load_guest, load_guest_file, load_guest_for
    from harness.imaging.embedded import build_guest

    if definition is not None:
        guest = load_guest_file(definition)
    elif name == ANY_WINDOWS:
        from harness.imaging.windows_media import detect

        if iso is None:
            raise UsageError(
                "a Windows guest is made from its installation medium", remedy="give it with --iso"
            )
        guest = detect(iso, map(load_guest, guest_names()))
        say(f"the medium is for guest {guest.name}")
    else:
        guest = load_guest(name) if arch is None else load_guest_for(name, arch)
    if guest.windows is None:
        if iso is not None:
            raise UsageError(f"guest {guest.name!r} is not installed from a medium", remedy="leave --iso out")
        print(build_guest(guest, say=say).folder)
        return
    if iso is None:
        raise UsageError(
            f"guest {guest.name!r} is made from its installation medium", remedy="give it with --iso PATH"
        )
    from harness.imaging.windows_build import WindowsRequest, build_windows

    logs = runs_dir / f"{datetime.now():%Y%m%d-%H%M%S}-build-{guest.name}"
    request = WindowsRequest(iso, sha256, edition, virtio_iso, openssh, product_key, ems)
    print(build_windows(guest, request, logs, accel=accel, say=say).folder)
