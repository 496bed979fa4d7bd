"""One running VM: started, watched, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from harness.deadlines import Deadline, wait_for
from harness.errors import DeadlineExceeded, HalpmcError, InfrastructureError, QemuError
from harness.vm.command_line import argv
from harness.vm.faults import fault, stopped
from harness.vm.host_ends import HostEnds
from harness.vm.machine import Machine
from harness.vm.media import device_id
from harness.vm.phases import OnPhase, Phases
from harness.vm.ports import HELD, Ports
from harness.vm.process import ChildProcess, tail
from harness.vm.qmp import CLOSED, COMMAND_S, Qmp, QmpEvent
from harness.vm.state import Mechanism, SavedState, load_snapshot, load_stream

E = TypeVar("E", bound=HalpmcError)

START_S = 30.0
QUIT_S = 3.0
PRESS_AGAIN_S = 20.0
RESET_S = 10.0
OVERLAY_DIR = "/var/tmp"  # noqa: S108 - nothing in it ever has a name; unlike /tmp it is no RAM disk
TERM_S = 2.0
LAST_EVENTS = 12
BEHIND_THE_DISK = 2


class Vm:
    """A QEMU machine as a context manager: running inside, gone afterwards, whatever happened.

    `folder` gets qemu.log and qmp-events.jsonl. The overlay with the guest's writes is a file without a name
    in `overlay_dir` (default: $TMPDIR, else /var/tmp). With `saved` the machine does not boot: it goes on from
    that state (see harness.vm.template). `ports` are for people (see harness.vm.ports). Measures the phase
    "qemu": from the start of the process until the CPUs run.

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
        saved: SavedState | None = None,
        ports: Ports | None = None,
        on_phase: OnPhase | None = None,
    ) -> None:
        self.machine = machine
        self.folder = folder
        self.phases = Phases(on_phase)
        self.ended_by = ""
        self._saved = saved
        #: What it shares with the host: sockets, and the file with the guest's writes.
        self.ends = HostEnds(
            machine,
            folder,
            saved=saved,
            overlay_dir=overlay_dir or Path(os.environ.get("TMPDIR", OVERLAY_DIR)),
            ports=ports or Ports(),
        )
        self._process: ChildProcess | None = None
        self._qmp: Qmp | None = None
        self._ssh_port: int | None = None
        self._fault: QmpEvent | None = None
        self._stopped = False
        self._pausing = False
        self._expected: frozenset[str] = frozenset()

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
            control, fds = self.ends.open(inherited, theirs.fileno())
            self._process = ChildProcess(argv(self.machine, control), self.folder / "qemu.log", pass_fds=fds)
            self._process.start()
        try:
            self._qmp.connect(START_S)
        except QemuError:
            if self._qmp.lost != CLOSED or not self._process.wait(QUIT_S):
                raise
            raise self._died("QEMU refused the machine") from None
        self.ends.ports.started()
        self._take_up()
        if self.machine.boot == "medium-once":
            self._boot_the_disk_next()
        try:
            self.execute("cont")
        except QemuError:
            if self.qmp.lost and self.process.wait(QUIT_S):
                raise self._died("QEMU died before its CPUs ran") from None
            raise

    def _boot_the_disk_next(self) -> None:
        """Put the medium behind the disk: firmware is told the order at every reset, and this start's already."""
        path = f"/machine/peripheral/{device_id(0)}"
        self.execute("qom-set", path=path, property="bootindex", value=BEHIND_THE_DISK)

    def _take_up(self) -> None:
        """Load the saved state, if there is one."""
        if self._saved is None:
            return
        try:
            if self._saved.mechanism is Mechanism.SNAPSHOT:
                load_snapshot(self.qmp)
            elif self._saved.stream is not None:
                load_stream(self.qmp, self._saved.stream)
        except QemuError as error:
            if self.process.wait(QUIT_S if self.qmp.lost else 0.0):
                raise self._died("QEMU could not take up the saved state") from None
            raise self._with_evidence(error) from None
        except OSError as error:
            raise InfrastructureError(f"the saved state cannot be read: {error}") from None

    def close(self) -> None:
        """End QEMU (quit, SIGTERM, SIGKILL) and free everything; `ended_by` tells how. Idempotent."""
        try:
            if self._process is not None:
                ended_by = self._process.stop(self._ask_to_quit, ask_s=QUIT_S, term_s=TERM_S)
                self.ended_by = self.ended_by or ended_by
        finally:
            if self._qmp is not None:
                self._qmp.close()
            self.ends.close()

    def _ask_to_quit(self) -> bool:
        try:
            self.execute("quit", timeout_s=QUIT_S)
        except HalpmcError:
            return False  # deaf or gone: the next step of the ladder deals with it
        return True

    def power_down(self, timeout_s: float) -> None:
        """Press the power button, now and then again, and wait until the guest is off.

        A Windows whose screen sleeps only wakes it at the first press. The VM stays, powered off, until it is closed;
        `check` now reports that the guest is off. Raises DeadlineExceeded, GuestPanicked.
        """

        def ended(deadline: Deadline) -> QmpEvent | None:
            self.execute("system_powerdown")
            patience = min(PRESS_AGAIN_S, deadline.remaining_unscaled())
            with contextlib.suppress(DeadlineExceeded):
                return self.qmp.wait_event("SHUTDOWN", "GUEST_PANICKED", timeout_s=patience)
            return None

        if wait_for("the guest to power itself off", timeout_s, ended).name != "SHUTDOWN":
            self.check()

    def reboot(self, timeout_s: float = RESET_S) -> None:
        """Reset the machine, whatever state it is in: it boots from its disk as that is now.

        What was wrong with it before is forgotten; from now on the guest may reset itself. Raises QemuError,
        DeadlineExceeded.
        """
        self.machine = self.machine.model_copy(update={"on_reboot": "reset"})
        self.execute("set-action", reboot="reset", timeout_s=timeout_s)
        before = self.qmp.events
        self.execute("system_reset", timeout_s=timeout_s)

        def was_reset(_: Deadline) -> bool | None:
            news = (event for event in self.qmp.events if event not in before)
            return True if any(event.name == "RESET" for event in news) else None

        wait_for("the machine's reset", timeout_s, was_reset)  # which comes after the command's answer
        self._fault = None
        self.execute("cont", timeout_s=timeout_s)

    # -- watching ----------------------------------------------------------------------------------

    def _on_event(self, event: QmpEvent) -> None:
        """In the pump's thread."""
        if event.name in ("STOP", "RESUME"):
            self._stopped = event.name == "STOP" and not self._pausing
        if self._fault is None and self._judge(event):
            self._fault = event

    def _judge(self, event: QmpEvent) -> HalpmcError | None:
        if event.name in self._expected:
            return None
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
        self.ends.check()
        if self._stopped:
            status = str(self.execute("query-status", timeout_s=COMMAND_S)["status"])
            if status != "running" and not (self.ends.ports.debugged and status in HELD):
                raise self._with_evidence(stopped(status))

    def execute(self, command: str, *, timeout_s: float = COMMAND_S, **arguments: Any) -> Any:
        """Run a QMP command. Raises QemuError, DeadlineExceeded."""
        return self.qmp.execute(command, timeout_s=timeout_s, **arguments)

    @contextmanager
    def expecting(self, *events: str) -> Generator[None, None, None]:
        """These events are wanted here, and no fault: SUSPEND, or RESET, from which the guest comes back."""
        self._expected = frozenset(events)
        if "RESET" in events:
            self.execute("set-action", reboot="reset")
        try:
            yield
        finally:
            if "RESET" in events and not self.qmp.lost:
                self.execute("set-action", reboot=self.machine.on_reboot)
            self._expected = frozenset()

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
    def process(self) -> ChildProcess:
        """The machine's process."""
        if self._process is None:
            raise QemuError("the VM was not started")
        return self._process

    @property
    def ssh_port(self) -> int:
        """Port on 127.0.0.1 that leads to the guest's SSH server."""
        if self._ssh_port is None:
            self._ssh_port = self._forwarded_port()
        return self._ssh_port

    def _forwarded_port(self) -> int:
        """Ask QEMU which port it has picked: it did so itself, so nobody can have taken it meanwhile."""
        if self.machine.net_device is None:
            raise QemuError("the machine has no network")
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
