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
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from harness import __version__
from harness.commands import (
    baseline,
    bench,
    ci,
    complete,
    driver,
    epilog,
    guest_store,
    merge,
    nightly,
    results,
    run,
    say,
    shell,
    worker,
)
from harness.commands.docs import docs
from harness.commands.guest_build import guest_build
from harness.commands.matrices import matrices
from harness.config.models import Accel, Arch
from harness.dumps.command import dump
from harness.errors import EXIT_INFRASTRUCTURE, HalpmcError, UsageError

#: Paragraphs; the lines of one that begin with \b stay as they are.
EPILOG = f"""\b
First steps:
  halpmc doctor                  what this host can do, and what is missing
  halpmc guest build embedded    the guest that needs no licence; once
  halpmc run demo                boots VMs, judges the contract, reports

Progress goes to stderr, answers to stdout; with --json they are data.

\b
Environment:
  HALPMC_CACHE            what can be built again (default: ~/.cache/halpmc)
  HALPMC_GUESTS           guests that were installed or imported
  HALPMC_TIMEOUT_FACTOR   scales every deadline; 3 on a slow machine

{epilog.EXIT_CODES}"""

app = typer.Typer(
    name="halpmc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Hardware performance counters in Windows VMs, tested with and without a virtual PMU.",
    epilog=EPILOG,
)
guest_app = typer.Typer(no_args_is_help=True, help="Guests: build, import, check, list and remove them.")
guest_app.command("build", epilog=epilog.BUILD)(guest_build)
guest_store.add_commands(guest_app)

#: Panels of `halpmc --help`, in the order in which their first commands are added below; groups come last in each.
RUNS = "Plan and run"
RESULTS = "Results"
CLOSE_UP = "One cell, from near"
GUESTS = "Guests and drivers"
NIGHTS = "Every night, and on several hosts"
MANUAL = "This program"


def report(
    run_dir: Annotated[Path, typer.Argument(help="folder of a run, as printed by `halpmc run`")],
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON, not the table")] = False,
) -> None:
    """Write the reports of a run again from its records (also of a run that was killed) and print the table."""
    from harness.report.terminal import print_summary
    from harness.report.write import write_reports

    if not (run_dir / "records.jsonl").is_file():
        raise UsageError(f"{run_dir} is not the folder of a run: it has no records.jsonl")
    summary = write_reports(run_dir, history=True, say=say)
    if as_json:
        print(summary.model_dump_json(indent=2))
    else:
        print_summary(summary, run_dir, Console())
    raise typer.Exit(summary.exit_code)


def replay(
    cell_dir: Annotated[Path, typer.Argument(help="folder of a cell, such as runs/<run>/cells/<id>")],
    test: Annotated[
        list[str] | None,
        typer.Option(help="only the tests with this in their name, as pytest's -k (repeatable)"),
    ] = None,
    sequence: Annotated[
        str | None, typer.Option(help="only this sequence of calls, once, as a failure of MODEL-1 names it")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="with --sequence: print the calls as JSON")] = False,
    runs_dir: Annotated[Path, typer.Option(help="where the run makes its folder")] = Path("runs"),
) -> None:
    """Run a cell again from the folder that it left behind: same configuration, same kind of start."""
    from harness.commands.sequence import replay_sequence
    from harness.runs.replay import replay_matrix
    from harness.runs.suite import suite_command

    matrix = replay_matrix(cell_dir)  # its mistakes in one line, before pytest starts
    if sequence is not None:
        raise typer.Exit(replay_sequence(matrix.cells[0], sequence, as_json=as_json))
    command = suite_command(
        f"--halpmc-replay={cell_dir.absolute()}", f"--halpmc-runs-dir={runs_dir.absolute()}"
    )
    if test:
        command += ["-k", " or ".join(test)]
    os.execv(command[0], command)  # noqa: S606 - pytest takes this process's place: its signals, its exit status


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


