"""Runs the PMU probe in a QEMU with the accelerator, machine and CPU string of a cell."""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import IO, cast

from harness.caching import Say
from harness.config.models import Accel, Arch
from harness.deadlines import Deadline, timeout_factor
from harness.errors import DeadlineExceeded, ProtocolError, QemuError, UsageError
from harness.host.tools import qemu_binary, qemu_version, require_tool
from harness.probe.answer import RawAnswer, parse_answer
from harness.probe.build import build_probe
from harness.probe.models import ProbeAnswer
from harness.vm.command_line import accelerator_arguments

PROBE_DEADLINE_S = 10.0
DEFAULT_MACHINES = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}
MEMORY_MIB = 128
MAX_ANSWER_BYTES = 1 << 16
STDERR_TAIL_BYTES = 4000
KILL_WAIT_S = 5.0
# How the guest's characters reach QEMU's standard output, and how the guest ends QEMU.
ANSWER_DEVICES = {
    Arch.X86_64: (
        "-device",
        "isa-debugcon,iobase=0xe9,chardev=answer",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
    ),
    Arch.AARCH64: ("-serial", "chardev:answer"),
}


def probe_argv(
    arch: Arch,
    *,
    qemu: Path,
    image: Path,
    accel: Accel,
    machine: str,
    cpu_string: str,
    smp: int,
    icount: bool = False,
) -> list[str]:
    """QEMU's argument vector. It dies with the thread that starts it, whatever kills that (setpriv)."""
    return [
        str(require_tool("setpriv")), "--pdeathsig", "KILL",
        str(qemu), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        *accelerator_arguments(accel, icount=icount), "-machine", machine, "-cpu", cpu_string,
        "-smp", str(smp), "-m", str(MEMORY_MIB),
        "-chardev", "stdio,id=answer,signal=off", *ANSWER_DEVICES[arch], "-kernel", str(image),
    ]  # fmt: skip


def run_probe(
    arch: Arch,
    accel: Accel,
    machine: str,
    cpu_string: str,
    *,
    smp: int = 1,
    icount: bool = False,
    deadline_s: float = PROBE_DEADLINE_S,
    say: Say = lambda _: None,
    qemu: Path | None = None,
    image: Path | None = None,
) -> ProbeAnswer:
    """Boot the probe, built if need be, and return its answer, which is about the boot CPU.

    With `icount` the emulator counts instructions, for one CPU. `deadline_s` (scaled) is for the run alone. `qemu` and
    `image` replace the installed emulator and the built probe. Raises UsageError for `auto` (decide first),
    ToolMissing, BuildError, QemuError when QEMU refuses or ends without an answer, DeadlineExceeded with what was seen
    last, ProtocolError for an answer that is none.
    """
    if accel is Accel.AUTO:
        raise UsageError("the PMU probe runs on one accelerator", remedy="decide between kvm and tcg first")
    version = qemu_version(arch) if qemu is None else "unknown"
    argv = probe_argv(
        arch,
        qemu=qemu or qemu_binary(arch),
        image=image or build_probe(arch, say=say),
        accel=accel,
        machine=machine,
        cpu_string=cpu_string,
        smp=smp,
        icount=icount,
    )
    deadline = Deadline(f"PMU probe ({accel}, {machine}, {cpu_string})", deadline_s)
    with tempfile.TemporaryFile() as stderr:
        try:
            raw, elapsed = _answer(argv, deadline, stderr)
            if raw.probe != arch.value:
                raise ProtocolError(
                    f"the PMU probe answers for {raw.probe}, not {arch}", remedy="use its own image"
                )
        except (DeadlineExceeded, QemuError, ProtocolError) as error:
            error.evidence.update({"argv": shlex.join(argv), "stderr": _tail(stderr)})
            raise
    return ProbeAnswer(
        arch=arch,
        accel=accel,
        machine=machine,
        cpu=cpu_string,
        verdict=raw.verdict,
        interface=raw.interface,
        version=raw.version,
        general_counters=raw.general,
        fixed_counters=raw.fixed,
        counters=raw.counter_models,
        overflows=raw.overflow_models,
        overflows_untried=raw.overflows_untried,
        advertised=raw.registers,
        elapsed_s=round(elapsed, 4),
        qemu_version=version,
    )


def _answer(argv: list[str], deadline: Deadline, stderr: IO[bytes]) -> tuple[RawAnswer, float]:
    """Run QEMU until the probe's line is complete: the answer, and the seconds until then. Ends QEMU."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    with cast(IO[bytes], process.stdout) as pipe:
        try:
            line = _read_line(pipe, deadline)
            elapsed = deadline.elapsed()
            if not line:
                process.wait(deadline.remaining())  # its own exit status is the evidence
        except subprocess.TimeoutExpired:
            raise deadline.error() from None
        finally:
            _end(process)
    if not line.strip():
        # Warnings come before the reason, hints ("Use -machine help ...") behind it.
        said = next((s for s in _tail(stderr).splitlines() if s and " warning: " not in s), "it said nothing")
        raise QemuError(
            f"QEMU ended with status {process.returncode} before the PMU probe answered: {said}",
            remedy="check the accelerator, machine and CPU names",
        )
    return parse_answer(line), elapsed


def _read_line(pipe: IO[bytes], deadline: Deadline) -> bytes:
    """All up to the end of the first line, or to the end of the output when there is none."""
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while b"\n" not in seen and len(seen) < MAX_ANSWER_BYTES:
            if not selector.select(deadline.remaining()):
                raise deadline.error()
            chunk = os.read(pipe.fileno(), 4096)
            if not chunk:
                break
            seen += chunk
            deadline.last_seen = f"{len(seen)} bytes of the answer, ending in {seen[-40:]!r}"
    return seen.partition(b"\n")[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    """After the answer, or without one, there is nothing left for QEMU to do that is worth waiting for."""
    process.kill()
    try:
        process.wait(KILL_WAIT_S * timeout_factor())
    except subprocess.TimeoutExpired:
        raise QemuError(
            f"QEMU (process {process.pid}) does not end after SIGKILL",
            remedy="the kernel holds it, mostly in KVM: restart the host if it stays",
        ) from None


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - STDERR_TAIL_BYTES))
    return file.read().decode(errors="replace")
