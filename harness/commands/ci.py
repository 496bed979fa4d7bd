"""`halpmc ci`: workflow files for CI services; `halpmc annotate`: findings where these services show them."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.ci.services import Kind, Service
from harness.commands import say
from harness.commands.choosing import Expression, MatrixFile, Tags
from harness.errors import UsageError
from harness.runs.plan import NIGHTLY_SEQUENCES

CONTAINER = "debian:12"
ON_HOST = "none"
TIMEOUT = 120


class Format(StrEnum):
    """Who reads annotations."""

    GITHUB = "github"
    GITLAB = "gitlab"


def ci(
    service: Annotated[Service, typer.Argument(help="whose language the workflow file is in")],
    matrix: MatrixFile,
    shards: Annotated[int, typer.Option(min=1, max=200, help="jobs that the cells are spread over")] = 1,
    cron: Annotated[str, typer.Option(help="a nightly, at five fields of UTC, such as '17 2 * * *'")] = "",
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="for proposed changes: only what they concern (--since)")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(help="of hosts of yours that run the jobs, such as kvm (repeatable: all of them)"),
    ] = None,
    container: Annotated[
        str,
        typer.Option(help=f"image that the jobs run in, or none (default: {CONTAINER}; none with --label)"),
    ] = "",
    cells: Expression = "",
    tag: Tags = None,
    sequences: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"random sequences of calls in each cell (default: {NIGHTLY_SEQUENCES} with --cron, else as run has)",
        ),
    ] = None,
    setup: Annotated[
        str, typer.Option(help="command that installs halpmc (default: ci/bootstrap where it is, else pip)")
    ] = "",
    path: Annotated[str, typer.Option(help="the folder that --setup puts halpmc in")] = "",
    timeout: Annotated[int, typer.Option(min=1, help="minutes that a job may take")] = TIMEOUT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the file (default: stdout)")] = None,
) -> None:
    """Make a workflow file for GitHub, GitLab or Jenkins: plan, shards, one report of them all.

    GitHub reads .github/workflows; GitLab includes the file from .gitlab-ci.yml; Jenkins takes it as a Jenkinsfile.
    Runs are made with --cron at night, with --pull-request for changes, else by hand.
    """
    from harness.ci.pipeline import pipeline_for
    from harness.ci.render import render
    from harness.report.text import write_atomically
    from harness.runs.costs import Costs
    from harness.runs.select import Choice, open_matrix, select

    if cron and pull_request:
        raise UsageError("--cron and --pull-request exclude each other", remedy="make a file for each")
    if service is Service.JENKINS and (container not in ("", ON_HOST) or not label):
        raise UsageError(
            "Jenkins runs the jobs on agents, which have labels", remedy="give --label, and no --container"
        )
    loaded = open_matrix(matrix)
    chosen = select(loaded, Choice(expression=cells, tags=tuple(tag or ())), Costs())
    choice = _words(("--cells", cells), *(("--tag", name) for name in tag or ()))
    made_by = [
        *("halpmc", "ci", str(service), matrix.as_posix(), "--shards", str(shards)),
        *_words(("--cron", cron), *(("--label", name) for name in label or ()), ("--container", container)),
        *(["--pull-request"] if pull_request else []),
        *choice,
        *_words(("--sequences", str(sequences or "")), ("--setup", setup), ("--path", path)),
        *_words(("--timeout", str(timeout) if timeout != TIMEOUT else "")),
    ]
    image = container or (ON_HOST if label else CONTAINER)
    pipeline = pipeline_for(
        loaded,
        chosen.cells,
        matrix,
        kind=Kind.PULL_REQUEST if pull_request else Kind.NIGHTLY if cron else Kind.MANUAL,
        sequences=sequences or (NIGHTLY_SEQUENCES if cron else None),
        shards=shards,
        cron=cron,
        labels=tuple(label or ()),
        container="" if image == ON_HOST else image,
        setup=setup,
        setup_path=path,
        select=choice,
        timeout_minutes=timeout,
        made_by=shlex.join(made_by),
    )
    text = render(pipeline, service)
    if output is None:
        print(text, end="")
        return
    write_atomically(output, text)
    say(f"{output} written")


def _words(*options: tuple[str, str]) -> tuple[str, ...]:
    """The options that have a value, as words of a command line."""
    return tuple(word for name, value in options if value for word in (name, value))


def annotate(
    run_dir: Annotated[
        Path, typer.Argument(help="folder of a run, as printed by `halpmc run` or `halpmc merge`")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="github: workflow commands; gitlab: a code quality report")
    ] = Format.GITHUB,
) -> None:
    """Print the findings of a run as annotations: violations at the tests that found them, the rest at the matrix."""
    from harness.report import annotations
    from harness.report.loading import load_run
    from harness.report.summary import summarize_run

    view = load_run(run_dir)
    found = annotations.annotate(view, summarize_run(view), Path.cwd())
    if form is Format.GITLAB:
        print(annotations.gitlab(found))
    else:
        for line in annotations.github(found):
            print(line)
