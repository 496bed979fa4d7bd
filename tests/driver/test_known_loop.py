"""How many instructions the known loop has: from the machine code of what was built, not from its source."""

from __future__ import annotations

import re
import struct

import pefile
import pytest

from harness.config.models import Arch
from harness.contract.exact import LOOP_INSTRUCTIONS
from harness.driver.build import build_driver
from harness.paths import driver_sources
from harness.probe.build import build_probe

ARM_NOP, ARM_SUBS_1, ARM_B_NE = 0xD503201F, 0x71000400, 0x54000001


def arm_loops(code: bytes) -> list[int]:
    """The lengths, in instructions, of all loops of nops that count a register down."""
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    found = []
    for end in range(1, len(words)):
        branch, decrement = words[end], words[end - 1]
        begin = end + (branch >> 5 & 0x7FFFF) - (1 << 19)  # the offset, in instructions, when it leads back
        if branch & 0xFF00001F != ARM_B_NE or not 0 <= begin < end - 1:
            continue
        counts_down = decrement & 0xFFFFFC00 == ARM_SUBS_1 and decrement & 0x1F == decrement >> 5 & 0x1F
        if counts_down and set(words[begin : end - 1]) == {ARM_NOP}:
            found.append(end - begin + 1)
    return found


def x86_loops(code: bytes) -> list[int]:
    """The same for x86: nops, SUB r32, 1 and JNZ with a short offset, which leads back to one of the nops."""
    found = []
    for match in re.finditer(rb"(\x90+)(\x41?\x83[\xe8-\xef]\x01)\x75(.)", code, re.DOTALL):
        (back,) = struct.unpack("b", match[3])
        nops = -back - len(match[2]) - 2  # a nop has one byte
        if 0 < nops <= len(match[1]):
            found.append(nops + 2)
    return found


LOOPS = {Arch.X86_64: x86_loops, Arch.AARCH64: arm_loops}


@pytest.mark.parametrize("arch", list(Arch))
def test_the_loop_that_was_built(arch: Arch) -> None:
    driver = pefile.PE(data=build_driver(arch).sys.path.read_bytes())
    (text,) = [s for s in driver.sections if s.Name.rstrip(b"\0") == b".text"]
    for code in (text.get_data(), build_probe(arch).read_bytes()):
        lengths = LOOPS[arch](code)
        assert lengths, "the loop was not found"
        assert set(lengths) == {LOOP_INSTRUCTIONS}


def test_the_source_knows_the_same_number() -> None:
    header = (driver_sources() / "pmu" / "pmu_internal.h").read_text()
    (number,) = re.findall(r"#define PMU_LOOP_INSTRUCTIONS (\d+)u", header)
    assert int(number) == LOOP_INSTRUCTIONS
