"""Benchmarks of the VM engine: how long a guest takes to answer, by each way of starting it; what an operation costs.

Every figure is the median of several rounds, and the ways take turns within a round, so that the ratios hold on a
machine whose speed drifts.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Cell
from harness.driver import deploy
from harness.errors import GuestError
from harness.guest.transport import ExecResult
from harness.probe.accelerator import accelerator_for
from harness.runs.start import GuestStarter
from harness.vm.machine import Machine
from harness.vm.state import Mechanism
from harness.vm.vm import Vm

COMMAND = "ver"
COMMAND_S = 120.0
AT_ONCE = 8
KIB = 1 << 10
MIB = 1 << 20
DIGITS = 4

Figures = dict[str, float]


@contextmanager
def clock(times: dict[str, list[float]], name: str) -> Iterator[None]:
    """Add the seconds of what runs inside to `times[name]`."""
    start = time.monotonic()
    yield
    times[name].append(time.monotonic() - start)


def bench_clone(cell: Cell, rounds: int, *, say: Say) -> Figures:
    """Seconds until a guest answers, by start; see docs/performance.md for what each key means."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as name:
        home = Path(name)
        say("making templates")
        by_ram = _starter(cell, home, (Mechanism.RAM_FILE,))
        by_snapshot = _starter(cell, home, (Mechanism.SNAPSHOT,))
        cold = _starter(cell, home, ())
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            folder = home / f"round-{number}"
            folder.mkdir()
            with clock(times, "bare_qemu_s"), Vm(_bare(by_ram, folder), folder):
                pass
            with clock(times, "template_s"):
                (folder / "template").mkdir()
                cold.make_template(folder / "template", Mechanism.RAM_FILE)
            with clock(times, "cold_s"):
                _first_command(cold, folder, times, "cold")
            with clock(times, "clone_s"):
                _first_command(by_ram, folder, times, "clone")
            with clock(times, "loadvm_s"):
                _first_command(by_snapshot, folder, times, "loadvm")
            if by_ram.isolated:
                _first_allocate(by_ram, folder, times)
        with clock(times, "eight_clones_s"):
            _at_once(by_ram, home)
    figures = {key: round(statistics.median(values), DIGITS) for key, values in sorted(times.items())}
    figures["cold_per_clone"] = round(figures["cold_s"] / figures["clone_s"], 2)
    if "serial_clone_s" in figures:
        figures["cold_per_serial_clone"] = round(figures["cold_s"] / figures["serial_clone_s"], 2)
    return figures


def bench_op(cell: Cell, rounds: int, *, say: Say) -> Figures:
    """Seconds of one allocate and free in the client's session, against one SSH command with a client process each."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="halpmc-bench-") as name:
        home = Path(name)
        say("making the template")
        starter = _starter(cell, home, (Mechanism.RAM_FILE,))
        with (
            starter.start(home) as guest,
            starter.clients.connect(guest.vm, home) as transport,
            guest.open() as device,
        ):
            client = deploy.client_path(starter.definition)
            command = f"{client} info --device {deploy.SERVICES[0]}"
            say(f"{rounds} rounds of 20 operations and one command")
            for _ in range(rounds):
                for _ in range(20):
                    with clock(times, "op_s"):
                        device.free(device.allocate().handle)
                with clock(times, "exec_s"):
                    _succeeded(transport.exec(command, timeout_s=COMMAND_S))
    figures = {key: round(statistics.median(values), DIGITS + 2) for key, values in sorted(times.items())}
    figures["exec_per_op"] = round(figures["exec_s"] / figures["op_s"], 1)
    return figures


def _starter(cell: Cell, folder: Path, mechanisms: tuple[Mechanism, ...]) -> GuestStarter:
    definition = load_guest(cell.guest or "")
    accel = accelerator_for(cell).accel
    starter = GuestStarter(cell, definition, accel=accel)
    if mechanisms:
        starter.prepare(folder, mechanisms)
        if not starter.how.startswith("clone"):
            raise GuestError(f"guests of this kind cannot be cloned here: {starter.how}")
    return starter


def _bare(starter: GuestStarter, folder: Path) -> Machine:
    """The same machine with nothing to run."""
    return starter.machine(folder).model_copy(update={"disk": None, "lane_device": None})


def _first_command(starter: GuestStarter, folder: Path, times: dict[str, list[float]], name: str) -> None:
    with clock(times, f"{name}_vm_s"):
        vm = starter.vm(folder)
        vm.__enter__()
    try:
        with starter.clients.connect(vm, folder) as transport:
            for step, seconds in transport.timings.items():
                times[f"{name}_{step}_s"].append(seconds)
            with clock(times, f"{name}_exec_s"):
                _succeeded(transport.exec(COMMAND, timeout_s=COMMAND_S))
    finally:
        vm.close()


def _first_allocate(starter: GuestStarter, folder: Path, times: dict[str, list[float]]) -> None:
    """From nothing until the first allocate is answered over the serial lane; then what the idle clone costs."""
    start = time.monotonic()
    with starter.start(folder) as guest, guest.open() as device:
        call = device.allocate()
        times["serial_clone_s"].append(time.monotonic() - start)
        if call.status != 0:
            raise GuestError(f"the clone's first allocate answers {call.answer}")
        private = private_bytes(guest.vm.process.pid)
        times["clone_private_fraction"].append(private / (starter.cell.memory_mib * MIB))


def _at_once(starter: GuestStarter, home: Path) -> None:
    """Several clones at the same time; all of them have to answer."""

    def answer(number: int) -> None:
        folder = home / f"at-once-{number}"
        folder.mkdir()
        with starter.start(folder) as guest, guest.open() as device:
            device.free(device.allocate().handle)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(answer, range(AT_ONCE)))


def _succeeded(done: ExecResult) -> None:
    if done.exit_code != 0:
        raise GuestError(f"the guest's command ended with exit code {done.exit_code}: {done.stderr}")


def private_bytes(pid: int) -> int:
    """Memory that a process has for itself alone: what it wrote, not what it maps of files (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) * KIB for kib in re.findall(r"^Private_Dirty:\s+(\d+) kB$", text, re.MULTILINE))
