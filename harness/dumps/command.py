"""`halpmc dump`: what a memory dump says, without WinDbg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def dump(
    file: Annotated[Path, typer.Argument(help="MEMORY.DMP, a minidump, or a vmcore that QEMU wrote")],
    ours: Annotated[
        list[str] | None,
        typer.Option(help="file name of a module of yours (repeatable; default pmctest.sys)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what was found as JSON")] = False,
) -> None:
    """Say what a memory dump is: bug check, parameters, build, modules, and whether ours is implicated."""
    from harness.dumps.models import WindowsDump  # noqa: PLC0415 - printing help reads no dump
    from harness.dumps.read import read_dump  # noqa: PLC0415
    from harness.dumps.triage import OURS, triage  # noqa: PLC0415

    found = read_dump(file)
    sentence = triage(found, ours or OURS)
    if as_json:
        print(json.dumps({"triage": sentence, **found.model_dump(mode="json")}, indent=2))
        return
    print(sentence)
    print(f"  {'dump':12} {found.kind}, {found.dump_type}; {found.machine}, {found.cpus} CPUs")
    if isinstance(found, WindowsDump):
        for number, value in enumerate(found.bugcheck.parameters, 1):
            print(f"  parameter {number}  0x{value:016x}")
        for module in found.modules:
            gone = "  (unloaded)" if module.unloaded else ""
            print(f"  0x{module.base:016x} {module.size:9x}  {module.name}{gone}")
        if found.modules_missing:
            print(f"  {'modules':12} none: {found.modules_missing}")
