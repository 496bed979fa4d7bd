"""After a guest's kernel crashed: what the guest itself kept of it, taken out on its next boot."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from harness.config.models import GuestDefinition
from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.dumps.read import read_dump
from harness.dumps.triage import triage
from harness.errors import DumpError, HalpmcError
from harness.guest.ssh import SshTransport
from harness.guest.transport import Transport
from harness.vm.evidence import Evidence, EvidenceFile, Note, write_index
from harness.vm.faults import bugcheck_of
from harness.vm.vm import Vm

#: A kernel that said it would write its own dump gets this long, in seconds: it ends in a reset.
DUMP_S = 300.0
EXPORT_S = 60.0
#: Larger dumps stay where they are.
LIMIT_BYTES = 4 << 30
LOADED = "GUEST_CRASHLOADED"
PANICKED = "guest-panicked"
CRASHES = frozenset({"GUEST_PANICKED", LOADED})
RESETS = frozenset({"guest-reset", "guest-panic"})
Connect = Callable[[], SshTransport]


def crashed(vm: Vm) -> bool:
    """Whether the guest's kernel stopped, or reset the machine, as far as QEMU was told."""
    return any(
        event.name in CRASHES or (event.data.get("guest") and event.data.get("reason") in RESETS)
        for event in vm.qmp.events
    )


def next_boot(
    vm: Vm,
    definition: GuestDefinition,
    connect: Connect,
    since: datetime,
    folder: Path,
    evidence: Evidence,
    ours: Collection[str],
) -> Evidence:
    """Let a crashed guest boot again and fetch its dumps that are not older than `since`, and its event log.

    They go into `folder`; the index there, and the evidence that is returned, tell of them or why there are none.
    `connect` logs in; `ours` are the names of drivers to implicate or to clear. Never fails because of the guest.
    """
    deadline = Deadline("the guest's next boot", 0.0)
    found = _Findings(folder, ours)
    try:
        _let_it_finish(vm)
    except HalpmcError as error:  # what there is of it may be enough, and the event log is there anyhow
        found.note("the guest's own dump", error.message)
    try:
        vm.reboot()
        with connect() as transport:
            for place in definition.crash.dumps:
                found.dumps(transport, place, since)
            if definition.crash.event_log:
                found.event_log(transport, definition)
    except HalpmcError as error:
        found.note("the guest's next boot", error.message)
    result = evidence.model_copy(
        update={
            "files": (*evidence.files, *found.files),
            "notes": (*evidence.notes, *found.notes),
            "triage": "; ".join([evidence.triage, *(f"its own dump: {said}" for said in found.said)]),
            "seconds": round(evidence.seconds + deadline.elapsed(), 3),
            "budget_s": evidence.budget_s + budget_s(definition) * timeout_factor(),
        }
    )
    write_index(folder, result)
    return result


def budget_s(definition: GuestDefinition) -> float:
    """The longest that `next_boot` may take but for copying, unscaled, in seconds."""
    return DUMP_S + EXPORT_S + definition.timeouts.banner_s + definition.timeouts.login_s


def _let_it_finish(vm: Vm) -> None:
    """A guest that writes its own dump does so before it resets; any other one stands still already.

    Windows tells its bug check through Hyper-V's registers first, and QEMU has stopped it right there.
    """
    if vm.execute("query-status")["status"] == PANICKED and any(map(bugcheck_of, vm.qmp.events)):
        vm.execute("cont")
    elif not any(event.name == LOADED for event in vm.qmp.events):
        return

    def ended(wait: Deadline) -> bool | None:
        wait.last_seen = str(vm.execute("query-status")["status"])
        return True if wait.last_seen != "running" else None

    wait_for("the guest's writing of its dump", DUMP_S, ended)


class _Findings:
    """What came out, what did not, and what the dumps say."""

    def __init__(self, folder: Path, ours: Collection[str]) -> None:
        self.files: list[EvidenceFile] = []
        self.notes: list[Note] = []
        self.said: list[str] = []
        self._folder = folder
        self._ours = ours

    def note(self, step: str, why: str) -> None:
        """A step that brought nothing."""
        self.notes.append(Note(step=step, why=why))

    def dumps(self, transport: Transport, place: str, since: datetime) -> None:
        """The newest dump of this place; older ones are of other crashes."""
        files = sorted(transport.files(place), key=lambda file: file.modified)
        recent = [file for file in files if file.modified >= since]
        if not recent:
            self.note(place, f"nothing newer than {since:%Y-%m-%d %H:%M} in the guest")
            return
        newest = recent[-1]
        if newest.size > LIMIT_BYTES:
            self.note(newest.path, f"{newest.size >> 20} MiB are too many: it stays in the guest")
            return
        local = self._folder / f"guest-{newest.path.rpartition(chr(92))[2]}"
        transport.get(newest.path, local)
        try:
            said = triage(read_dump(local), self._ours)
            self.said.append(said)
        except DumpError as error:
            said = f"not understood: {error.message}"
        self._add(
            local, f"{newest.path}, written by the guest at {newest.modified:%Y-%m-%d %H:%M:%S}Z: {said}"
        )

    def event_log(self, transport: Transport, definition: GuestDefinition) -> None:
        """The system's log, as the tool exports it: a file in Windows' own format, in no language."""
        remote = rf"{definition.drop_folder}\System.evtx"
        done = transport.exec(f"wevtutil epl System {remote} /ow:true", timeout_s=EXPORT_S)
        if done.exit_code != 0:
            self.note("event log", f"wevtutil: exit code {done.exit_code}: {done.stderr.strip()}")
            return
        local = self._folder / "guest-System.evtx"
        transport.get(remote, local)
        self._add(local, "the guest's system event log")

    def _add(self, path: Path, what: str) -> None:
        self.files.append(EvidenceFile(name=path.name, what=what, size=path.stat().st_size))
