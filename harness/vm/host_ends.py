"""The host's ends of a machine: the sockets that lead to it and the files that take its writes, which QEMU inherits."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from harness.errors import QemuError
from harness.vm.command_line import Control, qmp_arguments
from harness.vm.machine import Machine
from harness.vm.overlay import fd_path, nameless_copy, nameless_overlay
from harness.vm.ports import PortFolder, Ports
from harness.vm.state import SavedState
from harness.vm.tpm import Tpm
from harness.vm.unix_port import UnixPort


class HostEnds:
    """The ends of one machine, which are there from `open` to `close`. QMP is not among them."""

    def __init__(
        self, machine: Machine, folder: Path, *, saved: SavedState | None, overlay_dir: Path, ports: Ports
    ) -> None:
        self._machine = machine
        self._saved = saved
        self._overlay_dir = overlay_dir
        self._lane: socket.socket | None = None
        self._tpm = Tpm(folder) if machine.tpm else None
        #: Leads to the guest's first serial port where the machine has a console: `console.connect()`.
        self.console = UnixPort(folder)
        self.ports = PortFolder(folder, ports, machine.kd)
        #: The file with the guest's writes.
        self.overlay_fd: int | None = None

    def open(self, inherited: ExitStack, qmp: int) -> tuple[Control, list[int]]:
        """How QEMU is led to them, and to the QMP socket `qmp`; and all descriptors that it has to inherit.

        QEMU's ends are open for as long as `inherited` lasts. Raises QemuError, ToolMissing, InfrastructureError.
        """
        fds = [qmp]

        def pass_on(end: IO[bytes] | socket.socket) -> int:
            inherited.callback(end.close)
            fds.append(end.fileno())
            return fds[-1]

        overlay = variables = lane = tpm = console = None
        if (file := self._overlay()) is not None:
            overlay = pass_on(file)
            self.overlay_fd = os.dup(overlay)
        if (file := self._variables()) is not None:
            variables = pass_on(file)
        if self._machine.lane_device is not None:
            self._lane, theirs = socket.socketpair()
            lane = pass_on(theirs)
        if self._tpm is not None:
            tpm = pass_on(self._tpm.start())
        if self._machine.console and self._machine.serial_log is not None:
            console = pass_on(self.console.listen())
        opened = self.ports.listen(inherited)
        control = Control(
            qmp_arguments(
                qmp, opened.arguments, incoming=self._saved is not None and self._saved.stream is not None
            ),
            overlay=fd_path(overlay) if overlay is not None else None,
            lane=lane,
            variables=fd_path(variables) if variables is not None else None,
            tpm=tpm,
            console=console,
            kd=opened.kd,
        )
        return control, fds + opened.fds

    def _overlay(self) -> IO[bytes] | None:
        """The file for the guest's writes; None where they go elsewhere."""
        if self._saved is not None:
            return nameless_copy(self._saved.overlay, self._overlay_dir)
        if self._machine.disk is None or not self._machine.disk_snapshot:
            return None
        return nameless_overlay(self._machine.disk, self._machine.disk_format, self._overlay_dir)

    def _variables(self) -> IO[bytes] | None:
        """The same for what the firmware remembers."""
        uefi = self._machine.uefi
        if uefi is None or not self._machine.disk_snapshot:
            return None
        if self._saved is not None and self._saved.variables is not None:
            return nameless_copy(self._saved.variables, self._overlay_dir)
        return nameless_overlay(uefi.variables, uefi.variables_format, self._overlay_dir)

    @property
    def lane(self) -> socket.socket:
        """Our end of the machine's second serial port."""
        if self._lane is None:
            raise QemuError("the machine has no lane")
        return self._lane

    def check(self) -> None:
        """Raise InfrastructureError when one of them is broken: the TPM is gone."""
        if self._tpm is not None:
            self._tpm.check()

    def close(self) -> None:
        """Close and remove them all. Idempotent."""
        if self.overlay_fd is not None:
            os.close(self.overlay_fd)
            self.overlay_fd = None
        for end in (self._lane, self.console, self.ports, self._tpm):
            if end is not None:
                end.close()
