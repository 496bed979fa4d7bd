"""Any kernel driver in a guest: boot, load, and leave nothing. For drivers that are not the project's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.caching import Say
from harness.config.load import load_guest
from harness.config.models import Accel, Cell, GuestDefinition, Start
from harness.driver import protocol
from harness.driver.deploy import START_REMEDIES, START_TIMEOUT_MS, client_path, verify
from harness.driver.device import Device
from harness.driver.image import check_driver_file
from harness.driver.session import ClientSession
from harness.errors import ClientError, DriverError, GuestPanicked, UsageError
from harness.guest import win32
from harness.guest.transport import ExecResult, Transport
from harness.probe.accelerator import choose_accelerator
from harness.runs.client_sessions import client_over_ssh
from harness.runs.start import GuestStarter
from harness.vm.vm import Vm

EXEC_S = 60.0
UNKNOWN = "look the error's number up; the driver runs nowhere now"
#: Where a driver is the reason, and not what the number says by itself.
REMEDIES = {
    **START_REMEDIES,
    1460: "DriverEntry or the unload routine does not return, or (in Wine) DriverUnload is not set",
}
SERVICE_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True)
class LoadedDriver:
    """A driver that runs in the guest as a service. `sha256` is that of the file, compared on both sides."""

    guest: OwnGuest
    service: str
    path: str
    sha256: str

    def state(self) -> protocol.ServiceStatus:
        """The service's numbers now: state 4 is running, 1 stopped."""
        return self.guest.session.call("service.query", protocol.ServiceStatus, name=self.service)


class OwnGuest:
    """A booted guest without the project's test driver. Its transport copies files and runs programs."""

    def __init__(
        self, definition: GuestDefinition, vm: Vm, transport: Transport, session: ClientSession, start: str
    ) -> None:
        self.definition = definition
        self.vm = vm
        self.transport = transport
        self.session = session
        self.start = start
        self.drivers: list[str] = []

    def run(self, command: str, *, timeout_s: float = EXEC_S) -> ExecResult:
        """Run a command line in the guest to its end."""
        return self.transport.exec(command, timeout_s=timeout_s)

    @contextmanager
    def open(self, name: str) -> Generator[Device, None, None]:
        r"""A handle to the device \\.\NAME; `Device.raw` sends it any I/O control request."""
        device = Device.open(self.session, name)
        try:
            yield device
        finally:
            device.close()

    @contextmanager
    def loaded(self, file: Path, service: str | None = None) -> Generator[LoadedDriver, None, None]:
        """The driver runs inside the context; afterwards it is unloaded and its service deleted.

        `service` is the name of the service, by default the file's. Raises UsageError for a file that is no driver
        for this guest, DriverError with a remedy when it does not start or stop, GuestPanicked when it brings the
        kernel down.
        """
        name = service if service is not None else file.stem
        if not SERVICE_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a service",
                remedy="name the service by 1 to 32 letters, digits, _ or -",
            )
        digest = check_driver_file(file, self.definition.arch)
        path = rf"{self.definition.drop_folder}\{name}.sys"
        self.drivers.append(f"{name}.sys")
        self.transport.put(file, path)
        verify(self.session, {path: digest})
        self._ask("create", name, lambda: self._create(name, path))
        try:
            self._ask("start", name, lambda: self._change("start", name))
            try:
                yield LoadedDriver(self, name, path, digest)
            finally:
                self._ask("stop", name, lambda: self._change("stop", name))
        finally:
            self.session.call("service.delete", protocol.ServiceState, name=name)

    def _create(self, name: str, path: str) -> None:
        group = self.definition.service_group
        self.session.call("service.create", protocol.Empty, name=name, path=path, group=group)

    def _change(self, verb: str, name: str) -> None:
        self.session.call(f"service.{verb}", protocol.ServiceState, name=name, timeout_ms=START_TIMEOUT_MS)

    def _ask(self, verb: str, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except ClientError as error:
            raise DriverError(
                f"the guest does not {verb} the driver as service {name}: {error.message}",
                remedy=REMEDIES.get(error.code) or win32.remedy(error.code, UNKNOWN),
            ) from error


@contextmanager
def own_guest(
    name: str,
    folder: Path,
    *,
    accel: Accel = Accel.AUTO,
    media: Sequence[Path] = (),
    say: Say = lambda _: None,
) -> Generator[OwnGuest, None, None]:
    """A guest for drivers of any kind; logs go into `folder`, and the VM is gone when the context ends.

    `media` are ISO images for its optical drives; such a guest boots cold.

    When the guest's kernel dies in it, evidence goes into `folder`, too, and the error tells its own dump.
    Raises UsageError when the guest is not built, and whatever booting raises.
    """
    # Without its lane the guest's saved state has no driver of ours in it.
    definition = load_guest(name).model_copy(update={"lane": None})
    choice = choose_accelerator(accel, definition.arch, definition.machine, say=say)
    start = Start.COLD if media else Start.CLONE
    cell = Cell(
        id="own-driver",
        guest=name,
        arch=definition.arch,
        machine=definition.machine,
        memory_mib=definition.usual_memory_mib,
        start=start,
    )
    starter = GuestStarter(cell, definition, accel=choice.accel, media=media)
    say(f"starting guest {name} ({choice.accel}: {choice.reason})")
    starter.prepare(folder)
    with ExitStack() as stack:
        vm = stack.enter_context(starter.vm(folder))
        transport = stack.enter_context(starter.clients.connect(vm, folder))
        transport.put(starter.build.client.path, client_path(definition))
        session = stack.enter_context(client_over_ssh(transport, definition, folder))
        guest = OwnGuest(definition, vm, transport, session, starter.how)
        try:
            yield guest
        except GuestPanicked as error:
            evidence = starter.evidence(vm, folder / "evidence", hung=False, ours=guest.drivers)
            error.evidence["triage"] = evidence.triage
            raise
