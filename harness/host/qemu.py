"""What a QEMU binary can do, as it says itself: asked over QMP without starting a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.models import Model
from harness.errors import QemuError
from harness.host.tools import run_tool

ANSWER_S = 10.0
STDERR_CHARS = 2000
QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    "capabilities": {"execute": "qmp_capabilities"},
    "accelerators": {"execute": "qom-list-types", "arguments": {"implements": "accel"}},
    "machines": {"execute": "query-machines"},
    "devices": {"execute": "qom-list-types", "arguments": {"implements": "device", "abstract": False}},
    "migration": {"execute": "query-migrate-capabilities"},
    "quit": {"execute": "quit"},
}


class QemuFeatures(Model):
    """What is compiled in. That an accelerator is there does not mean that it works on this host.

    `sandbox_refusal` is empty when QEMU starts with the sandbox that was asked for, else why it does not.
    """

    accelerators: frozenset[str]
    machines: frozenset[str]
    devices: frozenset[str]
    migration: frozenset[str]
    sandbox_refusal: str


def ask_qemu(qemu: Path, sandbox: str) -> QemuFeatures:
    """Ask a QEMU binary what it can do, and try whether it starts with these settings of -sandbox.

    Raises QemuError when it does not answer as QMP says, DeadlineExceeded.
    """
    refusal = ""
    try:
        answers = _ask(qemu, ["-sandbox", sandbox])
    except QemuError as error:
        refusal = error.message
        answers = _ask(qemu, [])
    try:
        return QemuFeatures(
            accelerators=frozenset(
                found.group(1)
                for kind in answers["accelerators"]
                if (found := re.fullmatch(r"(\w+)-accel", kind["name"]))
            ),
            machines=frozenset(
                name
                for machine in answers["machines"]
                for name in (machine["name"], machine.get("alias"))
                if name
            ),
            devices=frozenset(kind["name"] for kind in answers["devices"]),
            migration=frozenset(capability["capability"] for capability in answers["migration"]),
            sandbox_refusal=refusal,
        )
    except (KeyError, TypeError) as error:
        raise QemuError(f"{qemu} does not answer over QMP as QEMU does: {error!r}") from None


def _ask(qemu: Path, options: list[str]) -> dict[str, Any]:
    """The values of all answers by the names of the questions."""
    argv: list[str | Path] = [
        qemu,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "none",
        "-S",
        *options,
    ]
    script = "".join(json.dumps({**question, "id": name}) + "\n" for name, question in QUESTIONS.items())
    try:
        what = f"the answers of {qemu} over QMP"
        done = run_tool([*argv, "-qmp", "stdio"], what, ANSWER_S, said_to_it=script)
    except OSError as error:
        raise QemuError(f"{qemu} does not run: {error.strerror}", remedy="reinstall QEMU") from error
    said = done.stderr.strip().splitlines()
    if done.returncode != 0:
        raise QemuError(
            f"{qemu} ended with status {done.returncode}: {said[-1] if said else 'it said nothing'}",
            remedy="reinstall QEMU",
            evidence={"stderr": done.stderr[-STDERR_CHARS:]},
        )
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            raise QemuError(f"{qemu} does not speak QMP: {line[:80]!r}", remedy="reinstall QEMU") from None
        if "id" in message:
            answers[message["id"]] = message.get("return")
    return answers
