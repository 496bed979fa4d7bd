"""One running VM: started, watched, and gone without a trace."""

from __future__ import annotations

import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from harness.errors import HalpmcError, QemuError
from harness.vm.faults import fault, stopped
from harness.vm.machine import Machine, argv, qmp_control
from harness.vm.overlay import fd_path, nameless_overlay
from harness.vm.phases import OnPhase, Phases
from harness.vm.process import QemuProcess, tail
from harness.vm.qmp import CLOSED, COMMAND_S, Qmp, QmpEvent
from harness.vm.state import load_state

E = TypeVar("E", bound=HalpmcError)

START_S = 30.0
QUIT_S = 3.0
OVERLAY_DIR = "/var/tmp"  # noqa: S108 - nothing in it ever has a name; unlike /tmp it is no RAM disk
TERM_S = 2.0
LAST_EVENTS = 12


class Vm:
    """A QEMU machine as a context manager: running inside, gone afterwards, whatever happened.

    `folder` gets qemu.log and qmp-events.jsonl. The overlay with the guest's writes is a file without a name
    in `overlay_dir` (default: $TMPDIR, else /var/tmp). With `state` the machine does not boot: it goes on from
    the state saved there (see harness.vm.template). Measures the phase "qemu": from the start of the
    process until the CPUs run.

    Raises QemuError when QEMU refuses the machine, ToolMissing, DeadlineExceeded. QEMU ends with the harness
    even when that is killed. A signal that should end the harness in order must raise in the main thread
    (SystemExit, as Ctrl-C raises KeyboardInterrupt); the `with` block then ends the VM.
    """

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        *,
        overlay_dir: Path | None = None,
        state: Path | None = None,
        on_phase: OnPhase | None = None,
    ) -> None:
        self.machine = machine
        self.folder = folder
        self.phases = Phases(on_phase)
        self.ended_by = ""
        self._overlay_dir = overlay_dir or Path(os.environ.get("TMPDIR", OVERLAY_DIR))
        self._state = state
        self._process: QemuProcess | None = None
        self._qmp: Qmp | None = None
        self._ssh_port: int | None = None
        self._fault: QmpEvent | None = None
        self._stopped = False
        self._pausing = False

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> Vm:
        try:
            with self.phases("qemu"):
                self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        with ExitStack() as inherited:  # QEMU has its own copies of what is opened here
            ours, theirs = socket.socketpair()
            inherited.enter_context(theirs)
            self._qmp = Qmp(ours, on_event=self._on_event, log=self.folder / "qmp-events.jsonl")
            fds, overlays = [theirs.fileno()], []
            if self.machine.disk is not None and self.machine.disk_snapshot:
                overlay = nameless_overlay(self.machine.disk, self.machine.disk_format, self._overlay_dir)
                overlays.append(fd_path(inherited.enter_context(overlay).fileno()))
                fds.append(overlay.fileno())
            control = qmp_control(fds[0], *overlays, incoming=self._state is not None)
            self._process = QemuProcess(argv(self.machine, control), self.folder / "qemu.log", pass_fds=fds)
            self._process.start()
        try:
            self._qmp.connect(START_S)
        except QemuError:
            if self._qmp.lost != CLOSED or not self._process.wait(QUIT_S):
                raise
            raise self._died("QEMU refused the machine") from None
        if self._state is not None:
            with self._state.open("rb") as state:
                load_state(self.qmp, state.fileno())
        self._ssh_port = self._forwarded_port()
        self.execute("cont")

    def close(self) -> None:
        """End QEMU (quit, SIGTERM, SIGKILL) and free everything; `ended_by` tells how. Idempotent."""
        try:
            if self._process is not None:
                ended_by = self._process.stop(self._ask_to_quit, ask_s=QUIT_S, term_s=TERM_S)
                self.ended_by = self.ended_by or ended_by
        finally:
            if self._qmp is not None:
                self._qmp.close()

    def _ask_to_quit(self) -> bool:
        try:
            self.execute("quit", timeout_s=QUIT_S)
        except HalpmcError:
            return False  # deaf or gone: the next step of the ladder deals with it
        return True

    def power_down(self, timeout_s: float) -> None:
        """Press the power button and wait until the guest is off. Raises DeadlineExceeded, GuestPanicked.

        The VM stays, powered off, until it is closed; `check` now reports that the guest is off.
        """
        self.execute("system_powerdown")
        event = self.qmp.wait_event("SHUTDOWN", "GUEST_PANICKED", timeout_s=timeout_s)
        if event.name != "SHUTDOWN":
            self.check()

    # -- watching ----------------------------------------------------------------------------------

    def _on_event(self, event: QmpEvent) -> None:
        """In the pump's thread."""
        if event.name in ("STOP", "RESUME"):
            self._stopped = event.name == "STOP" and not self._pausing
        if self._fault is None and self._judge(event):
            self._fault = event

    def _judge(self, event: QmpEvent) -> HalpmcError | None:
        return fault(event, reboots=self.machine.on_reboot == "reset")

    def check(self) -> None:
        """Return if the VM is alive and well; else raise at once what is wrong, with evidence.

        GuestPanicked; GuestError (the guest reset or shut down unasked); InfrastructureError (QEMU stopped
        it: disk full …); QemuError (died, or told to end by something else).
        """
        if self._fault is not None and (error := self._judge(self._fault)):
            raise self._with_evidence(error)
        if self.process.status is not None or self.qmp.lost:
            raise self._died("QEMU died")
        if self._stopped:
            status = str(self.execute("query-status", timeout_s=COMMAND_S)["status"])
            if status != "running":
                raise self._with_evidence(stopped(status))

    def execute(self, command: str, *, timeout_s: float = COMMAND_S, **arguments: Any) -> Any:
        """Run a QMP command. Raises QemuError, DeadlineExceeded."""
        return self.qmp.execute(command, timeout_s=timeout_s, **arguments)

    def pause(self) -> None:
        """Stop the CPUs on purpose; `check` accepts it."""
        self._pausing = True
        self.execute("stop")

    def resume(self) -> None:
        """Let the CPUs run again."""
        self.execute("cont")
        self._pausing = False

    @property
    def qmp(self) -> Qmp:
        """The machine's QMP connection."""
        if self._qmp is None:
            raise QemuError("the VM was not started")
        return self._qmp

    @property
    def process(self) -> QemuProcess:
        """The machine's process."""
        if self._process is None:
            raise QemuError("the VM was not started")
        return self._process

    @property
    def ssh_port(self) -> int:
        """Port on 127.0.0.1 that leads to the guest's SSH server."""
        if self._ssh_port is None:
            raise QemuError("the machine has no network")
        return self._ssh_port

    def _forwarded_port(self) -> int | None:
        """Ask QEMU which port it has picked: it did so itself, so nobody can have taken it meanwhile."""
        if self.machine.net_device is None:
            return None
        table = self.qmp.monitor("info usernet")
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", table)
        if found is None:
            raise QemuError("QEMU does not say which port it forwards", evidence={"info usernet": table})
        return int(found.group(1))

    # -- evidence ----------------------------------------------------------------------------------

    def _died(self, what: str) -> QemuError:
        """The error for a process that is gone."""
        self.process.wait(TERM_S)  # its connection closes a moment before it can be reaped
        said = tail(self.process.log).splitlines()
        message = f"{what} ({self.process.ended()}){': ' + said[-1] if said else ''}"
        remedy = "run.sh in the cell's folder starts the same machine by hand"
        return self._with_evidence(QemuError(message, remedy=remedy))

    def _with_evidence(self, error: E) -> E:
        events = "\n".join(map(str, self.qmp.events[-LAST_EVENTS:]))
        logs = {
            "qemu": tail(self.process.log),
            "events": events,
            "serial": tail(self.machine.serial_log) if self.machine.serial_log else "",
        }
        error.evidence.update({title: text for title, text in logs.items() if text})
        return error
