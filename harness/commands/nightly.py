"""`halpmc nightly`: a run for a cron job, and a summary of it that can be mailed or posted (docs/ci.md)."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands import say
from harness.commands.choosing import CellIds, CostsFrom, Expression, Jobs, MatrixFile, Tags, parse_slots
from harness.commands.leading import Settings, run_matrix, search_in_cells, settings_of
from harness.errors import HalpmcError, UsageError
from harness.runs.plan import NIGHTLY_SEQUENCES

if TYPE_CHECKING:
    from harness.report.nightly import Nightly
    from harness.runs.select import Choice

EXIT_CODES = (
    "Exit codes: 0 all conform, 1 contract violation, 2 usage (nothing ran), 3 infrastructure: something could not be "
    "judged, nothing could run, or another nightly still goes on there; 130 interrupted."
)


def nightly(
    matrix: MatrixFile,
    runs_dir: Annotated[
        Path, typer.Option(help="where the runs are; the last of this matrix is what is compared with")
    ] = Path("runs"),
    jobs: Jobs = "auto",
    cell: CellIds = None,
    cells: Expression = "",
    tag: Tags = None,
    costs: CostsFrom = None,
    baseline: Annotated[
        Path | None, typer.Option(help="compare with this run every night, and not with the last one")
    ] = None,
    baselines: Annotated[
        Path | None, typer.Option(help="folder of the baselines (default: the project's)")
    ] = None,
    strict_baseline: Annotated[
        bool, typer.Option("--strict-baseline", help="an observation that changed fails the run")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=2, help="delete all runs of this matrix but the newest so many (default: delete none)"
        ),
    ] = None,
    sequences: Annotated[
        int,
        typer.Option(min=1, help="random sequences of calls in each cell", envvar="HALPMC_SEQUENCES"),
    ] = NIGHTLY_SEQUENCES,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="what they are drawn from (default: the date, UTC)", envvar="HALPMC_SEED"),
    ] = None,
    url: Annotated[str, typer.Option(help="where others read --runs-dir, for the link to the report")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    as_mail: Annotated[
        bool, typer.Option("--mail", help="print it as a mail, headers and all, for sendmail")
    ] = False,
) -> None:
    """Run a matrix, compare with the last run of it, and print a summary to be mailed or posted: Markdown or JSON.

    The summary alone goes to stdout; progress and the table go to stderr. It is also in the run's folder, as nightly.md
    and nightly.json. Nothing is sent anywhere.
    """
    from harness.report.nightly import did_not_run
    from harness.report.nightly_text import mail
    from harness.runs.retention import only_one
    from harness.runs.select import Choice

    if as_json and as_mail:
        raise UsageError("--json and --mail exclude each other", remedy="give one of them")
    choice = Choice(tuple(cell or ()), "", cells, tuple(tag or ()))
    search_in_cells(sequences, int(f"{datetime.now(UTC):%Y%m%d}") if seed is None else seed)
    try:
        with only_one(runs_dir, "nightly"):
            settings = settings_of(parse_slots(jobs), baselines, strict=strict_baseline)
            night = _run(_Night(matrix, runs_dir, choice, costs, settings, baseline, url, keep))
    except HalpmcError as error:
        print(f"halpmc: {error}", file=sys.stderr)
        night = did_not_run(matrix, error)
    print(night.model_dump_json(indent=2) if as_json else mail(night) if as_mail else night.text)
    raise typer.Exit(night.exit_code)


@dataclass(frozen=True)
class _Night:
    """What is run, and what it is compared with."""

    matrix: Path
    runs_dir: Path
    choice: Choice
    costs: Path | None
    settings: Settings
    baseline: Path | None
    url: str
    keep: int | None


def _run(night: _Night) -> Nightly:
    """Run, compare, delete what is too old, write the summary into the run's folder.

    Raises HalpmcError when no run came to be. One that broke off has its summary, and the error is in it.
    """
    from harness.report.loading import load_run
    from harness.report.nightly import nightly_of, nothing_ran, write_nightly
    from harness.runs.costs import load_costs
    from harness.runs.retention import prune

    if night.baseline is not None:
        load_run(night.baseline)  # a mistake is told now, not after hours
    begun: list[Path] = []
    error, code = "", 0
    try:
        with redirect_stdout(sys.stderr):
            known = load_costs(night.runs_dir, given=night.costs)
            run_matrix(night.matrix, night.choice, known, night.settings, night.runs_dir, begun.append)
    except typer.Exit as ended:
        code = ended.exit_code
    except HalpmcError as broken:
        if not begun:
            raise
        print(f"halpmc: {broken}", file=sys.stderr)
        error, code = str(broken), broken.exit_code
    if not begun:
        return nothing_ran(night.matrix)
    [folder] = begun
    found = nightly_of(
        folder, night.matrix, code, baseline=night.baseline, url=night.url, error=error, say=say
    )
    if night.keep is not None:
        spare = [folder, *([night.baseline] if night.baseline else [])]
        gone = prune(night.runs_dir, found.name, night.keep, spare, say=say)
        found = found.model_copy(update={"pruned": gone}).told()
    write_nightly(folder, found)
    return found
