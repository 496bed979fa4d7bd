"""The `halpmc` command: a thin face over the parts.

Exit codes: 0 all conform, 1 contract violation, 2 usage, 3 infrastructure, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from harness import __version__
from harness.config.models import Accel, Arch
from harness.errors import EXIT_INFRASTRUCTURE, HalpmcError, UsageError

app = typer.Typer(
    name="halpmc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Hardware performance counters in Windows VMs, tested with and without a virtual PMU.",
    epilog="Exit codes: 0 all conform, 1 contract violation, 2 usage, 3 infrastructure, 130 interrupted.",
)
guest_app = typer.Typer(no_args_is_help=True, help="Guests: build and list images.")
driver_app = typer.Typer(no_args_is_help=True, help="The test driver, its client and the reference HAL.")
app.add_typer(guest_app, name="guest")
app.add_typer(driver_app, name="driver")

EXIT_INTERRUPTED = 130
DEFAULT_MACHINES = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout stays the answer."""
    print(text, file=sys.stderr, flush=True)


@app.command()
def run(
    matrix: Annotated[Path, typer.Argument(help="matrix file, such as ci/matrices/demo.yaml")],
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="cells at a time")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="run only this cell (repeatable)")] = None,
    runs_dir: Annotated[Path, typer.Option(help="where the run makes its folder")] = Path("runs"),
) -> None:
    """Run every cell of a matrix and write the compatibility report."""
    from harness.config.load import load_matrix
    from harness.report.summary import summarize
    from harness.report.terminal import LiveProgress, print_summary
    from harness.report.write import write_reports
    from harness.runs.execute import end_run, execute
    from harness.runs.folder import create_run_folder
    from harness.runs.plan import select_cells
    from harness.runs.prepare import prepare

    loaded = load_matrix(matrix)
    cells = select_cells(loaded, cell or [])
    prepare(cells, say=say)
    console = Console()
    folder = create_run_folder(runs_dir, loaded.name)
    interrupted = False
    try:
        with LiveProgress(cells, console) as progress:
            execute(loaded, cells, folder, slots=jobs or default_slots(), progress=progress)
    except KeyboardInterrupt:
        interrupted = True  # the cells have been stopped; what there is gets its report
    end_run(folder, summarize(folder).exit_code)
    summary = write_reports(folder)
    print_summary(summary, folder, console)
    raise typer.Exit(EXIT_INTERRUPTED if interrupted else summary.exit_code)


def default_slots() -> int:
    """As many cells at a time as there are CPUs for their two virtual ones, but at least two: booting waits a lot."""
    return max(2, (os.cpu_count() or 2) // 2)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run, as printed by `halpmc run`")],
) -> None:
    """Write the reports of a run again from its records (also of a run that was killed) and print the table."""
    from harness.report.terminal import print_summary
    from harness.report.write import write_reports

    if not (run_dir / "records.jsonl").is_file():
        raise UsageError(f"{run_dir} is not the folder of a run: it has no records.jsonl")
    summary = write_reports(run_dir)
    print_summary(summary, run_dir, Console())
    raise typer.Exit(summary.exit_code)


@app.command()
def probe(
    arch: Annotated[Arch, typer.Option(help="architecture of the probed machine")] = Arch.X86_64,
    accel: Annotated[
        Accel, typer.Option(help="accelerator; auto uses KVM where it proves usable")
    ] = Accel.AUTO,
    cpu: Annotated[str, typer.Option(help="QEMU's -cpu string, with pmu=on or pmu=off")] = "max,pmu=on",
    machine: Annotated[str | None, typer.Option(help="QEMU's machine type (default: q35, virt)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the answer as JSON")] = False,
) -> None:
    """Boot the PMU probe: what PMU does a guest with this accelerator, machine and CPU really get?"""
    from harness.probe.accelerator import choose_accelerator
    from harness.probe.run import run_probe
    from harness.report.terminal import print_probe

    kind = machine or DEFAULT_MACHINES[arch]
    choice = choose_accelerator(accel, arch, kind, say=say)
    answer = run_probe(arch, choice.accel, kind, cpu, say=say)
    if as_json:
        print(answer.model_dump_json(indent=2))
    else:
        print_probe(answer, choice.reason, Console())


@guest_app.command("build")
def guest_build(
    name: Annotated[str, typer.Argument(help="a guest definition in images/guests, such as embedded")],
    arch: Annotated[
        Arch | None, typer.Option(help="the guest made by the same recipe for this architecture")
    ] = None,
) -> None:
    """Build a guest image (or find it in the cache)."""
    from harness.config.load import load_guest, load_guest_for
    from harness.imaging.embedded import build_guest

    image = build_guest(load_guest(name) if arch is None else load_guest_for(name, arch), say=say)
    print(image.folder)


@driver_app.command("build")
def driver_build(
    arch: Annotated[Arch, typer.Option(help="guest architecture")] = Arch.X86_64,
    as_json: Annotated[bool, typer.Option("--json", help="print paths and hashes as JSON")] = False,
) -> None:
    """Build the test driver, its client and the reference HAL (or find them in the cache)."""
    from harness.driver.build import build_driver

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


@app.command()
def schema(name: Annotated[str, typer.Argument(help="records, summary, probe, matrix or protocol")]) -> None:
    """Print the JSON Schema of a public format."""
    from harness.report.schemas import json_schema

    print(json.dumps(json_schema(name), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> NoReturn:
    """Entry point: every expected error is one line on stderr and a stable exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except HalpmcError as error:
        print(f"halpmc: {error}", file=sys.stderr)
        for title, text in error.evidence.items():
            print(f"  {title}: {text[-1500:]}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"halpmc: {error}", file=sys.stderr)
        sys.exit(EXIT_INFRASTRUCTURE)
    except Exception:
        traceback.print_exc()
        print(
            "halpmc: this is a mistake in halpmc itself; please report it with the lines above",
            file=sys.stderr,
        )
        sys.exit(EXIT_INFRASTRUCTURE)
    sys.exit(0)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
