"""The pipeline that every CI service runs: plan once, run the shards, put them together. Only the telling differs.

The decisions are made by `halpmc` itself (plan, run --shard, merge, annotate), so that the same can be done by hand;
a workflow file moves files between machines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.ci.services import Kind
from harness.config.load import load_guest
from harness.config.matrix import Matrix
from harness.config.models import Cell
from harness.errors import UsageError
from harness.imaging.recipe import EMBEDDED

FOLDER = "halpmc-ci"
"""All that a job makes is in here, below the checkout; git does not see it, or --since would count it as a change."""
HISTORY_RUNS = 30
IMAGE_SOURCES = ("images/**/*", "guest_driver/**/*", "harness/imaging/**/*", "ci/constraints.txt")
"""What goes into guest images and drivers; the cache that holds them is keyed by the content of these files."""
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,()-]+")


@dataclass(frozen=True)
class Pipeline:
    """What a workflow file is made from.

    `labels` are those of the hosts that run the jobs; without them the service's own machines do. The jobs run in
    `container`, or on the host itself. `setup` is the command that installs halpmc and `path` the folder where it is
    then, both relative to the checkout. `guests` can be built by a job, for `archs`; `needed` are guests that have to
    be on the hosts. With `sequences`, each cell draws so many random sequences of calls, with the date as their seed.
    """

    matrix: str
    name: str
    kind: Kind
    sequences: int | None
    shards: int
    cron: str
    labels: tuple[str, ...]
    container: str
    setup: str
    path: str
    select: tuple[str, ...]
    timeout_minutes: int
    guests: tuple[str, ...]
    archs: tuple[str, ...]
    needed: tuple[str, ...]
    made_by: str

    @property
    def title(self) -> str:
        """The workflow's name, as people see it."""
        return f"halpmc {self.name} {self.kind}"

    @property
    def slug(self) -> str:
        """The same as one word."""
        return f"halpmc-{self.name}-{self.kind}"

    @property
    def numbers(self) -> list[int]:
        """The numbers of the shards."""
        return list(range(1, self.shards + 1))

    @property
    def cached(self) -> bool:
        """Whether the service keeps the cache between jobs; hosts of one's own keep theirs themselves."""
        return bool(self.container and self.guests)

    @property
    def changes_only(self) -> bool:
        """Whether only what a change concerns is run: $BASE names the revision that it is a change of."""
        return self.kind is Kind.PULL_REQUEST

    @property
    def chosen(self) -> str:
        """Matrix and choice of cells, as arguments of plan and run."""
        words = " ".join(map(shlex.quote, (self.matrix, *self.select)))
        return f'{words} --since "$BASE"' if self.changes_only else words

    @property
    def packages(self) -> list[str]:
        """In a bare container: what is needed before anything of the project is there."""
        return [
            "apt-get update",
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends git ca-certificates zstd",
        ]

    @property
    def begin(self) -> list[str]:
        """Install halpmc."""
        trust = ['git config --global --add safe.directory "$PWD"'] if self.container else []
        return [
            *trust,
            f"mkdir -p {FOLDER}/shards {FOLDER}/runs",
            f"echo '*' > {FOLDER}/.gitignore",
            self.setup,
        ]

    @property
    def clean(self) -> list[str]:
        """Where a checkout is used again as it was left: nothing of an earlier run is taken for this one's."""
        return [f"rm -rf {FOLDER}/shards {FOLDER}/report"]

    @property
    def build(self) -> list[str]:
        """Guest images and drivers that are not in the cache; at once when they are."""
        return [
            *(f"halpmc guest build {shlex.quote(guest)}" for guest in self.guests),
            *(f"halpmc driver build --arch {arch}" for arch in self.archs),
        ]

    @property
    def plan(self) -> list[str]:
        """The cells and their costs, for all shards alike; their number goes into $cells."""
        count = (
            "import json, sys; plan = json.load(sys.stdin); print(len(plan['cells']) + len(plan['skipped']))"
        )
        return [
            f"halpmc plan {self.chosen} --runs-dir {FOLDER}/runs --json > {FOLDER}/plan.json",
            f'cells=$(python3 -c "{count}" < {FOLDER}/plan.json)',
            'echo "cells to run: $cells"',
        ]

    @property
    def run(self) -> list[str]:
        """One shard, number $SHARD. What it found is judged when all are together; only what hinders that fails."""
        search = (
            "" if self.sequences is None else f'--sequences {self.sequences} --seed "$(date -u +%Y%m%d)" '
        )
        return [
            "status=0",
            f'halpmc run {self.chosen} {search}--shard "$SHARD/{self.shards}" --costs {FOLDER}/plan.json '
            f'--runs-dir "{FOLDER}/shards/$SHARD" || status=$?',
            'case $status in 0 | 1 | 3) ;; *) exit "$status" ;; esac',
        ]

    @property
    def merge(self) -> list[str]:
        """All shards as one run, in the folder `report`; $status is the verdict."""
        return [
            "status=0",
            f"run=$(halpmc merge {FOLDER}/shards --plan {FOLDER}/plan.json --into {FOLDER}/runs) || status=$?",
            f'[ -z "$run" ] || cp -a "$run" {FOLDER}/report',
        ]

    @property
    def trim(self) -> list[str]:
        """Of earlier runs only so many records are kept: for what changed since the last one, and for costs."""
        return [
            f"find {FOLDER}/runs -mindepth 1 -maxdepth 1 -type d | sort | head -n -{HISTORY_RUNS} | xargs -r rm -rf"
        ]


def pipeline_for(
    matrix: Matrix,
    cells: Iterable[Cell],
    path: Path,
    *,
    kind: Kind,
    sequences: int | None = None,
    shards: int = 1,
    cron: str = "",
    labels: tuple[str, ...] = (),
    container: str = "",
    setup: str = "",
    setup_path: str = "",
    select: tuple[str, ...] = (),
    timeout_minutes: int = 120,
    made_by: str = "",
) -> Pipeline:
    """The pipeline of some cells of a matrix, which lies at `path` below the current folder: the checkout.

    Raises UsageError for a matrix elsewhere, and for what is no cron line.
    """
    try:
        inside = path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        raise UsageError(
            f"{path} is not below the current folder", remedy="run this at the top of the checkout"
        ) from None
    if cron and not (len(cron.split()) == 5 and all(map(_CRON_FIELD.fullmatch, cron.split()))):
        raise UsageError(f"--cron {cron!r} has not five fields", remedy="write it as '17 2 * * *'")
    guests = [load_guest(name) for name in sorted({cell.guest for cell in cells if cell.guest})]
    own = Path("ci/bootstrap").is_file()
    return Pipeline(
        matrix=inside,
        name=matrix.name,
        kind=kind,
        sequences=sequences,
        shards=shards,
        cron=" ".join(cron.split()),
        labels=labels,
        container=container,
        setup=setup
        or (
            "ci/bootstrap"
            if own
            else f"python3 -m venv {FOLDER}/venv && {FOLDER}/venv/bin/pip install halpmc"
        ),
        path=setup_path or (".venv/bin" if own else f"{FOLDER}/venv/bin"),
        select=select,
        timeout_minutes=timeout_minutes,
        guests=tuple(guest.name for guest in guests if guest.recipe == EMBEDDED),
        archs=tuple(sorted({str(guest.arch) for guest in guests})),
        needed=tuple(guest.name for guest in guests if guest.recipe != EMBEDDED),
        made_by=made_by,
    )