def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="records, summary, history, comparison, nightly, bundle, plan, probe, doctor, guest-check, matrix, "
            "protocol",
            autocompletion=complete.schemas,
        ),
    ],
) -> None:
    """Print the JSON Schema of a public format."""
    from harness.report.schemas import json_schema

    print(json.dumps(json_schema(name), indent=2))


def version(
    full: Annotated[
        bool, typer.Option("--full", help="with the hash of all that decides what a cell does")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print it as JSON, with where halpmc is")] = False,
) -> None:
    """Print the version. Hosts of one lab must have the same full one."""
    from harness.paths import PACKAGE, is_installed

    shown = __version__
    if full:
        from harness.cluster.announcement import version as full_version

        shown = full_version()
    if as_json:
        kind = "wheel" if is_installed() else "checkout"
        print(json.dumps({"version": shown, "kind": kind, "package": str(PACKAGE)}, indent=2))
    else:
        print(shown)


app.command(
    epilog="Exit codes: 0 nothing failed (a warning does not fail), 3 something failed.", rich_help_panel=RUNS
)(doctor)
app.command(rich_help_panel=RUNS)(matrices)
app.command(epilog=epilog.PLAN, rich_help_panel=RUNS)(run.plan)
app.command(epilog=epilog.RUN, rich_help_panel=RUNS)(run.run)
app.command(epilog=epilog.REPORT, rich_help_panel=RESULTS)(report)
app.command(rich_help_panel=RESULTS)(results.history)
app.command(epilog=epilog.COMPARE, rich_help_panel=RESULTS)(results.compare)
app.command(rich_help_panel=RESULTS)(results.serve)
app.command(rich_help_panel=RESULTS)(results.bundle)
app.add_typer(baseline.app, name="baseline", rich_help_panel=RESULTS)
app.command(epilog=epilog.REPLAY, rich_help_panel=CLOSE_UP)(replay)
app.command(rich_help_panel=CLOSE_UP)(shell.shell)
app.command(rich_help_panel=CLOSE_UP)(shell.attach)
app.command(epilog=epilog.PROBE, rich_help_panel=CLOSE_UP)(probe)
app.command(rich_help_panel=CLOSE_UP)(dump)
app.add_typer(bench.app, name="bench", rich_help_panel=CLOSE_UP)
app.add_typer(guest_app, name="guest", rich_help_panel=GUESTS)
app.add_typer(driver.app, name="driver", rich_help_panel=GUESTS)
app.command(epilog=nightly.EXIT_CODES, rich_help_panel=NIGHTS)(nightly.nightly)
app.command(rich_help_panel=NIGHTS)(ci.ci)
app.command(rich_help_panel=NIGHTS)(merge.merge)
app.command(rich_help_panel=NIGHTS)(ci.annotate)
app.command(rich_help_panel=NIGHTS)(worker.worker)
app.command(rich_help_panel=MANUAL)(docs)
app.command(rich_help_panel=MANUAL)(schema)
app.command(rich_help_panel=MANUAL)(version)


def command_line() -> Any:
    """The whole command as it is parsed: options that take no value show none in the help."""
    root = typer.main.get_command(app)
    _without_values(root)
    return root


def _without_values(command: Any) -> None:
    """Typer writes the type of a flag behind it, as if it wanted a value: `--json <bool>`."""
    helps = command.get_help_option(typer.Context(command))
    for parameter in (*command.params, *([helps] if helps else [])):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for child in getattr(command, "commands", {}).values():
        _without_values(child)


def main() -> NoReturn:
    """Entry point: every expected error is one line on stderr and a stable exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command_line()(prog_name="halpmc")
    except HalpmcError as error:
        print(f"halpmc: {error}", file=sys.stderr)
        for title, text in error.evidence.items():
            print(f"  {title}: {text[-1500:].rstrip()}".replace("\n", "\n    "), file=sys.stderr)
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
