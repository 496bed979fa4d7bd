"""What happens to a guest's machine while counters are held: reboot, saved state, sleep, a CPU more.

Every one of these needs a guest of its own. Where the guest or its machine cannot do one, NotHere says so in its words.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from harness.config.models import GuestPower
from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.errors import DeadlineExceeded, GuestError, ProtocolError, QemuError
from harness.guest.ssh import SshTransport
from harness.guest.transport import ExecResult, LineChannel
from harness.runs.guest import Guest
from harness.runs.in_guest import reboot
from harness.runs.start import GuestStarter
from harness.vm.template import save_running

COMMAND_S = 60.0
SLEEP_S = 60.0
HELLO_S = 10.0
SAVED = "held.qcow2"


class NotHere(Exception):
    """The guest, or its machine, cannot do what was asked; the text is what it says itself."""


class Lifetime:
    """A guest of one's own, with what it takes to do such things to it."""

    def __init__(self, starter: GuestStarter, guest: Guest) -> None:
        self.starter = starter
        self.guest = guest
        self._begun: LineChannel | None = None

    @property
    def power(self) -> GuestPower:
        """The guest's commands."""
        return self.starter.definition.power

    @contextmanager
    def rebooted(self) -> Generator[Guest, None, None]:
        """The guest after a reboot that its own command began, drivers deployed anew. The old guest is gone.

        Raises DeadlineExceeded when it does not reset, or does not come back.
        """
        vm, folder = self.guest.vm, self.guest.vm.folder / "rebooted"
        folder.mkdir()
        transport = reboot(vm, folder, self.power.reboot, self.starter.clients.connect)
        with transport, self.starter.clients.deployed(transport, folder, again=True) as session:
            yield self.starter.configured(vm, session)

    @contextmanager
    def restored(self) -> Generator[Guest, None, None]:
        """The guest in a second VM that goes on from where the first one is now, after the first one is gone.

        Raises NotHere where the machine cannot be saved.
        """
        vm, folder = self.guest.vm, self.guest.vm.folder / "restored"
        folder.mkdir()
        saved = folder / SAVED
        try:
            state = save_running(vm, saved)
        except QemuError as error:
            raise NotHere(f"this machine cannot be saved: {error.message}") from None
        vm.close()
        try:
            with (
                self.starter.restored(state, folder) as second,
                self.starter.clients.rejoined(second, folder, at_lane=self.starter.isolated) as session,
            ):
                yield Guest(self.guest.cell, self.guest.definition, second, session, {})
        finally:
            saved.unlink()

    def sleep_and_wake(self) -> None:
        """S3, begun by the guest's own command and ended by QEMU. Raises NotHere with what guest or QEMU say."""
        vm, power = self.guest.vm, self.power
        if not vm.execute("query-current-machine")["wakeup-suspend-support"]:
            machine = self.starter.machine(vm.folder).machine
            raise NotHere(f"QEMU says of {machine}: no support for waking a guest that is suspended")
        if power.sleep is None or power.sleep_states is None:
            raise NotHere("the guest's definition has no command for sleep")
        offered = self.command(power.sleep_states).stdout.strip()
        if power.deep_sleep not in offered:
            raise NotHere(f"the guest offers no S3: `{power.sleep_states}` says {offered!r}")
        with vm.expecting("SUSPEND"), self.starter.clients.connect(vm, vm.folder) as transport:
            self._begin(transport, power.sleep)
            vm.qmp.wait_event("SUSPEND", timeout_s=SLEEP_S)
            vm.execute("system_wakeup")
            vm.qmp.wait_event("WAKEUP", timeout_s=SLEEP_S)
            settle_line(self.guest.session)

    def add_cpu(self) -> int:
        """Plug a CPU in and have the guest use it; its number. Raises NotHere with QEMU's words."""
        vm = self.guest.vm
        try:
            slots = vm.execute("query-hotpluggable-cpus")
        except QemuError as error:
            raise NotHere(f"QEMU: {error.message}") from None
        free = [slot for slot in slots if "qom-path" not in slot]
        if not free:
            raise NotHere(
                f"QEMU says that all {len(slots)} CPU slots are taken: the cell sets no max_cpus beyond smp"
            )
        try:
            vm.execute("device_add", driver=free[-1]["type"], id="added", **free[-1]["props"])
        except QemuError as error:
            raise NotHere(f"QEMU: {error.message}") from None
        number = len(slots) - len(free)
        if self.power.online is not None:
            self.command(self.power.online.format(cpu=number))
        return number

    def _begin(self, transport: SshTransport, line: str) -> None:
        """Begin a command whose end nobody can wait for. Its channel is kept: closed, it would end the command."""
        self._begun = transport.open_session(line)

    def command(self, line: str) -> ExecResult:
        """Run a command of the guest's shell to its end. Raises GuestError when it fails."""
        with self.starter.clients.connect(self.guest.vm, self.guest.vm.folder) as transport:
            done = transport.exec(line, timeout_s=COMMAND_S)
        if done.exit_code != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise GuestError(f"the guest's command {line!r} ended with exit code {done.exit_code}: {said}")
        return done


def settle_line(session: ClientSession) -> None:
    """Ask until the client answers to what it is asked: a serial port that slept may begin with a garbled byte.

    Raises what the session raises the third time.
    """
    for left in (2, 1, 0):
        try:
            session.call("hello", protocol.Hello, timeout_s=HELLO_S)
        except (ProtocolError, DeadlineExceeded):
            if left == 0:
                raise
        else:
            return
