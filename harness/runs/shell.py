"""A cell's VM for a person: started as a run starts it, and gone when the person leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.caching import Say
from harness.config.load import guest_names, load_guest
from harness.config.models import Arch, Cell, Kd
from harness.config.suggest import did_you_mean
from harness.errors import GuestError, UsageError
from harness.guest.serial import open_shell
from harness.guest.ssh import SshTransport
from harness.guest.terminal import attach, require_terminal
from harness.host.tools import require_tool
from harness.probe.accelerator import accelerator_for
from harness.runs.access import HOST, SSH_CONFIG, Way, ways
from harness.runs.folder import CONFIG
from harness.runs.replay import replay_matrix
from harness.runs.select import open_matrix, select_cells
from harness.runs.start import GuestStarter
from harness.vm.ports import Ports
from harness.vm.vm import Vm

WATCH_S = 0.2
END_S = 5.0
#: What the host's ssh ends with when the connection was the matter, not the command.
SSH_FAILED = 255
CONSOLE_S = 60.0
COMMAND_S = 600.0


def find_cell(target: str, matrix: Path | None) -> Cell:
    """The cell of that id in the matrix; without a matrix, that of a cell's folder, or a plain one of a guest.

    Raises UsageError, also for a cell without a guest.
    """
    if matrix is not None:
        (cell,) = select_cells(open_matrix(matrix), [target])
    elif (Path(target) / CONFIG).is_file():
        (cell,) = replay_matrix(Path(target)).cells
    elif target in guest_names():
        guest = load_guest(target)
        cell = Cell(id=target, guest=target, arch=guest.arch, machine=guest.machine)
        if guest.windows is not None:
            cell = cell.model_copy(update={"memory_mib": guest.windows.memory_mib})
    else:
        known = did_you_mean(target, guest_names(), plural="guests")
        raise UsageError(
            f"{target!r} is neither a guest nor the folder of a cell",
            remedy=f"{known}; a cell of a matrix needs --matrix FILE",
        )
    if cell.guest is None:
        raise UsageError(f"cell {cell.id} has no guest to log in to: it is the PMU probe alone")
    return cell


def with_kd(cell: Cell, kd: Kd) -> Cell:
    """The cell with such a port. Raises UsageError where no Windows could use it."""
    if kd is not Kd.NONE and cell.arch is not Arch.X86_64:
        raise UsageError(
            f"kd: {kd} is for x86_64 guests, not {cell.arch}", remedy="use --gdb, which every machine has"
        )
    return cell.model_copy(update={"kd": kd})


@dataclass
class GuestAtHand:
    """A running VM of a cell, and the ways into it."""

    starter: GuestStarter
    vm: Vm
    folder: Path
    ways: list[Way]
    patient: bool
    say: Say
    told: bool = False

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the guest. Raises as Transport.put."""
        with self._transport() as transport:
            transport.put(local, remote)

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the guest. Raises as Transport.get."""
        with self._transport() as transport:
            transport.get(remote, local)

    def ssh(self, command: Sequence[str]) -> int:
        """The host's own ssh, at this terminal; its exit status is the command's, or 255.

        A shell whose guest restarts meanwhile is opened again. Raises what goes wrong with the VM.
        """
        argv = [str(require_tool("ssh")), "-F", str(self.folder / SSH_CONFIG), HOST, *command]
        while True:
            resets = self._resets()
            status = self._run(argv, resets)
            restarted = self._resets() != resets
            if command or not restarted:
                return SSH_FAILED if restarted else status
            self.say("the guest restarted; logging in again")
            self._transport().close()  # waits until it answers

    def serial(self, command: Sequence[str]) -> int:
        """The guest's serial console at this terminal, or one command there; 0, or its exit code."""
        console = self.starter.definition.console
        if console is None:
            raise UsageError(
                f"guest {self.starter.definition.name} has no serial console",
                remedy="see docs/console.md, or leave --serial away",
            )
        if command:
            shell = open_shell(console, self.vm.ends.console.connect(), self.vm.check, timeout_s=CONSOLE_S)
            done = shell.run(" ".join(command), timeout_s=COMMAND_S)
            shell.close()
            print(done.stdout, end="")
            return done.exit_code
        require_terminal("--serial", "give a command behind --")
        self.say("serial console: Enter wakes it, Ctrl-] ends it")
        with self.vm.ends.console.connect() as connection:
            attach(connection, self._check)
        return 0

    def _transport(self) -> SshTransport:
        return self.starter.clients.connect(self.vm, self.folder)

    def _run(self, argv: Sequence[str], resets: int) -> int:
        """Run a program at the terminal and watch the VM meanwhile; it ends with this process, and with the VM."""
        child = subprocess.Popen(argv)
        try:
            while True:
                try:
                    return child.wait(WATCH_S)
                except subprocess.TimeoutExpired:
                    self._check()
                if self._resets() != resets:  # the guest forgot the connection, and nobody tells
                    child.terminate()
        finally:
            child.terminate()
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _check(self) -> None:
        """Raise what is wrong with the VM; under a debugger a guest that crashed is what the person wants to see."""
        try:
            self.vm.check()
        except GuestError as error:
            if not self.patient:
                raise
            if not self.told:
                self.told = True
                self.say(f"{error.message}: it stands for the debugger, Ctrl-C ends it")

    def _resets(self) -> int:
        return sum(event.name == "RESET" for event in self.vm.qmp.events)


@contextmanager
def guest_at_hand(
    cell: Cell, folder: Path, *, ports: Ports, bare: bool = False, say: Say = lambda _: None
) -> Generator[GuestAtHand, None, None]:
    """The cell's guest as a test gets it: test drivers loaded, reference HAL set; gone when the context ends.

    With `bare` it is the guest alone, without drivers and client. It may restart itself. Logs go into `folder`. Raises
    whatever starting raises.
    """
    definition = load_guest(cell.guest or "")
    if bare:
        definition = definition.model_copy(update={"lane": None})
    choice = accelerator_for(cell)
    starter = GuestStarter(cell, definition, accel=choice.accel, ports=ports)
    say(f"starting {definition.title} ({definition.kind}; {choice.accel}: {choice.reason})")
    starter.prepare(folder)
    patient = ports.gdb or cell.gdb or cell.kd is not Kd.NONE
    with ExitStack() as stack:
        if bare:
            vm = stack.enter_context(starter.vm(folder))
        else:
            vm = stack.enter_context(starter.start(folder)).vm
        starter.clients.connect(vm, folder).close()  # whoever comes next needs no patience
        stack.enter_context(vm.expecting("RESET"))
        found = ways(vm, starter.image, folder, starter.ports, patient=patient)
        yield GuestAtHand(starter, vm, folder, found, patient, say)
