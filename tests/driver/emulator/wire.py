"""The wire format, read from the headers themselves: request codes, constants and structures by name."""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any

from harness.paths import driver_sources

TYPES: dict[str, Any] = {
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "char": ctypes.c_char,
}
FIELD = re.compile(r"(?:struct )?(?P<type>\w+) (?P<names>[^;]+);")
NAME = re.compile(r"(?P<name>\w+)(?P<array>\[(?P<size>\w*)\])?$")


class Wire:
    """`codes` maps INFO, ALLOCATE ... to I/O control codes; `constants` has the other numbers."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        self.constants: dict[str, int] = {}
        for name, value in re.findall(r"^#define (PM\w+) (0x[0-9A-Fa-f]+|\d+)u?\s*$", text, re.MULTILINE):
            self.constants[name] = int(value, 0)
        for body in re.findall(r"^enum \w+ \{([^}]*)\};", text, re.MULTILINE):
            for name, value in re.findall(r"(\w+) = (\d+)", body):
                self.constants[name] = int(value)
        self.codes = {
            name: 0x8000 << 16 | self.constants.get(access, 3) << 14 | int(number, 16) << 2
            for name, number, access in re.findall(
                r"^#define PMCTEST_(\w+) PMCTEST_CODE\((0x\w+?)u(?:, (\w+))?\)", text, re.MULTILINE
            )
        }
        self.structures: dict[str, type[ctypes.Structure]] = {}
        for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL):
            if "{" not in body:
                self.structures[name] = type(name, (ctypes.Structure,), {"_fields_": self._fields(body)})
        self.sizes = {
            name: eval(size, {"__builtins__": {}}, self.constants)  # noqa: S307 - arithmetic of the header
            for name, size in re.findall(r"sizeof\(struct (\w+)\) == ([\w +*]+?),", text)
            if "sizeof" not in size
        }

    def _fields(self, body: str) -> list[tuple[str, Any]]:
        fields = []
        for match in FIELD.finditer(body):
            kind: Any = TYPES.get(match["type"]) or self.structures.get(match["type"], ctypes.c_uint64)
            for text in match["names"].split(", "):
                name = NAME.search(text)
                assert name is not None, text
                if name["array"]:
                    size = name["size"] or "0"
                    fields.append((name["name"], kind * (self.constants.get(size) or int(size, 0))))
                else:
                    fields.append((name["name"], kind))
        return fields

    def __getattr__(self, name: str) -> Any:
        """A structure of pmctest.h: wire.info(...), or of pmu.h: wire.pmu_report."""
        try:
            return self.structures.get(f"pmctest_{name}") or self.structures[name]
        except KeyError:
            raise AttributeError(name) from None


@functools.cache
def wire() -> Wire:
    """The format of this checkout."""
    sources = driver_sources()
    headers = ("pmu/pmu.h", "include/counter_abi.h", "include/pmctest.h")
    return Wire("\n".join((sources / header).read_text() for header in headers))
