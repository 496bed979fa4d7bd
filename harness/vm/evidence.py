"""Everything that can still be learned of a machine that went wrong, within a time that was set beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from harness.config.models import Model
from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.dumps.bugchecks import Bugcheck
from harness.dumps.read import read_dump
from harness.dumps.triage import triage as dump_triage
from harness.errors import DeadlineExceeded, DumpError, GuestError, HalpmcError
from harness.vm.faults import bugcheck_of, fault, stopped
from harness.vm.memory_dump import dump_memory
from harness.vm.pictures import take_screen
from harness.vm.process import process_report, tail
from harness.vm.qmp import QmpEvent
from harness.vm.registers import CpuState, cpu_states, describe
from harness.vm.vm import Vm

INDEX = "index.json"
DUMP_LIMIT_MIB = 4096
TAIL_BYTES = 64 << 10
EVENTS = 200
#: The largest part of the budget for one step. The sum may pass 1: a step that answers takes a moment, and after one
#: that does not, no more are tried. What is left over is the memory dump's.
STEP_SHARE = 0.3
#: No step needs more than this, however large the budget.
STEP_S, NMI_S = 5.0, 15.0
#: Kept back for what waits for nobody: small files and the index.
RESERVE_SHARE = 0.05
LOOKS = 2
REACTIONS = ("GUEST_PANICKED", "GUEST_CRASHLOADED", "RESET", "SHUTDOWN")

Reach = Literal["answers", "silent", "gone"]


class EvidenceFile(Model):
    """A file of the evidence: its name in the folder, what it is in one line, its size in bytes."""

    name: str
    what: str
    size: int


class Note(Model):
    """A step that brought no file, and why."""

    step: str
    why: str


class Evidence(Model):
    """What was collected. `triage` is the one sentence to read first.

    `reach` says how far the harness came: QEMU answers, is silent, or is gone. `status` is QEMU's own word for the
    machine's state, empty when it did not answer. `bugcheck` is what Windows told QEMU, also in answer to an NMI.
    Times in seconds, the budget as scaled.
    """

    triage: str
    reach: Reach
    status: str
    bugcheck: Bugcheck | None
    files: tuple[EvidenceFile, ...]
    notes: tuple[Note, ...]
    budget_s: float
    seconds: float


def collect(
    vm: Vm, folder: Path, budget_s: float, *, hung: bool = False, dump_limit_mib: int = DUMP_LIMIT_MIB
) -> Evidence:
    """Collect into `folder`, which is made, and write the result there as index.json too.

    Never takes longer than `budget_s` (scaled as all deadlines are), and never fails because of the machine: a
    step that fails becomes a note. With `hung` a running guest gets an NMI, which a Windows prepared for it answers
    with a bug check. A guest that hangs, or came to an end of its own, is dumped from the host, unless
    `dump_limit_mib` is 0. The machine is good for nothing but closing afterwards. Raises OSError when the folder
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    collector = _Collector(vm, folder, budget_s)
    collector.host_side()
    if collector.reach == "answers":
        collector.look()
        if hung and collector.status == "running":
            collector.poke()
        if (hung or isinstance(collector.fault, GuestError)) and dump_limit_mib:
            collector.dump(dump_limit_mib)
    return collector.result(hung)


def write_index(folder: Path, evidence: Evidence) -> None:
    """index.json of a folder of evidence."""
    (folder / INDEX).write_text(json.dumps(evidence.model_dump(mode="json"), indent=2) + "\n")


