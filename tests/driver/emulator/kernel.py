"""The routines of an NT kernel that the driver calls, as far as it uses them, and as strict as Driver Verifier."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.driver.emulator.errors import Bugcheck, NotModelled
from tests.driver.emulator.hal import Hal
from tests.driver.emulator.machine import Api, Machine, Thread, Wait

SUCCESS = 0
UNSUCCESSFUL = 0xC0000001
INVALID_HANDLE = 0xC0000008
INVALID_PARAMETER = 0xC000000D
OBJECT_NAME_COLLISION = 0xC0000035
OBJECT_NAME_NOT_FOUND = 0xC0000034
BUFFER_TOO_SMALL = 0xC0000023
KERNEL_IMAGE, HAL_IMAGE = 0x7000_0000, 0x7100_0000
ALL_GROUPS = 0xFFFF
#: Up to which IRQL a routine may be called, where that is above PASSIVE_LEVEL. The HAL pair may not, and is what the
#: driver breaks that rule for on purpose.
HIGHEST_IRQL = {
    **dict.fromkeys(
        ["ExAllocatePoolWithTag", "ExFreePoolWithTag", "IofCompleteRequest", "KeReleaseMutex"], 2
    ),
    **dict.fromkeys(["KfRaiseIrql", "KeLowerIrql", "KeGetCurrentProcessorNumberEx", "memcpy", "memset"], 31),
    **dict.fromkeys(["HalAllocateHardwareCounters", "HalFreeHardwareCounters"], 31),
}
DEVICE_SIZE = 0x150
DEVICE_NEXT, DEVICE_DRIVER, DEVICE_EXTENSION = 0x10, 0x08, 0x40
DRIVER_DEVICE = 0x08


@dataclass
class Mutex:
    owner: Thread
    depth: int


@dataclass
class Kernel:
    """Its knobs are fields: what is absent, what fails, what there is of processors."""

    machine: Machine
    hal: Hal
    build: int = 20348
    version: tuple[int, int] = (10, 0)
    cpus: int = 4
    group_cpus: tuple[int, ...] = ()
    """Processors of each group, where there are several groups; else all of them are one."""
    absent: frozenset[str] = frozenset()
    fail_pool_after: int | None = None
    """That many allocations succeed, all later ones fail."""
    fail_threads_after: int | None = None
    failing: dict[str, int] = field(default_factory=dict)
    """Routines that answer with this status and do nothing."""

    pool: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Address → size, tag, type."""
    pool_types: set[int] = field(default_factory=set)
    devices: dict[int, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    completed: list[int] = field(default_factory=list)
    handles: dict[int, Thread | str] = field(default_factory=dict)
    mutexes: dict[int, Mutex] = field(default_factory=dict)
    pins: int = 0
    pinned_to: list[int] = field(default_factory=list)
    pinned_groups: list[int] = field(default_factory=list)
    """Number and group of each processor that a thread was pinned to."""
    security: bytes | None = None
    registry: dict[str, int] = field(default_factory=dict)
    """DWORD values of the service's key."""
    _extensions: dict[int, int] = field(default_factory=dict)
    _next_handle: int = 0x80000000
    _pool_calls: int = 0
    _thread_calls: int = 0

    def resolve(self, name: str) -> int:
        """The address of a routine that the image imports. Raises NotModelled."""
        routine = self._routines().get(name)
        if routine is None:
            raise NotModelled(f"the driver imports {name}")
        return self.machine.api(name, self._with_failures(name, routine))

    def _with_failures(self, name: str, routine: Api) -> Api:
        def call(machine: Machine) -> int | Wait | None:
            if machine.irql > HIGHEST_IRQL.get(name, 0):
                raise Bugcheck(f"IRQL_NOT_LESS_OR_EQUAL: {name} at IRQL {machine.irql}")
            return self.failing[name] if name in self.failing else routine(machine)

        return call

    def _routines(self) -> dict[str, Api]:
        own: dict[str, Api] = {
            "ExAllocatePoolWithTag": self._allocate_pool,
            "ExFreePoolWithTag": self._free_pool,
            "IoCreateDevice": self._create_device,
            "IoDeleteDevice": self._delete_device,
            "IoCreateSymbolicLink": self._create_link,
            "IoDeleteSymbolicLink": self._delete_link,
            "IofCompleteRequest": self._complete,
            "KeDelayExecutionThread": lambda _: SUCCESS,
            "ZwYieldExecution": lambda _: SUCCESS,
            "KeInitializeMutex": lambda _: None,
            "KeWaitForSingleObject": self._wait_mutex,
            "KeReleaseMutex": self._release_mutex,
            "MmGetSystemRoutineAddress": self._find_routine,
            "PsCreateSystemThread": self._create_thread,
            "PsTerminateSystemThread": self._terminate_thread,
            "ZwWaitForSingleObject": self._wait_thread,
            "ZwClose": self._close,
            "RtlGetVersion": self._get_version,
            "ZwOpenKey": self._open_key,
            "ZwQueryValueKey": self._query_value,
            "RtlInitUnicodeString": self._init_string,
            "__C_specific_handler": self._c_handler,
            "memcpy": self._copy,
            "memset": self._fill,
        }
        return own

    def _run_time_routines(self) -> dict[str, Api]:
        """What the driver asks for by name."""
        return {
            **self._routines(),
            **self._hal_routines(),
            "KeSetSystemGroupAffinityThread": self._pin,
            "KeRevertToUserGroupAffinityThread": self._unpin,
            "KeSetSystemAffinityThreadEx": self._pin_old,
            "KeRevertToUserAffinityThreadEx": self._unpin,
            "KeGetProcessorNumberFromIndex": self._processor_from_index,
            "KeGetCurrentProcessorNumberEx": self._current_processor,
            "KeQueryActiveProcessorCountEx": self._processor_count,
            "KeQueryActiveGroupCount": lambda _: len(self.groups),
            "KfRaiseIrql": self._raise_irql,
            "KeLowerIrql": self._lower_irql,
            "RtlPcToFileHeader": self._image_of,
            "KeQueryPerformanceCounter": self._performance_counter,
            "ObOpenObjectByPointer": self._open_object,
            "ZwSetSecurityObject": self._set_security,
        }

    def _hal_routines(self) -> dict[str, Api]:
        if not self.hal.present:
            return {}
        return {
            "HalAllocateHardwareCounters": self.hal.allocate,
            "HalFreeHardwareCounters": self.hal.free,
        }

    # Strings

    def text(self, string: int) -> str:
        """Of a UNICODE_STRING."""
        length = self.machine.read_int(string, 2)
        return self.machine.read(self.machine.read_int(string + 8), length).decode("utf-16-le")

    def _init_string(self, machine: Machine) -> None:
        target, source = machine.argument(0), machine.argument(1)
        length = 0
        while machine.read(source + length, 2) != b"\0\0":
            length += 2
        machine.write_int(target, length, 2)
        machine.write_int(target + 2, length + 2, 2)
        machine.write_int(target + 8, source)

    # Pool and memory

    def _allocate_pool(self, machine: Machine) -> int:
        kind, size, tag = machine.argument(0) & 0xFFFFFFFF, machine.argument(1), machine.argument(2)
        self._pool_calls += 1
        if self.fail_pool_after is not None and self._pool_calls > self.fail_pool_after:
            return 0
        if size == 0:
            raise Bugcheck("BAD_POOL_CALLER: 0 bytes")
        address = machine.allocate(size)
        self.pool[address] = (size, tag & 0xFFFFFFFF, kind)
        self.pool_types.add(kind)
        return address

    def _free_pool(self, machine: Machine) -> None:
        address, tag = machine.argument(0), machine.argument(1) & 0xFFFFFFFF
        if address not in self.pool:
            raise Bugcheck(f"BAD_POOL_CALLER: {address:#x} is freed twice, or was never allocated")
        if self.pool.pop(address)[1] != tag:
            raise Bugcheck(f"BAD_POOL_CALLER: {address:#x} is freed with another tag")
        machine.release(address)

    @staticmethod
    def _copy(machine: Machine) -> int:
        target, source, size = (machine.argument(i) for i in range(3))
        machine.write(target, machine.read(source, size))
        return target

    @staticmethod
    def _fill(machine: Machine) -> int:
        target, value, size = (machine.argument(i) for i in range(3))
        machine.write(target, bytes([value & 0xFF]) * size)
        return target

    # Devices

    def _create_device(self, machine: Machine) -> int:
        driver, size, name, cell = (machine.argument(i) for i in (0, 1, 2, 6))
        if self.text(name) in self.devices.values():
            return OBJECT_NAME_COLLISION
        device, extension = machine.allocate(DEVICE_SIZE), machine.allocate(size & 0xFFFFFFFF)
        machine.write(device, bytes(DEVICE_SIZE))
        machine.write(extension, bytes(size & 0xFFFFFFFF))
        machine.write_int(device + DEVICE_DRIVER, driver)
        machine.write_int(device + DEVICE_EXTENSION, extension)
        machine.write_int(device + DEVICE_NEXT, machine.read_int(driver + DRIVER_DEVICE))
        machine.write_int(driver + DRIVER_DEVICE, device)
        machine.write_int(cell, device)
        self.devices[device] = self.text(name)
        self._extensions[device] = extension
        return SUCCESS

    def _delete_device(self, machine: Machine) -> None:
        device = machine.argument(0)
        if device not in self.devices:
            raise Bugcheck(f"IoDeleteDevice of {device:#x}, which is no device")
        machine.write_int(machine.read_int(device + DEVICE_DRIVER) + DRIVER_DEVICE, 0)
        del self.devices[device]
        machine.release(self._extensions.pop(device))
        machine.release(device)

    def _create_link(self, machine: Machine) -> int:
        link = self.text(machine.argument(0))
        if link in self.links:
            return OBJECT_NAME_COLLISION
        self.links[link] = self.text(machine.argument(1))
        return SUCCESS

    def _delete_link(self, machine: Machine) -> int:
        return SUCCESS if self.links.pop(self.text(machine.argument(0)), None) else UNSUCCESSFUL

    def _complete(self, machine: Machine) -> None:
        self.completed.append(machine.argument(0))

    def _open_object(self, machine: Machine) -> int:
        return self._new_handle(machine, machine.argument(6), "device")

    def _set_security(self, machine: Machine) -> int:
        handle, descriptor = machine.argument(0), machine.argument(2)
        if handle not in self.handles:
            return INVALID_HANDLE
        acl = descriptor + machine.read_int(descriptor + 16, 4)
        self.security = machine.read(descriptor, 20) + machine.read(acl, machine.read_int(acl + 2, 2))
        return SUCCESS

    def _new_handle(self, machine: Machine, cell: int, object_: Thread | str) -> int:
        self._next_handle += 4
        self.handles[self._next_handle] = object_
        machine.write_int(cell, self._next_handle)
        return SUCCESS

    def _close(self, machine: Machine) -> int:
        if self.handles.pop(machine.argument(0), None) is None:
            raise Bugcheck(f"INVALID_KERNEL_HANDLE: {machine.argument(0):#x} is closed")
        return SUCCESS

    # Threads

    def _create_thread(self, machine: Machine) -> int:
        self._thread_calls += 1
        if self.fail_threads_after is not None and self._thread_calls > self.fail_threads_after:
            return 0xC000009A
        return self._new_handle(
            machine, machine.argument(0), machine.new_thread(machine.argument(5), machine.argument(6))
        )

    @staticmethod
    def _terminate_thread(machine: Machine) -> None:
        machine.end_current()

    def _wait_thread(self, machine: Machine) -> int | Wait:
        thread = self.handles.get(machine.argument(0))
        if not isinstance(thread, Thread):
            raise Bugcheck(f"a wait for {machine.argument(0):#x}, which is no thread")
        return SUCCESS if thread.done else Wait()

    def _wait_mutex(self, machine: Machine) -> int | Wait:
        if machine.read_int(machine.get("rsp") + 0x28):
            raise NotModelled("a wait with a timeout")
        mutex = self.mutexes.get(machine.argument(0))
        if mutex is not None and mutex.owner is not machine.current:
            return Wait()
        depth = mutex.depth + 1 if mutex else 1
        self.mutexes[machine.argument(0)] = Mutex(machine.current, depth)
        return SUCCESS

    def _release_mutex(self, machine: Machine) -> int:
        mutex = self.mutexes.get(machine.argument(0))
        if mutex is None or mutex.owner is not machine.current:
            raise Bugcheck("MUTEX_NOT_OWNED")
        mutex.depth -= 1
        if mutex.depth == 0:
            del self.mutexes[machine.argument(0)]
        return 0

    # Processors, time, versions

    @property
    def groups(self) -> tuple[int, ...]:
        """Processors of each group."""
        return self.group_cpus or (self.cpus,)

    def _processor_count(self, machine: Machine) -> int:
        group = machine.argument(0) & 0xFFFF
        return sum(self.groups) if group == ALL_GROUPS else self.groups[group]

    def _processor_from_index(self, machine: Machine) -> int:
        number = machine.argument(0) & 0xFFFFFFFF
        for group, cpus in enumerate(self.groups):
            if number < cpus:
                machine.write(machine.argument(1), bytes([group, 0, number, 0]))
                return SUCCESS
            number -= cpus
        return INVALID_PARAMETER

    def _current_processor(self, machine: Machine) -> int:
        group, here = (self.pinned_groups[-1], self.pinned_to[-1]) if self.pins else (0, 0)
        machine.write(machine.argument(0), bytes([group, 0, here, 0]))
        return sum(self.groups[:group]) + here

    def _pin(self, machine: Machine) -> None:
        affinity = machine.argument(0)
        self._pin_mask(machine.read_int(affinity), machine.read_int(affinity + 8, 2))
        machine.write(machine.argument(1), bytes(16))

    def _pin_old(self, machine: Machine) -> int:
        self._pin_mask(machine.argument(0), 0)
        return 0

    def _pin_mask(self, mask: int, group: int) -> None:
        if group >= len(self.groups) or mask == 0 or mask >> self.groups[group]:
            raise Bugcheck(f"affinity {mask:#x} of group {group} with processors {self.groups}")
        self.pins += 1
        self.pinned_to.append(mask.bit_length() - 1)
        self.pinned_groups.append(group)

    def _unpin(self, machine: Machine) -> None:
        self.pins -= 1
        if self.pins < 0:
            raise Bugcheck("an affinity is reverted that was not set")

    @staticmethod
    def _performance_counter(machine: Machine) -> int:
        if machine.argument(0):
            machine.write_int(machine.argument(0), 10_000_000)
        return 123_456_789

    def _get_version(self, machine: Machine) -> int:
        at = machine.argument(0)
        for offset, value in zip((4, 8, 12), (*self.version, self.build), strict=True):
            machine.write_int(at + offset, value, 4)
        return SUCCESS

    def _find_routine(self, machine: Machine) -> int:
        name = self.text(machine.argument(0))
        routine = self._run_time_routines().get(name)
        if routine is None or name in self.absent:
            return 0
        return machine.api(name, self._with_failures(name, routine))

    def _open_key(self, machine: Machine) -> int:
        name = self.text(machine.read_int(machine.argument(2) + 0x10))
        return self._new_handle(machine, machine.argument(0), f"key {name}")

    def _query_value(self, machine: Machine) -> int:
        """KeyValuePartialInformation of a REG_DWORD."""
        name, at, room, cell = (machine.argument(i) for i in (1, 3, 4, 5))
        value = self.registry.get(self.text(name))
        if value is None:
            return OBJECT_NAME_NOT_FOUND
        data = b"".join(number.to_bytes(4, "little") for number in (0, 4, 4, value))
        machine.write_int(cell, len(data), 4)
        if room & 0xFFFFFFFF < len(data):
            return BUFFER_TOO_SMALL
        machine.write(at, data)
        return SUCCESS

    def _image_of(self, machine: Machine) -> int:
        """The HAL lies elsewhere than the rest."""
        hal = {machine.api(name, routine) for name, routine in self._hal_routines().items()}
        image = HAL_IMAGE if machine.argument(0) in hal else KERNEL_IMAGE
        machine.write_int(machine.argument(1), image)
        return image

    @staticmethod
    def _raise_irql(machine: Machine) -> int:
        before = machine.irql
        machine.irql = machine.argument(0) & 0xFF
        return before

    @staticmethod
    def _lower_irql(machine: Machine) -> None:
        machine.irql = machine.argument(0) & 0xFF

    @staticmethod
    def _c_handler(_machine: Machine) -> int:
        raise NotModelled("a direct call of __C_specific_handler")
