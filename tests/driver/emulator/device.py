"""The loaded driver as the I/O manager sees it: requests in, statuses out, and what must hold after each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.driver.emulator.cpu import Cpu, IntelCpu
from tests.driver.emulator.errors import Bugcheck
from tests.driver.emulator.hal import Hal
from tests.driver.emulator.kernel import Kernel
from tests.driver.emulator.machine import Machine

CREATE, CLOSE, CONTROL, CLEANUP = 0, 2, 14, 18
DRIVER_SIZE, DRIVER_UNLOAD, DRIVER_FUNCTIONS, FUNCTIONS = 0x150, 0x68, 0x70, 28
IRP_SIZE, STACK_SIZE, FILE_SIZE = 0xD0, 0x48, 0xD8
SYSTEM_BUFFER, IO_STATUS, INFORMATION, CURRENT_STACK = 0x18, 0x30, 0x38, 0xB8
FILE_CONTEXT, FILE_NAME = 0x18, 0x58
SERVICES = r"\Registry\Machine\System\CurrentControlSet\Services" + "\\"


@dataclass(frozen=True)
class Answer:
    """Of one request: the status, and the bytes that the I/O manager would copy to the caller."""

    status: int
    data: bytes


class Driver:
    """One driver, loaded by load(). Each request checks what must hold after any request."""

    def __init__(
        self, file: Path, *, cpu: Cpu | None = None, hal: Hal | None = None, seed: int = 0, **knobs: Any
    ) -> None:
        self.cpu = cpu or IntelCpu()
        self.hal = hal or Hal()
        self.machine = Machine(self.cpu, seed)
        self.kernel = Kernel(self.machine, self.hal, **knobs)
        self.entry = self.machine.load(file.read_bytes(), self.kernel.resolve)
        self.object = self._zeroed(DRIVER_SIZE)

    def _zeroed(self, size: int) -> int:
        address = self.machine.allocate(size)
        self.machine.write(address, bytes(size))
        return address

    def _string(self, at: int, text: str) -> int:
        """Make a UNICODE_STRING; returns its buffer. There is no terminating zero, and nothing may rely on one."""
        data = text.encode("utf-16-le")
        buffer = self.machine.allocate(len(data))
        self.machine.write(buffer, data)
        self.machine.write_int(at, len(data), 2)
        self.machine.write_int(at + 2, len(data), 2)
        self.machine.write_int(at + 8, buffer)
        return buffer

    def load(self, service: str = "pmctest") -> int:
        """Call DriverEntry; its status."""
        path = self._zeroed(16)
        buffer = self._string(path, SERVICES + service)
        status = self.machine.call(self.entry, self.object, path) & 0xFFFFFFFF
        self.machine.release(buffer)
        self.machine.release(path)
        self._check_nothing_kept()
        return status

    def unload(self) -> None:
        """Call DriverUnload, and look whether anything is left behind."""
        self.machine.call(self.machine.read_int(self.object + DRIVER_UNLOAD), self.object)
        left = {
            "pool": self.kernel.pool,
            "devices": self.kernel.devices,
            "links": self.kernel.links,
            "handles": self.kernel.handles,
            "mutexes": self.kernel.mutexes,
        }
        kept = [name for name, what in left.items() if what]
        if kept:
            raise Bugcheck(f"DRIVER_LEFT_RESOURCES after unload: {', '.join(kept)}")

    def _check_nothing_kept(self) -> None:
        if self.kernel.mutexes:
            raise Bugcheck("a mutex is still held")
        if self.kernel.pins:
            raise Bugcheck("the thread is still pinned to a processor")
        if self.machine.irql:
            raise Bugcheck(f"the IRQL is still {self.machine.irql}")
        if self.machine.threads:
            raise Bugcheck("a thread is still running")

    @property
    def device(self) -> int:
        """The driver's one device object."""
        (device,) = self.kernel.devices
        return device

    def open(self, name: str = "") -> File:
        """Open the device, or something below it."""
        return File(self, name)

    def request(self, file: int, major: int, code: int = 0, given: bytes = b"", out: int = 0) -> Answer:
        """Send one IRP with METHOD_BUFFERED parameters."""
        machine, room = self.machine, max(len(given), out)
        irp, stack = self._zeroed(IRP_SIZE), self._zeroed(STACK_SIZE)
        buffer = machine.allocate(room) if room else 0
        if given:
            machine.write(buffer, given)
        machine.write_int(irp + SYSTEM_BUFFER, buffer)
        machine.write_int(irp + CURRENT_STACK, stack)
        machine.write_int(stack, major, 1)
        machine.write_int(stack + 0x08, out, 4)
        machine.write_int(stack + 0x10, len(given), 4)
        machine.write_int(stack + 0x18, code, 4)
        machine.write_int(stack + 0x28, self.device)
        machine.write_int(stack + 0x30, file)
        function = machine.read_int(self.object + DRIVER_FUNCTIONS + 8 * major)
        if not function:
            raise Bugcheck(f"the driver has no routine for major function {major}")
        registers = self.cpu.registers()
        self.kernel.completed.clear()
        returned = machine.call(function, self.device, irp) & 0xFFFFFFFF
        answer = self._answer(irp, buffer, out, returned)
        self._check_nothing_kept()
        if self.cpu.registers() != registers:
            raise Bugcheck("registers of the PMU are not as they were found")
        for address in (irp, stack, *([buffer] if buffer else [])):
            machine.release(address)
        return answer

    def _answer(self, irp: int, buffer: int, out: int, returned: int) -> Answer:
        if self.kernel.completed != [irp]:
            raise Bugcheck(f"the request was completed {len(self.kernel.completed)} times")
        status = self.machine.read_int(irp + IO_STATUS, 4)
        information = self.machine.read_int(irp + INFORMATION)
        if status != returned:
            raise Bugcheck(f"returned {returned:#x}, completed with {status:#x}")
        if information > out or (status >> 30 == 3 and information):
            raise Bugcheck(f"{information} bytes of {out} would be copied with status {status:#x}")
        return Answer(status, self.machine.read(buffer, information) if information else b"")


class File:
    """One open handle of the device."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.object = driver._zeroed(FILE_SIZE)
        self._buffer = driver._string(self.object + FILE_NAME, name)
        self.opened = driver.request(self.object, CREATE).status

    def control(self, code: int, given: bytes = b"", out: int = 0) -> Answer:
        """IRP_MJ_DEVICE_CONTROL."""
        return self.driver.request(self.object, CONTROL, code, given, out)

    def cleanup(self) -> int:
        """The last handle was closed."""
        return self.driver.request(self.object, CLEANUP).status

    def close(self, *, cleanup: bool = True) -> int:
        """The last reference is gone; the file object with it."""
        if cleanup:
            self.cleanup()
        status = self.driver.request(self.object, CLOSE).status
        self.driver.machine.release(self._buffer)
        self.driver.machine.release(self.object)
        return status