class _Collector:
    """The steps, and what they have found so far."""

    def __init__(self, vm: Vm, folder: Path, budget_s: float) -> None:
        self.reach: Reach = "silent"
        self.status = ""
        self.fault: HalpmcError | None = None
        self._vm = vm
        self._folder = folder
        self._budget = Deadline("evidence", budget_s * (1 - RESERVE_SHARE))
        self._budget_s = budget_s
        self._files: list[EvidenceFile] = []
        self._notes: list[Note] = []
        self._cpus: list[tuple[CpuState, ...]] = []
        self._bugcheck: Bugcheck | None = None
        self._process = ""
        self._deaf = False
        self._reaction = ""
        self._reacted = False

    # -- steps -------------------------------------------------------------------------------------

    def host_side(self) -> None:
        """What needs no answer of QEMU; and whether it does answer."""
        self._try("serial log", self._serial_log)
        self._try("QEMU's messages", self._qemu_log)
        self._try("QMP", self._status, STEP_S)
        self._try("process", self._process_state)
        self._try("faults", self._first_fault)

    def look(self) -> None:
        """What QEMU tells of the machine without changing it."""
        self._ask("registers", lambda limit: self._registers(limit, "registers.txt", "registers of all CPUs"))
        self._ask("screen", lambda limit: self._screen(limit, "screen.png", "the screen"))
        self._ask("CPUs", self._cpu_list)
        later = "the registers a moment later"
        self._ask(later, lambda limit: self._registers(limit, "registers-later.txt", later))

    def poke(self) -> None:
        """An NMI, and what the guest makes of it."""
        self._ask("NMI", self._nmi, NMI_S)
        if self._reacted:
            step = "the screen after the NMI"
            self._ask(step, lambda limit: self._screen(limit, "screen-after-nmi.png", step))

    def dump(self, limit_mib: int) -> None:
        """The guest's memory, in the time that is left."""
        self._ask("memory dump", lambda _: self._memory(self._budget.remaining_unscaled(), limit_mib))

    def result(self, hung: bool) -> Evidence:
        """The events (all steps are over), the sentence, the index."""
        self._try("QMP events", self._events)
        evidence = Evidence(
            triage=self._triage(hung),
            reach=self.reach,
            status=self.status,
            bugcheck=self._bugcheck,
            files=tuple(self._files),
            notes=tuple(self._notes),
            budget_s=self._budget_s * timeout_factor(),
            seconds=round(self._budget.elapsed(), 3),
        )
        write_index(self._folder, evidence)
        return evidence

    def _try(self, step: str, action: Callable[[float], None], at_most: float = STEP_S) -> None:
        """Run a step with its share of the budget, in seconds to be handed to something that scales them."""
        limit = min(STEP_SHARE * self._budget_s, self._budget.remaining_unscaled(), at_most)
        try:
            action(limit)
        except DeadlineExceeded as error:
            self._note(step, error.message)
            self._deaf = True
        except HalpmcError as error:
            self._note(step, error.message)
        except Exception as error:
            # Evidence is collected for another fault, which must not be hidden by one of its own.
            self._note(step, f"{type(error).__name__}: {error}")

    def _ask(self, step: str, action: Callable[[float], None], at_most: float = STEP_S) -> None:
        """A step that needs QEMU's answer: not tried once one did not come, since every further one would wait too."""
        if self._deaf:
            self._note(step, "QEMU does not answer any more")
        elif self._budget.expired():
            self._note(step, "no time was left")
        else:
            self._try(step, action, at_most)

    # -- what a step does --------------------------------------------------------------------------

    def _serial_log(self, _: float) -> None:
        if self._vm.machine.serial_log is not None:
            self._tail("serial-tail.log", self._vm.machine.serial_log, "end of the serial log")

    def _qemu_log(self, _: float) -> None:
        self._tail("qemu-tail.log", self._vm.process.log, "end of QEMU's messages")

    def _process_state(self, _: float) -> None:
        process = self._vm.process
        if process.status is not None:
            self.reach = "gone"
            self._process = process.ended()
            return
        report = process_report(process.pid)
        self._process = report.splitlines()[0]
        self._text("process.txt", report, "QEMU's process and threads as the host sees them")

    def _status(self, limit: float) -> None:
        self.status = str(self._vm.execute("query-status", timeout_s=limit)["status"])
        self.reach = "answers"

    def _screen(self, limit: float, name: str, what: str) -> None:
        path = self._folder / name
        take_screen(self._vm.qmp, path, timeout_s=limit)
        self._add(path, what)

    def _registers(self, limit: float, name: str, what: str) -> None:
        text = self._vm.qmp.monitor("info registers -a", timeout_s=limit)
        self._text(name, text, what)
        self._cpus.append(cpu_states(text))

    def _cpu_list(self, limit: float) -> None:
        answer = self._vm.execute("query-cpus-fast", timeout_s=limit)
        self._text("cpus.json", json.dumps(answer, indent=2), "the CPUs and their threads on the host")

    def _nmi(self, limit: float) -> None:
        deadline = Deadline("reaction to the NMI", limit)
        before, serial = self._vm.qmp.events, self._serial_size()
        self._vm.execute("inject-nmi", timeout_s=limit)

        def reacted(_: Deadline) -> str | None:
            news = [event for event in self._vm.qmp.events if event not in before and event.name in REACTIONS]
            return self._in_words(news[0]) if news else None

        try:
            self._reaction = wait_for(deadline.name, deadline.remaining_unscaled(), reacted)
            self._reacted = True
        except DeadlineExceeded:  # a finding, not a failure: QEMU did answer
            self._reacted = self._serial_size() > serial
            lesser = "it wrote to its serial port" if self._reacted else "it showed no reaction"
            self._reaction = f"{lesser} within {limit:.1f} s"

    def _memory(self, limit: float, limit_mib: int) -> None:
        vm = self._vm
        try:
            path = dump_memory(vm.qmp, vm.machine, self._folder, limit_mib=limit_mib, timeout_s=limit)
        except DeadlineExceeded as error:  # a long dump: QEMU itself is not deaf
            self._note("memory dump", error.message)
            return
        try:
            what = dump_triage(read_dump(path))
        except DumpError as error:
            what = f"not understood: {error.message}"
        self._add(path, f"memory dump: {what}")

    def _events(self, _: float) -> None:
        events = self._vm.qmp.events[-EVENTS:]
        self._bugcheck = next(filter(None, map(bugcheck_of, events)), None)
        if not events:
            self._note("QMP events", "there were none")
            return
        self._text("qmp-events.txt", "\n".join(map(str, events)), f"the last {len(events)} events of QEMU")

    # -- files and words ---------------------------------------------------------------------------

    def _tail(self, name: str, log: Path, what: str) -> None:
        text = tail(log, TAIL_BYTES)
        if not text:
            self._note(what, f"{log.name} is empty" if log.exists() else f"there is no {log.name}")
            return
        self._text(name, text, what)

    def _text(self, name: str, text: str, what: str) -> None:
        path = self._folder / name
        path.write_text(text.replace("\r\n", "\n").rstrip() + "\n")
        self._add(path, what)

    def _add(self, path: Path, what: str) -> None:
        self._files.append(EvidenceFile(name=path.name, what=what, size=path.stat().st_size))

    def _note(self, step: str, why: str) -> None:
        self._notes.append(Note(step=step, why=why))

    def _serial_size(self) -> int:
        log = self._vm.machine.serial_log
        return log.stat().st_size if log is not None and log.exists() else 0

    def _first_fault(self, _: float) -> None:
        """What QEMU told before anything was done to the guest; else what its state means."""
        reboots = self._vm.machine.on_reboot == "reset"
        faults = (fault(event, reboots=reboots) for event in self._vm.qmp.events)
        self.fault = next((error for error in faults if error is not None), None)
        if self.fault is None and self.status not in ("", "running"):
            self.fault = stopped(self.status)

    def _in_words(self, event: QmpEvent) -> str:
        seen = bugcheck_of(event)
        return f"it answered with {seen}" if seen else f"it answered with {event.name}"

    def _triage(self, hung: bool) -> str:
        if self.reach == "gone":
            words = tail(self._vm.process.log).splitlines()
            return f"QEMU is gone ({self._process}); its last words: {words[-1] if words else 'none'}"
        if self.reach == "silent":
            return f"QEMU does not answer; its process: {self._process}"
        what = self.fault.message if self.fault else f"the guest {'hangs' if hung else 'runs'}"
        said = [what, describe(self._cpus[0], self._cpus[-1]) if len(self._cpus) == LOOKS else ""]
        if self._reaction:
            said.append(f"after an NMI {self._reaction}")
        if self._deaf:
            said.append("QEMU fell silent while evidence was collected")
        return "; ".join(filter(None, said))
