"""What becomes of runs: `halpmc history`, `compare`, `serve`, `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.commands import say
from harness.errors import UsageError


def history(
    runs_dir: Annotated[Path, typer.Argument(help="the folder of runs")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="only runs of the matrix with this name")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="only so many of the latest runs")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="print the history as JSON")] = False,
) -> None:
    """Runs and their verdicts, results that come and go, how long cells take."""
    from harness.report.history import read_history
    from harness.report.history_text import print_history

    found = read_history(runs_dir, name=name, last=last, say=say)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        print_history(found, Console())


def compare(
    old: Annotated[Path, typer.Argument(help="folder of the earlier run")],
    new: Annotated[Path, typer.Argument(help="folder of the later run")],
    gate: Annotated[
        bool,
        typer.Option("--gate", help="exit 1 on new failures, 3 when something can no longer be judged"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the comparison as JSON")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print it as Markdown")] = False,
) -> None:
    """What broke between two runs, what was fixed, and what is different about them."""
    from harness.report.compare import compare_folders
    from harness.report.compare_text import markdown, plain

    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other", remedy="give one of them")
    found = compare_folders(old, new, say=say)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        print(markdown(found) if as_markdown else plain(found), end="")
    raise typer.Exit(found.gate if gate else 0)


def serve(
    directory: Annotated[Path, typer.Argument(help="the folder of runs")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0: any free one")] = 8086,
) -> None:
    """Show runs, and the progress of one that goes on, in a browser on this machine."""
    from harness.report.serve import server_for

    with server_for(directory, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/ shows {directory}; Ctrl-C ends it")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("ended")


def bundle(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="the archive (default: beside the run)")
    ] = None,
    screens: Annotated[
        bool, typer.Option("--screens", help="with pictures of screens, which nobody can redact")
    ] = False,
    hide: Annotated[
        list[str] | None, typer.Option(help="one more word to redact, such as a project's name (repeatable)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the manifest as JSON")] = False,
) -> None:
    """A redacted archive of a run, for a bug report or as a baseline: no keys, product keys, user or host names."""
    from harness.report.bundle import make_bundle

    path, manifest = make_bundle(run_dir, out, screens=screens, hide=hide or [], say=say)
    if as_json:
        print(manifest.model_dump_json(indent=2))
    else:
        hidden = ", ".join(f"{number} {kind}" for kind, number in manifest.redacted.items()) or "nothing"
        print(f"{path}: {len(manifest.files)} files; redacted: {hidden}; left out: {len(manifest.left_out)}")
        print("Look at it before you send it: only what has a known form is found.")
