"""A booted guest with the test drivers loaded and the client answering: what the tests of the contract talk to."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.config.models import (
    Accel,
    Cell,
    Generation,
    GuestDefinition,
    GuestKind,
    HalKind,
    HalSettings,
)
from harness.contract.observations import Call
from harness.driver import deploy, protocol
from harness.driver.build import DriverBuild, build_driver
from harness.driver.device import Device, to_call
from harness.driver.session import ClientSession
from harness.errors import GuestError
from harness.imaging.store import GuestImage, find_guest
from harness.runs.start import connect, started
from harness.vm.machine import Machine, run_script
from harness.vm.vm import Vm

#: Windows 10 1903: from here on ResourceList and GroupAffinty have a meaning.
FIRST_SHARED_BUILD = 18362

PhaseTimer = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Grant:
    """What the first plain request of a cell gave, and what the counters did while it was held."""

    first: Call
    counted: protocol.CountResult | None


class Holder:
    """A second client process: in mode "hold" it allocates once and waits, in mode "busy" it never stops."""

    def __init__(self, session: ClientSession, started: protocol.HolderStarted) -> None:
        self._session = session
        self._alive = True
        self.first = Call(status=started.status, handle=started.handle)

    def free(self, handle: int) -> Call:
        """Free a handle through the other process's own device handle."""
        return to_call("holder.free", self._session.call("holder.free", protocol.CallResult, handle=handle))

    def kill(self) -> None:
        """TerminateProcess; returns when the process is gone."""
        if self._alive:
            self._alive = False
            if not self._session.call("holder.kill", protocol.HolderKilled).exited:
                raise GuestError("the second process in the guest does not end when it is terminated")


class Guest:
    """The guest of one cell, with two instances of the test driver (same binary, two services)."""

    def __init__(self, cell: Cell, definition: GuestDefinition, vm: Vm, session: ClientSession) -> None:
        self.cell = cell
        self.definition = definition
        self.vm = vm
        self.session = session
        self.facts = session.call("facts", protocol.Facts)
        self.grant: Grant | None = None

    def start_drivers(self, hal: HalSettings) -> None:
        """Load both instances with these settings of the HAL, and see what the first plain request gives."""
        deploy.start_drivers(self.session, self.definition, hal)
        with self.open(deploy.SERVICES[0]) as device:
            info = device.info()
            if not (info.allocate_present and info.free_present):
                return  # PRES-1 judges it; there is nothing to ask for
            first = device.allocate()
            counted = None
            if first.status == 0:
                counted = device.count()
                device.free(first.handle)
            self.grant = Grant(first, counted)

    @contextmanager
    def open(self, service: str = deploy.SERVICES[0]) -> Generator[Device, None, None]:
        """A handle to one instance of the test driver; closing it releases what it holds."""
        device = Device.open(self.session, service)
        try:
            yield device
        finally:
            device.close()

    @property
    def generation(self) -> Generation:
        """The generation of the contract here: the reference HAL's setting, else by the build of Windows."""
        if self.definition.hal is HalKind.REFERENCE:
            return self.cell.hal.generation
        return Generation.SHARED if self.facts.os_build >= FIRST_SHARED_BUILD else Generation.EXCLUSIVE

    @property
    def privileged(self) -> bool:
        """Whether the test driver may touch the PMU: in a kernel, or where Wine's guest opens it to programs."""
        return self.definition.kind is not GuestKind.WINE or self.definition.pmu_access is not None

    @contextmanager
    def holder(self, mode: str) -> Generator[Holder, None, None]:
        """A second process in the guest with a handle of its own (see Holder); dead when the context ends."""
        started = self.session.call(
            "holder.start", protocol.HolderStarted, device_name=deploy.SERVICES[0], mode=mode
        )
        holder = Holder(self.session, started)
        try:
            yield holder
        finally:
            holder.kill()

    def hold_in_driver(self) -> Call:
        """An allocation that belongs to the first driver itself, to no handle: only its unload gives it back."""
        with self.open() as device:
            return device.allocate(keep=True)

    @contextmanager
    def unloaded(self) -> Generator[None, None, None]:
        """The first driver is unloaded in this context, and loaded again after it."""
        deploy.stop(self.session, deploy.SERVICES[0])
        try:
            yield
        finally:
            deploy.start(self.session, deploy.SERVICES[0])


@contextmanager
def boot_guest(
    cell: Cell,
    definition: GuestDefinition,
    *,
    accel: Accel,
    cpu_string: str,
    folder: Path,
    phase: PhaseTimer,
    provenance: Callable[[dict[str, str]], None],
) -> Generator[Guest, None, None]:
    """Boot the cell's guest, deploy the test driver, load it, and hand over. The VM is gone when the context ends.

    Raises from every branch of the error tree: the image is not built (usage), QEMU or SSH fails (infrastructure), the
    driver does not load (guest).
    """
    image = find_guest(definition.name)
    build = build_driver(definition.arch)
    machine = _machine(cell, definition, image, accel, cpu_string, folder)
    script = folder / "run.sh"
    script.write_text(run_script(machine, user=definition.ssh.user, key=image.key))
    script.chmod(0o755)
    with ExitStack() as stack:
        start = "failed"
        try:
            with phase("start"):
                vm, start = stack.enter_context(started(machine, cell.start, definition, image, folder))
        finally:
            provenance(_provenance(definition, image, build, start))
        with phase("login"):
            transport = stack.enter_context(connect(vm, definition, image, folder / "ssh.log"))
        with phase("deploy"):
            hashes = deploy.upload(transport, definition, build)
        with phase("client"):
            session = stack.enter_context(
                ClientSession(
                    transport.open_session(f"{deploy.client_path(definition)} serve"),
                    greeting_timeout_s=definition.timeouts.client_s,
                    log=folder / "client.log",
                )
            )
            deploy.verify(session, hashes)
        with phase("driver"):
            guest = Guest(cell, definition, vm, session)
            guest.start_drivers(cell.hal)
        with phase("contract"):
            yield guest


def _machine(
    cell: Cell, definition: GuestDefinition, image: GuestImage, accel: Accel, cpu_string: str, folder: Path
) -> Machine:
    return Machine(
        arch=definition.arch,
        accel=accel,
        machine=cell.machine,
        cpu=cpu_string,
        smp=cell.smp,
        memory_mib=cell.memory_mib,
        disk=image.disk,
        disk_device=definition.disk_device,
        net_device=definition.net_device,
        ssh_guest_port=definition.ssh.port,
        devices=definition.devices,
        direct_boot=image.direct_boot,
        serial_log=folder / "serial.log",
    )


def _provenance(
    definition: GuestDefinition, image: GuestImage, build: DriverBuild, start: str
) -> dict[str, str]:
    """What a reader must know to believe a result: what the guest really is, and the hashes of all parts."""
    hal = (
        "reference HAL (our model of the documentation)" if definition.hal is HalKind.REFERENCE else "system"
    )
    return {
        "guest": definition.name,
        "guest_kind": str(definition.kind),
        "guest_title": definition.title,
        "hal": hal,
        **({"pmu access": definition.pmu_access} if definition.pmu_access else {}),
        "start": start,
        "image_sha256": image.manifest.disk_sha256,
        "driver_sha256": build.sys.sha256,
        "client_sha256": build.client.sha256,
        **({"hal_sha256": build.hal.sha256} if definition.hal is HalKind.REFERENCE else {}),
    }
