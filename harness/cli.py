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
from harness.dumps.command import dump
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, EXIT_VIOLATION, HalpmcError, UsageError

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
bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks: medians and ratios, in one run.")
app.add_typer(bench_app, name="bench")
app.command()(dump)

EXIT_INTERRUPTED = 130


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout stays the answer."""
    print(text, file=sys.stderr, flush=True)


@app.command()
def run(
    matrix: Annotated[Path, typer.Argument(help="matrix file, such as ci/matrices/demo.yaml")],
    jobs: Annotated[
        str, typer.Option("--jobs", "-j", help="cells at a time; auto: as many as the host has room for")
    ] = "auto",
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

    slots = parse_slots(jobs)
    loaded = load_matrix(matrix)
    cells = select_cells(loaded, cell or [])
    prepare(cells, say=say)
    console = Console()
    folder = create_run_folder(runs_dir, loaded.name)
    interrupted = False
    try:
        with LiveProgress(cells, console) as progress:
            execute(loaded, cells, folder, slots=slots, progress=progress, say=say)
    except KeyboardInterrupt:
        interrupted = True  # the cells have been stopped; what there is gets its report
    end_run(folder, summarize(folder).exit_code)
    summary = write_reports(folder)
    print_summary(summary, folder, console)
    raise typer.Exit(EXIT_INTERRUPTED if interrupted else summary.exit_code)


def parse_slots(text: str) -> int | None:
    """The value of --jobs: a number of cells, or None for `auto`. Raises UsageError."""
    if text == "auto":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--jobs {text!r} is no number of cells", remedy="use a number from 1 on, or auto")


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
def replay(
    cell_dir: Annotated[Path, typer.Argument(help="folder of a cell, such as runs/<run>/cells/<id>")],
    test: Annotated[
        list[str] | None,
        typer.Option(help="only the tests with this in their name, as pytest's -k (repeatable)"),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="where the run makes its folder")] = Path("runs"),
) -> None:
    """Run a cell again from the folder that it left behind: same configuration, same kind of start."""
    from harness.paths import contract_suite, project_root
    from harness.runs.replay import replay_matrix

    replay_matrix(cell_dir)  # its mistakes in one line, before pytest starts
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(contract_suite()),
        "-v",
        "-p",
        "no:cacheprovider",
        "--tb=short",
    ]
    command += ["-c", os.devnull, f"--rootdir={project_root()}"]
    command += [f"--halpmc-replay={cell_dir.absolute()}", f"--halpmc-runs-dir={runs_dir.absolute()}"]
    if test:
        command += ["-k", " or ".join(test)]
    os.execv(command[0], command)  # noqa: S606 - pytest takes this process's place: its signals, its exit status


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
    from harness.probe.run import DEFAULT_MACHINES, run_probe
    from harness.report.terminal import print_probe

    kind = machine or DEFAULT_MACHINES[arch]
    choice = choose_accelerator(accel, arch, kind, say=say)
    answer = run_probe(arch, choice.accel, kind, cpu, say=say)
    if as_json:
        print(answer.model_dump_json(indent=2))
    else:
        print_probe(answer, choice.reason, Console())


@app.command(epilog="Exit codes: 0 nothing failed (a warning does not fail), 3 something failed.")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="prove KVM anew, not as of this boot")] = False,
    runs_dir: Annotated[Path, typer.Option(help="where runs would make their folders")] = Path("runs"),
) -> None:
    """Can this host be trusted? Tools, QEMU, accelerators (proved), what a virtual PMU needs, memory, disks, guests."""
    from harness.doctor.examine import examine, exit_code
    from harness.doctor.show import print_findings
    from harness.probe.accelerator import forget_proofs

    if fresh:
        forget_proofs()
    findings = examine(runs_dir, say=lambda text: say(f"doctor: {text}"))
    if as_json:
        print(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=2))
    else:
        print_findings(findings, Console())
    raise typer.Exit(exit_code(findings))


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


BENCH_CELL = {"id": "bench", "guest": "embedded", "cpu": "Nehalem", "pmu": False}


@bench_app.command("clone")
def bench_clone(
    rounds: Annotated[
        int, typer.Option("--rounds", "-n", min=1, help="rounds, of which the median counts")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """How long until a guest answers: cold, as a clone over SSH and over the serial lane, by loadvm."""
    from harness.config.models import Cell
    from harness.runs.bench import bench_clone

    _print_figures(bench_clone(Cell.model_validate(BENCH_CELL), rounds, say=say), as_json)


@bench_app.command("op")
def bench_op(
    rounds: Annotated[
        int, typer.Option("--rounds", "-n", min=1, help="rounds, of which the median counts")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """What one allocate and free costs in the client's session, against one SSH command each."""
    from harness.config.models import Cell
    from harness.runs.bench import bench_op

    _print_figures(bench_op(Cell.model_validate(BENCH_CELL), rounds, say=say), as_json)


def _print_figures(figures: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:12.4f}")


@driver_app.command("deploy")
def driver_deploy(
    file: Annotated[Path, typer.Argument(help="a kernel driver (.sys) of your own")],
    guest: Annotated[str, typer.Option(help="guest to load it into")] = "embedded",
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


@driver_app.command("inspect")
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


@driver_app.command("sign")
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


@app.command()
def schema(
    name: Annotated[str, typer.Argument(help="records, summary, probe, doctor, matrix or protocol")],
) -> None:
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
