"""One cell being run, from the PMU probe to the verdict: what its tests get, and what becomes of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from harness.config.load import load_guest
from harness.config.models import Cell, Generation, GuestDefinition, HalKind, Icount
from harness.contract.cell_class import cell_class
from harness.contract.machine_seen import MachineSeen, untold, words
from harness.contract.outcomes import Verdict
from harness.contract.verdict import cell_verdict, realisation
from harness.driver.protocol import Facts
from harness.errors import (
    ContractViolation,
    DeadlineExceeded,
    GuestError,
    HalpmcError,
    InfrastructureError,
    UsageError,
)
from harness.imaging.machine import guest_cpu_string
from harness.probe.accelerator import AcceleratorChoice, accelerator_for
from harness.probe.models import ProbeAnswer
from harness.probe.run import run_probe
from harness.runs.cell_log import CellLog
from harness.runs.clause_results import ClauseResults
from harness.runs.folder import write_config
from harness.runs.guest import Grant, Guest
from harness.runs.read_back import read_back
from harness.runs.record import (
    CellEndRecord,
    ProbeRecord,
)
from harness.runs.record_file import Recorder
from harness.runs.start import GuestStarter
from harness.runs.starving import host_counters
from harness.vm.ports import Ports
from harness.vm.vm import Vm

EVIDENCE = "evidence"


class CellRun:
    """Runs one cell and records it. `folder` holds its logs and its run.sh."""

    def __init__(self, cell: Cell, folder: Path, recorder: Recorder) -> None:
        self.cell = cell
        self.folder = folder
        #: What its tests say of the clauses.
        self.results = ClauseResults(cell.id, recorder)
        self._log = CellLog(cell.id, recorder)
        self._recorder = recorder
        self._resources = ExitStack()
        self._started = time.monotonic()
        self._seen: MachineSeen | None = None
        self._definition: GuestDefinition | None = load_guest(cell.guest) if cell.guest else None
        self._choice: AcceleratorChoice | None = None
        self._answer: ProbeAnswer | None = None
        self.facts: Facts | None = None
        self.grant: Grant | None = None
        self._starter: GuestStarter | None = None
        self._shared: Guest | None = None
        self._current: Guest | None = None
        self._boot_error: HalpmcError | None = None
        self._clones: list[float] = []
        #: Ports that the cell's VMs get for a person.
        self.ports = Ports()
        #: Hears of a guest that is about to end, with what keeps it: `pop_all` takes that over.
        self.on_leave: Callable[[Guest, ExitStack], None] = lambda _guest, _resources: None
        #: How it ended.
        self.end: CellEndRecord | None = None
        write_config(folder, cell)

    @property
    def generation(self) -> Generation | None:
        """The generation of the contract where the cell's settings decide it, else None: the guest has to tell."""
        reference = self._definition is not None and self._definition.hal is HalKind.REFERENCE
        return self.cell.hal.generation if reference else None

    # -- starting ---------------------------------------------------------------------------------------------

    def probe(self) -> ProbeAnswer:
        """Decide the accelerator, and ask the PMU probe what this machine really has."""
        with self._log.noting_errors():
            self._choice = accelerator_for(self.cell)
            self._log.accelerator = f"{self._choice.accel} ({self._choice.reason})"
            counters = self._resources.enter_context(host_counters(self.cell, self._choice.accel))
        if counters:
            self._log.provenance({"host counters": counters})
        with self._log.noting_errors(), self._log.phase("probe"):
            self._answer = run_probe(
                self.cell.arch,
                self._choice.accel,
                self.cell.machine,
                guest_cpu_string(self.cell, self._definition, self._choice.accel),
                smp=self.cell.smp,
                icount=self.cell.icount is Icount.EXACT,
            )
        self._recorder.write(ProbeRecord(cell=self.cell.id, answer=self._answer))
        if self._definition is None:
            self._log.provenance({"guest_kind": "none (probe only)"})
        return self._answer

    @contextmanager
    def guest(self, test: str) -> Generator[Guest, None, None]:
        """A guest for one test: a pristine clone of its own where clones are that cheap, else the cell's one VM.

        The one VM must be left as it was found. Raises what starting it raises, at every test again; GuestError when
        the test left something behind.
        """
        starter = self._boot()
        if starter.isolated:
            with self._fresh(starter, test) as guest:
                yield guest
            return
        if self._shared is None:
            raise UsageError(f"the VM of cell {self.cell.id} is gone")
        yield self._shared
        left = self._shared.left_over()
        if left:
            raise GuestError(f"test {test} did not clean up: {left}")

    @contextmanager
    def fresh_guest(self, test: str) -> Generator[Guest, None, None]:
        """A guest for one test alone, whatever it costs; gone afterwards, whatever the test did to it."""
        with self._fresh(self._boot(), test) as guest:
            yield guest

    @property
    def starter(self) -> GuestStarter:
        """Starts guests of this cell. Raises what preparing them raised."""
        return self._boot()

    @contextmanager
    def _fresh(self, starter: GuestStarter, test: str) -> Generator[Guest, None, None]:
        folder = self.folder / "tests" / file_name(test)
        with ExitStack() as stack:
            started = time.monotonic()
            try:
                guest = self._start(stack, starter, folder)
            except InfrastructureError as error:
                self._log.trouble(error)
                raise
            self._clones.append(time.monotonic() - started)
            before, self._current = self._current, guest
            try:
                yield guest
            finally:
                self._current = before
            self.on_leave(guest, stack)

    def _start(self, stack: ExitStack, starter: GuestStarter, folder: Path) -> Guest:
        """A guest that lasts as long as `stack`. A start that the host spoiled is tried once more, and recorded."""
        try:
            return stack.enter_context(starter.start(folder))
        except InfrastructureError as error:
            self._log.trouble(error, retried=True)
        return stack.enter_context(starter.start(folder))

    @property
    def standing(self) -> Guest | None:
        """The guest that the running test has; None where there is none."""
        return self._current or self._shared

    def examine(self, test: str, error: BaseException) -> None:
        """Collect evidence of the running guest when `error`, which ended a test, is a fault and no judgement."""
        guest = self.standing
        if guest is None or self._starter is None or isinstance(error, ContractViolation):
            return
        if isinstance(error, HalpmcError):
            self._examine(self._starter, guest.vm, test, error)

    def _examine(self, starter: GuestStarter, vm: Vm, test: str, error: HalpmcError) -> None:
        """Evidence goes to cells/<id>/evidence/<test>/; the error carries the one-line triage and that path.

        A second try does not write over what the first one left: its folder has a number.
        """
        if EVIDENCE in error.evidence:
            return
        names = (file_name(test) + (f"-{number}" if number > 1 else "") for number in count(1))
        folder = next(path for name in names if not (path := self.folder / EVIDENCE / name).exists())
        evidence = starter.evidence(vm, folder, hung=isinstance(error, DeadlineExceeded))
        error.evidence["triage"] = evidence.triage
        error.evidence[EVIDENCE] = str(folder.relative_to(self.folder.parent.parent))
        self.results.explain(error, evidence.triage)

    def _boot(self) -> GuestStarter:
        """Have guests ready to start; the first one tells the cell's facts and what is granted. Its failure is kept."""
        if self._boot_error is not None:
            raise self._boot_error
        if self._starter is None:
            try:
                with self._log.noting_errors():
                    self._starter = self._first_guest()
            except HalpmcError as error:
                self._boot_error = error
                raise
        return self._starter

    def _first_guest(self) -> GuestStarter:
        if self._definition is None or self._choice is None:
            raise UsageError(f"cell {self.cell.id} has no guest, or its probe was not asked first")
        starter = GuestStarter(self.cell, self._definition, accel=self._choice.accel, ports=self.ports)
        self._resources.callback(starter.release)
        starter.on_fault = lambda vm, error: self._examine(starter, vm, "start", error)
        starter.write_script(self.folder)
        try:
            with self._log.phase("template"):
                starter.prepare(self.folder)
        finally:
            for incident in starter.incidents:
                self._log.trouble(incident, retried=True)
            self._log.provenance(starter.provenance())
        with ExitStack() as stack:
            guest = self._start(stack, starter, self.folder)
            for name, seconds in guest.timings.items():
                self._log.took(name, seconds)
            with self._log.phase("facts"):
                self.facts = guest.facts
                self._log.provenance({"guest_build": str(self.facts.os_build)})
                self._read_back(guest, starter.definition)
                self.grant = guest.first_grant()
            self._record_class(guest, self._definition)
            if not starter.isolated:
                self._shared = guest
                self._resources.push(stack.pop_all())
        return starter

    def _record_class(self, guest: Guest, definition: GuestDefinition) -> None:
        kind = cell_class(self.cell, definition.hal, guest.generation, self._answer, guest.facts.cpus)
        self._log.provenance({"generation": str(guest.generation), "class": kind})

    def _read_back(self, guest: Guest, definition: GuestDefinition) -> None:
        """Ask the guest what machine it is in, and record what it tells, and what was asked for and is not told."""
        self._seen = read_back(guest.session, self.cell, definition)
        not_told = ", ".join(untold(self.cell, self._seen))
        self._log.provenance(
            {
                "the guest says": words(self._seen),
                **({"the guest does not tell": not_told} if not_told else {}),
            }
        )

    # -- ending -----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Stop the VM, and record the cell's verdict."""
        try:
            with self._log.noting_errors(), self._log.phase("shutdown"), self._resources:
                if self._shared is not None:
                    self.on_leave(self._shared, self._resources)
        except HalpmcError:
            pass  # recorded, and the cell's end has to be recorded, too
        if self._clones:
            self._log.took(f"{len(self._clones)} clones", sum(self._clones))
        verdict, reason = cell_verdict(
            self.results.of_clauses(),
            grant=self.grant,
            probe=self._answer,
            probe_only=self._definition is None,
        )
        if verdict is Verdict.UNKNOWN:
            reason = self._log.first_trouble or reason
        missing = realisation(
            self.cell,
            self._answer,
            cpus=self.facts.cpus if self.facts else None,
            counted=self.grant.view if self.grant else None,
            machine=self._seen,
        )
        self.end = CellEndRecord(
            cell=self.cell.id,
            verdict=verdict,
            reason=reason,
            realised=not missing and self._answer is not None,
            not_realised=missing,
            duration_s=round(time.monotonic() - self._started, 3),
        )
        self._recorder.write(self.end)


def file_name(test: str) -> str:
    """A test's name as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", test)
