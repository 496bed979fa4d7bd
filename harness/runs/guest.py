"""A running guest with the test drivers loaded and the client answering: what the tests of the contract talk to."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from harness.config.models import Cell, Generation, GuestDefinition, GuestKind
from harness.contract.expected import CellFacts, generation_of
from harness.contract.observations import Call
from harness.contract.overflow import overflow_words
from harness.driver import deploy, protocol
from harness.driver.device import Device, to_call
from harness.driver.session import ClientSession
from harness.errors import GuestError
from harness.probe.models import ProbeAnswer
from harness.vm.vm import Vm

SERVICE_RUNNING = 4

AT_EL0 = "the guest runs the test driver at EL0, which cannot enable it (PMINTENSET_EL1)"


@dataclass(frozen=True)
class Grant:
    """What the first plain request of a cell gave, and what the counters did while it was held.

    `privileged` says whether the test driver may touch the PMU.
    """

    first: Call
    counted: protocol.CountResult | None
    privileged: bool

    @property
    def view(self) -> protocol.CountResult | None:
        """The PMU as a driver sees it that may look; None where it may not, or where nothing was measured."""
        seen = self.counted is not None and self.counted.status == 0 and self.privileged
        return self.counted if seen else None


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
    """A guest with two instances of the test driver (same binary, two services) and a client that answers.

    `timings` has the seconds of each step of its start.
    """

    def __init__(
        self,
        cell: Cell,
        definition: GuestDefinition,
        vm: Vm,
        session: ClientSession,
        timings: Mapping[str, float],
    ) -> None:
        self.cell = cell
        self.definition = definition
        self.vm = vm
        self.session = session
        self.timings = dict(timings)

    @cached_property
    def facts(self) -> protocol.Facts:
        """The guest's system as it describes itself."""
        return self.session.call("facts", protocol.Facts)

    def first_grant(self) -> Grant | None:
        """What a plain request gives in this untouched guest, and what the counters do then.

        None where the routines are absent: PRES-1 judges that, there is nothing to ask for.
        """
        with self.open(deploy.SERVICES[0]) as device:
            info = device.info()
            if not (info.allocate_present and info.free_present):
                return None
            first = device.allocate()
            counted = None
            if first.status == 0:
                counted = device.count()
                device.free(first.handle)
            return Grant(first, counted, self.privileged)

    def left_over(self) -> str:
        """What a test left behind in this guest, in words; empty when it is as it was."""
        for service in deploy.SERVICES:
            state = self.session.call("service.query", protocol.ServiceStatus, name=service).state
            if state != SERVICE_RUNNING:
                return f"the driver's service {service} is in state {state}, not running"
            with self.open(service) as device:
                held = device.info().held
            if held:
                return f"driver {service} still holds {held} allocations"
        return ""

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
        """The generation of the contract in this guest."""
        return generation_of(self.definition.hal, self.cell.hal, self.facts.os_build)

    def known(self, probe: ProbeAnswer) -> CellFacts:
        """What expectations are computed from."""
        wine = self.definition.kind is GuestKind.WINE
        return CellFacts(
            kind=self.definition.kind,
            hal=self.definition.hal,
            hal_settings=self.cell.hal,
            os_build=self.facts.os_build,
            probe=probe,
            privileged=self.privileged,
            no_interrupt=f"{AT_EL0}; {overflow_words(probe)}" if wine else "",
        )

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

    def allow_destructive(self) -> None:
        """Start the first driver anew with leave for what may stop this guest, or take the counters for good.

        No handle of it may be open. Only for a guest that is thrown away.
        """
        key = rf"HKLM\SYSTEM\CurrentControlSet\Services\{deploy.SERVICES[0]}"
        self.session.call(
            "registry.set", protocol.Empty, path=key, name="AllowDestructive", type="dword", value=1
        )
        deploy.stop(self.session, deploy.SERVICES[0])
        deploy.start(self.session, deploy.SERVICES[0])

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
