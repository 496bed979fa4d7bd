"""Starting a cell's guests: clones of a saved ready state, or a cold boot; and saying truthfully which it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType

from harness.caching import cached, content_hash
from harness.config.models import Accel, Cell, GuestDefinition, HalKind, Icount, Start
from harness.driver import deploy, protocol
from harness.driver.session import ClientSession
from harness.errors import GuestError, HalpmcError, InfrastructureError, QemuError
from harness.imaging.machine import guest_cpu_string, guest_machine, installed, remembered
from harness.imaging.store import find_guest, verify
from harness.runs import client_sessions
from harness.runs.aftermath import crashed, next_boot
from harness.runs.client_sessions import ClientSessions
from harness.runs.guest import Guest
from harness.runs.in_guest import set_up, settings_of
from harness.runs.provenance import provenance
from harness.vm.by_hand import run_script
from harness.vm.evidence import Evidence, collect
from harness.vm.machine import Machine
from harness.vm.media import INBOX_BUS, CdRom
from harness.vm.phases import Phases
from harness.vm.ports import Ports
from harness.vm.screens import ScreenRing
from harness.vm.state import Mechanism, SavedState
from harness.vm.template import Template, make_template, prune, template_digest
from harness.vm.vm import Vm

MIB = 1 << 20
#: Seconds for looking at a VM that went wrong, its memory dump included.
EVIDENCE_S = 60.0
OURS = tuple(f"{service}.sys" for service in deploy.SERVICES)
READY_S = 300.0
#: The code that decides what a template holds.
MADE_BY = (deploy.__file__, client_sessions.__file__, __file__)
#: What the cache may hold of templates when a new one is made; the ones used least recently go.
TEMPLATES_BYTES = 8 << 30


class GuestStarter:
    """Starts guests of one cell: VM up, test drivers loaded, reference HAL set, client answering.

    With `isolated` each guest is a pristine clone that costs a fraction of a second, so that a test can have one of its
    own. `how` says how guests start here: "clone", "cold", or one of them with the reason why it is not what was asked
    for. `incidents` are the failures on the way that another try followed. `ports` are for people, in guests alone and
    not in the VM that a template is made from.
    """

    def __init__(
        self,
        cell: Cell,
        definition: GuestDefinition,
        *,
        accel: Accel,
        media: Sequence[Path] = (),
        ports: Ports | None = None,
    ) -> None:
        self.cell = cell
        self.image = find_guest(definition.name)
        self.definition = definition = installed(definition, self.image, cell)
        self.build = deploy.build_for(definition)
        #: The ways to a client in one of these guests.
        self.clients = ClientSessions(definition, self.image, self.build)
        self.how = "cold"
        #: Called with a VM that still stands and the error that ends it.
        self.on_fault: Callable[[Vm, HalpmcError], None] = lambda _vm, _error: None
        self.incidents: list[HalpmcError] = []
        self.ports = (ports or Ports()).model_copy(update={"gdb": cell.gdb or bool(ports and ports.gdb)})
        self._template: Template | None = None
        self._machine = guest_machine(
            definition,
            accel=accel,
            cpu=guest_cpu_string(cell, definition, accel),
            machine=cell.machine,
            smp=cell.smp,
            max_cpus=cell.max_cpus,
            memory_mib=cell.memory_mib,
            disk=self.image.disk,
            variables=remembered(self.image, definition),
            direct_boot=self.image.direct_boot,
            serial_log=Path("serial.log"),
            icount=cell.icount is Icount.EXACT,
            kd=cell.kd,
            media=tuple(CdRom(path=path, bus=INBOX_BUS[definition.arch]) for path in media),
        )

    @property
    def isolated(self) -> bool:
        """Whether every guest is a clone whose client waits at the serial lane."""
        return self._template is not None and self.definition.lane is not None

    def machine(self, folder: Path) -> Machine:
        """The machine with its log in `folder`."""
        return self._machine.model_copy(update={"serial_log": folder / "serial.log"})

    def write_script(self, folder: Path) -> None:
        """run.sh: starts the same machine by hand."""
        script = folder / "run.sh"
        script.write_text(run_script(self.machine(folder), user=self.definition.ssh.user, key=self.image.key))
        script.chmod(0o755)

    # -- templates ----------------------------------------------------------------------------------------------

    def prepare(self, folder: Path, mechanisms: Sequence[Mechanism] = tuple(Mechanism)) -> None:
        """Have the template ready, when the cell wants clones. Logs of making one that failed are kept in `folder`.

        Where QEMU cannot save the RAM by a file of its own the state goes into an internal snapshot; where it cannot
        save at all, guests boot cold. The whole image is read before anything boots from it. Raises what booting and
        deploying raise, InfrastructureError when the image is not the one that was built.
        """
        if self.cell.start is not Start.CLONE:
            verify(self.image)
            return
        why = ""
        for mechanism in mechanisms:
            try:
                self._template = self._restorable(folder, mechanism)
            except QemuError as error:
                why = f"{mechanism}: {error.message}"
                self.incidents.append(error)
                continue
            self.how = f"clone ({mechanism}, since {why})" if why else "clone"
            return
        self.how = f"cold ({why})"

    def release(self) -> None:
        """No guest will be started any more: the template may make room for others. Idempotent."""
        if self._template is not None:
            self._template.release()

    def _restorable(self, folder: Path, mechanism: Mechanism) -> Template:
        """A template from which a VM was seen to go on: one that does not is thrown away and made anew."""
        template = self._find_or_make(folder, mechanism)
        try:
            self._try_out(template, folder)
        except QemuError as error:
            self.incidents.append(error)
            template.discard()
            template = self._find_or_make(folder, mechanism)
            self._try_out(template, folder)
        return template

    def _try_out(self, template: Template, folder: Path) -> None:
        try:
            with Vm(template.clone_of(self.machine(folder)), folder, saved=template.saved) as vm:
                vm.check()
        except QemuError as error:
            raise QemuError(
                f"the template could not be restored: {error.message}", evidence=error.evidence
            ) from None

    def _find_or_make(self, folder: Path, mechanism: Mechanism) -> Template:
        path = self._cached(folder, mechanism)
        try:
            return Template(path)
        except InfrastructureError as error:
            self.incidents.append(error)
            shutil.rmtree(path, ignore_errors=True)
        return Template(self._cached(folder, mechanism))

    def _cached(self, folder: Path, mechanism: Mechanism) -> Path:
        contents = {
            "image": self.image.manifest.disk_sha256,
            "mechanism": mechanism,
            "definition": self.definition.model_dump_json(),
            "settings": json.dumps([settings_of(self.cell, self.definition), self.cell.starve_pmu]),
            "made by": content_hash([Path(file) for file in MADE_BY]),
        }
        if self.definition.lane is not None:
            contents |= {file.path.name: file.sha256 for file in self.build.files}
        digest = template_digest(self._machine, contents)
        needed = self.cell.memory_mib * MIB * 2

        def make(scratch: Path) -> None:
            verify(self.image)
            prune(scratch.parent, TEMPLATES_BYTES)
            try:
                self.make_template(scratch, mechanism)
            except HalpmcError:
                for log in scratch.glob("*.log"):
                    shutil.copyfile(log, folder / f"template-{log.name}")
                raise

        return cached("templates", self.definition.name, digest, make, needs_bytes=needed)

    def make_template(self, folder: Path, mechanism: Mechanism) -> None:
        """Boot, make ready and save, in this folder instead of the cache."""

        def ready(vm: Vm) -> None:
            with self._watched(vm, folder):
                self._ready(vm, folder)

        make_template(self.machine(folder), folder, ready, mechanism)

    @contextmanager
    def _watched(self, vm: Vm, folder: Path) -> Generator[None, None, None]:
        """Keep the last screens of a guest that has one, and let a fault be looked at while the VM still stands."""
        screens = ScreenRing(vm.qmp, folder / "screens") if self._machine.has_display else nullcontext()
        try:
            with screens:
                yield
        except HalpmcError as error:
            self.on_fault(vm, error)
            raise

    def _ready(self, vm: Vm, folder: Path) -> None:
        """What a template holds: SSH answers and a command has run; with a lane, drivers and a waiting client, too."""
        self._set_up(vm, folder)
        with self.clients.connect(vm, folder) as transport:
            done = transport.exec("cmd /c ver", timeout_s=READY_S)
            if done.exit_code != 0:
                raise GuestError(
                    f"the guest's shell answers `cmd /c ver` with exit code {done.exit_code}: {done.stderr}"
                )
            if self.definition.lane is None:
                return
            with self.clients.deployed(transport, folder) as session:
                deploy.start_lane(session, self.definition, self.definition.lane.port)
        with self.clients.join(vm, folder) as session:
            session.call("facts", protocol.Facts)

    def _set_up(self, vm: Vm, folder: Path) -> None:
        set_up(vm, folder, self.cell, self.definition, self.build.client, self.clients.connect)

    # -- guests -------------------------------------------------------------------------------------------------

    @contextmanager
    def start(self, folder: Path) -> Generator[Guest, None, None]:
        """A running guest, gone when the context ends; `folder` gets its logs.

        Raises from every branch of the error tree: QEMU or SSH fails (infrastructure), the driver does not load
        (guest).
        """
        folder.mkdir(parents=True, exist_ok=True)
        phases = Phases()
        with ExitStack() as stack:
            with phases("vm"):
                vm = stack.enter_context(self.vm(folder))
            stack.enter_context(self._watched(vm, folder))
            if self._template is None:
                with phases("settings"):
                    self._set_up(vm, folder)
            if self.isolated:
                with phases("client"):
                    session = stack.enter_context(self.clients.join(vm, folder))
            else:
                with phases("login"):
                    transport = stack.enter_context(self.clients.connect(vm, folder))
                with phases("drivers"):
                    session = stack.enter_context(self.clients.deployed(transport, folder))
            if self._template is not None and self.definition.clock_can_be_set:
                deploy.set_clock(session)
            yield self.configured(vm, session, phases.seconds)

    def configured(
        self, vm: Vm, session: ClientSession, timings: Mapping[str, float] = MappingProxyType({})
    ) -> Guest:
        """The guest behind this session, with the reference HAL, where it is there, set as the cell says."""
        if self.definition.hal is HalKind.REFERENCE:
            deploy.configure_hal(session, self.cell.hal)
        return Guest(self.cell, self.definition, vm, session, timings)

    def vm(self, folder: Path) -> Vm:
        """A VM of this cell that is not started yet: a clone where there is a template."""
        machine = self.machine(folder)
        if self._template is None:
            return Vm(machine, folder, ports=self.ports)
        return Vm(self._template.clone_of(machine), folder, saved=self._template.saved, ports=self.ports)

    def restored(self, saved: SavedState, folder: Path) -> Vm:
        """A VM that is not started yet and goes on from a state that a VM of this cell was saved in."""
        machine = self.machine(folder)
        return Vm(self._template.clone_of(machine) if self._template else machine, folder, saved=saved)

    def evidence(self, vm: Vm, folder: Path, *, hung: bool, ours: Sequence[str] = OURS) -> Evidence:
        """Collect what can be learned of a guest of this cell that went wrong, also what it kept of its own crash.

        `ours` are the files of drivers to implicate or to clear.
        """
        found = collect(vm, folder, EVIDENCE_S, hung=hung)
        if not crashed(vm):
            return found
        connect = partial(self.clients.connect, vm, folder)
        return next_boot(vm, self.definition, connect, self.image.manifest.built_at, folder, found, ours)

    def provenance(self) -> dict[str, str]:
        """What a reader must know to believe a result: what the guest really is, and the hashes of all parts."""
        return provenance(
            self.cell,
            self.definition,
            self.image,
            self.build,
            accel=self._machine.accel,
            how=self.how,
            cloned=self._template is not None,
            isolated=self.isolated,
        )
