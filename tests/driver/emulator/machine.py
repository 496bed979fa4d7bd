"""One emulated CPU with threads, memory that is guarded at its ends, and exceptions that unwind the driver's frames."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pefile
import unicorn
from unicorn import x86_const

from tests.driver.emulator.cpu import Cpu
from tests.driver.emulator.errors import Bugcheck, Fault
from tests.driver.emulator.exceptions import raise_exception
from tests.driver.emulator.memory import PAGE, Memory
from tests.driver.emulator.unwind import PRESERVED, PRESERVED_XMM, REGISTERS, Function, read_functions

IMAGE_BASE = 0x1_8000_0000  # not where the image would like to be
API_BASE = 0x2_0000_0000
END = API_BASE  # a thread that returns here is done
STACK_SIZE = 0x8000
BLOCKS = 2_000_000  # a driver that runs on for so many basic blocks hangs
INSTRUCTIONS_PER_BLOCK = 10
TRAPS = {
    b"\x0f\x32": "rdmsr",
    b"\x0f\x30": "wrmsr",
    b"\x0f\x33": "rdpmc",
    b"\x44\x0f\x20": "read cr8",
    b"\x45\x0f\x20": "read cr8",
    b"\x44\x0f\x22": "write cr8",
    b"\x45\x0f\x22": "write cr8",
}

_IDS = {
    name: getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in (*REGISTERS, "rip", *PRESERVED_XMM)
}

#: A modelled routine: takes the machine, gives rax; or Wait to be asked again later.
Api = Callable[["Machine"], "int | Wait | None"]


class Wait:
    """The thread cannot go on now: others run first, then the routine is called again."""


@dataclass
class Thread:
    """A thread; `saved` is its registers while another one runs."""

    stack: int
    saved: Any = None
    done: bool = False
    calls: int = 0
    nested: list[int] = field(default_factory=list)


class Machine(Memory):
    """Loads an image, runs its functions."""

    base = IMAGE_BASE
    end = END

    def __init__(self, cpu: Cpu, seed: int = 0) -> None:
        super().__init__()
        self.cpu = cpu
        self.chance = random.Random(seed)  # noqa: S311
        self.preempt = False
        self.irql = 0  # CR8
        self.threads: list[Thread] = []
        self.current: Thread
        self._apis: dict[int, tuple[str, Api]] = {}
        self._api_addresses: dict[str, int] = {}
        self._stacks: list[int] = []  # of threads that are over
        self._trap: tuple[str, int] | None = None
        self._memory_fault = ""
        self._blocks = 0
        self.image = b""
        self.functions: list[Function] = []
        self.uc.mem_map(API_BASE, 4 * PAGE)
        self.uc.mem_write(API_BASE, b"\xeb\xfe" * (2 * PAGE))
        self.uc.hook_add(
            unicorn.UC_HOOK_CODE, lambda uc, *_: uc.emu_stop(), None, API_BASE, API_BASE + 4 * PAGE
        )
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        self.uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self._on_cpuid, None, 1, 0, x86_const.UC_X86_INS_CPUID)

    # Registers and arguments

    def get(self, register: str) -> int:
        return int(self.uc.reg_read(_IDS[register]))

    def set(self, register: str, value: int) -> None:
        self.uc.reg_write(_IDS[register], value)

    def argument(self, index: int) -> int:
        """Of the modelled routine that was just called."""
        if index < 4:
            return self.get(("rcx", "rdx", "r8", "r9")[index])
        return self.read_int(self.get("rsp") + 8 + 8 * index)

    def preserved(self) -> dict[str, int]:
        """The registers that a function must give back as it found them."""
        return {name: self.get(name) for name in (*PRESERVED, *PRESERVED_XMM, "rsp")}

    # Image and routines

    def api(self, name: str, routine: Api) -> int:
        """The address of a modelled routine."""
        if name not in self._api_addresses:
            address = API_BASE + 16 * (len(self._apis) + 1)
            self._apis[address] = (name, routine)
            self._api_addresses[name] = address
        return self._api_addresses[name]

    def api_address(self, name: str) -> int | None:
        """The address of a modelled routine that something is linked with."""
        return self._api_addresses.get(name)

    def api_name(self, address: int) -> str:
        """The routine at an address."""
        return self._apis[address][0] if address in self._apis else f"{address:#x}"

    def load(self, data: bytes, resolve: Callable[[str], int]) -> int:
        """Map, relocate and link an image; returns the address of its entry point."""
        pe = pefile.PE(data=data)
        pe.relocate_image(IMAGE_BASE)
        image = bytearray(pe.get_memory_mapped_image())
        image = image.ljust(-(-pe.OPTIONAL_HEADER.SizeOfImage // PAGE) * PAGE, b"\0")
        for entry in pe.DIRECTORY_ENTRY_IMPORT:
            for symbol in entry.imports:
                slot = symbol.address - pe.OPTIONAL_HEADER.ImageBase
                image[slot : slot + 8] = resolve(symbol.name.decode()).to_bytes(8, "little")
        self.image = bytes(image)
        self.uc.mem_map(IMAGE_BASE, len(image), unicorn.UC_PROT_NONE)
        self.uc.mem_write(IMAGE_BASE, self.image)
        self.uc.mem_protect(IMAGE_BASE, PAGE, unicorn.UC_PROT_READ)
        for section in pe.sections:
            flags = section.Characteristics
            rights = flags >> 30 & 1 and unicorn.UC_PROT_READ
            rights |= flags >> 31 and unicorn.UC_PROT_WRITE
            rights |= flags >> 29 & 1 and unicorn.UC_PROT_EXEC
            size = -(-section.Misc_VirtualSize // PAGE) * PAGE
            self.uc.mem_protect(IMAGE_BASE + section.VirtualAddress, size, rights)
            if rights & unicorn.UC_PROT_EXEC:
                self._set_traps(section.VirtualAddress, section.Misc_VirtualSize)
        directory = pe.OPTIONAL_HEADER.DATA_DIRECTORY[3]
        self.functions = read_functions(self.image, directory.VirtualAddress, directory.Size)
        return int(IMAGE_BASE + pe.OPTIONAL_HEADER.AddressOfEntryPoint)

    def _set_traps(self, begin: int, size: int) -> None:
        """Bytes that only look like the instruction are inside another one, where a hook never fires."""
        for code, name in TRAPS.items():
            at = self.image.find(code, begin, begin + size)
            while at != -1:
                address = IMAGE_BASE + at
                self.uc.hook_add(unicorn.UC_HOOK_CODE, self._on_trap, name, address, address)
                at = self.image.find(code, at + 1, begin + size)

    # Running

    def new_thread(self, function: int, *arguments: int) -> Thread:
        """A thread that is ready to run a function."""
        stack = self._stacks.pop() if self._stacks else self.allocate(STACK_SIZE)
        self._sizes[stack] = STACK_SIZE
        running = self.uc.context_save()
        thread = Thread(stack)
        top = stack + STACK_SIZE - 0x1000  # room for whoever looks at the caller's frame
        for name, value in zip(("rcx", "rdx", "r8", "r9"), arguments, strict=False):
            self.set(name, value)
        self.set("rsp", top - 8)
        self.write_int(top - 8, END)
        self.set("rip", function)
        for i, name in enumerate(PRESERVED):
            self.set(name, 0x1111_0000_0000 + i)
        thread.saved = self.uc.context_save()
        self.uc.context_restore(running)
        self.threads.append(thread)
        return thread

    def call(self, function: int, *arguments: int) -> int:
        """Run a function on a thread of its own, and all threads that it starts, until it returns; gives rax."""
        thread = self.new_thread(function, *arguments)
        self._switch_to(thread)
        before = self.preserved()
        self._blocks = 0
        self._run_until(thread)
        after = self.preserved()
        before["rsp"] += 8  # the return address
        if before != after:
            lost = [name for name in before if before[name] != after[name]]
            raise Bugcheck(f"the function returned with other values in {', '.join(lost)}")
        result = self.get("rax")
        self._end(thread)
        return result

    def _switch_to(self, thread: Thread) -> None:
        self.uc.context_restore(thread.saved)
        self.current = thread

    def _end(self, thread: Thread) -> None:
        thread.done = True
        self.threads.remove(thread)
        del self._sizes[thread.stack]
        self._stacks.append(thread.stack)

    def end_current(self) -> None:
        """The running thread is over."""
        self._end(self.current)

    def schedule(self) -> None:
        """Let the next thread run: the one that waited longest, or any of them while preemption is on."""
        if not self.current.done:
            self.current.saved = self.uc.context_save()
            self.threads.remove(self.current)
            self.threads.append(self.current)
        self._switch_to(self.chance.choice(self.threads) if self.preempt else self.threads[0])

    def _run_until(self, thread: Thread) -> None:
        waits = 0
        while True:
            self.go()
            rip = self.get("rip")
            if rip == END:
                if self.current is thread:
                    return
                self.end_current()
                self.schedule()
            elif self._trap is not None:
                self._instruction(*self._trap)
            elif rip in self._apis:
                waited = self._call_api(rip)
                waits = waits + 1 if waited else 0
                if waits > 50 * len(self.threads):
                    raise Bugcheck(f"deadlock in {self._apis[rip][0]}")
            elif self.preempt:
                self.schedule()
            else:
                raise Bugcheck(f"stopped at {rip:#x} without a reason")

    def go(self) -> None:
        """Run until something has to be looked at."""
        self._trap = None
        instructions = self.chance.randint(1, 60) if self.preempt else 0  # 0: no limit
        try:
            self.uc.emu_start(self.get("rip"), 0, 0, instructions)
        except unicorn.UcError as error:
            raise Bugcheck(self._memory_fault or f"{error} at {self.get('rip'):#x}") from None

    def _call_api(self, address: int) -> bool:
        """Run a modelled routine and return from it; True when it has to wait."""
        name, routine = self._apis[address]
        caller = self.current
        if self.get("rsp") % 16 != 8:
            raise Bugcheck(f"{name} is called with a misaligned stack")
        if self.irql and name not in ANY_IRQL:
            raise Bugcheck(f"IRQL_NOT_LESS_OR_EQUAL: {name} is called at {self.irql}")
        result = routine(self)
        if isinstance(result, Wait):
            self.schedule()
            return True
        if caller.done:
            self.schedule()
            return False
        self.set("rax", result or 0)
        rsp = self.get("rsp")
        self.set("rip", self.read_int(rsp))
        self.set("rsp", rsp + 8)
        if name in SWITCHING:
            self.schedule()
        return False

    def _instruction(self, name: str, address: int) -> None:
        if name.endswith("cr8"):
            prefix, _, _, operand = self.read(address, 4)
            register = REGISTERS[(operand & 7) + 8 * (prefix & 1)]
            if name == "read cr8":
                self.set(register, self.irql)
            else:
                self.irql = self.get(register)
            self.set("rip", address + 4)
        else:
            self._msr_instruction(name, address)

    def _msr_instruction(self, name: str, address: int) -> None:
        register, low, high = (self.get(r) & 0xFFFFFFFF for r in ("rcx", "rax", "rdx"))
        try:
            if name == "wrmsr":
                self.cpu.wrmsr(register, high << 32 | low)
            else:
                value = self.cpu.rdmsr(register) if name == "rdmsr" else self.cpu.rdpmc(register)
                self.set("rax", value & 0xFFFFFFFF)
                self.set("rdx", value >> 32)
            self.set("rip", address + 2)
        except Fault as fault:
            self.set("rip", address)
            raise_exception(self, fault.code)

    # Hooks

    def _on_trap(self, uc: Any, address: int, _size: int, name: str) -> None:
        self._trap = (name, address)
        uc.emu_stop()

    def _on_block(self, uc: Any, _address: int, _size: int, _data: object) -> None:
        self.cpu.retire(INSTRUCTIONS_PER_BLOCK)
        self._blocks += 1
        if self._blocks > BLOCKS:
            self._memory_fault = f"the driver has not come back after {BLOCKS} basic blocks"
            raise Bugcheck(self._memory_fault)

    def _on_cpuid(self, uc: Any, _data: object) -> int:
        values = self.cpu.cpuid(self.get("rax") & 0xFFFFFFFF, self.get("rcx") & 0xFFFFFFFF)
        for name, value in zip(("rax", "rbx", "rcx", "rdx"), values, strict=True):
            self.set(name, value)
        return 1

    def _on_invalid(self, uc: Any, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        kinds = {
            unicorn.UC_MEM_WRITE_UNMAPPED: "written",
            unicorn.UC_MEM_WRITE_PROT: "written (read-only)",
            unicorn.UC_MEM_FETCH_UNMAPPED: "executed",
            unicorn.UC_MEM_FETCH_PROT: "executed (not executable)",
        }
        self._memory_fault = (
            f"PAGE_FAULT: {size} bytes {kinds.get(access, 'read')} at {address:#x} by {self.get('rip'):#x}"
        )
        return False


ANY_IRQL = frozenset(
    {
        *(
            "HalAllocateHardwareCounters",
            "HalFreeHardwareCounters",
        ),  # wrong there, and the driver can do it on purpose
        *("ExAllocatePoolWithTag", "ExFreePoolWithTag", "IofCompleteRequest", "KeReleaseMutex"),
        *("KfRaiseIrql", "KeLowerIrql", "KeGetCurrentProcessorNumberEx", "KeQueryPerformanceCounter"),
        *("memcpy", "memset"),
    }
)
SWITCHING = frozenset({"ZwYieldExecution", "KeDelayExecutionThread"})
