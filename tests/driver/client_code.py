"""The client's portable C modules (JSON, SHA-256), compiled for the host and called from Python.

The same source files go into pmcctl.exe; nothing of them depends on Windows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.deadlines import Deadline
from harness.toolchain import zig

MODULES = ("buffer.c", "json_read.c", "json_write.c", "sha256.c")
FLAGS = (
    "-O1",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-fPIC",
    "-nostdlib",
    "-fno-stack-protector",
)


def compile_client_code(folder: Path, sources: Path) -> Path:
    """A shared library for the host, without any C library."""
    target = folder / "client.so"
    files = [str(sources / "client" / module) for module in MODULES]
    deadline = Deadline("compiling the client's modules for the host", 300.0)
    # memcpy and memset come from the process that loads the library.
    zig(["cc", *FLAGS, "-Wl,-z,undefs", *files, "-o", str(target)], deadline)
    return target


class Span(ctypes.Structure):
    """struct json."""

    _fields_ = [("begin", ctypes.c_void_p), ("end", ctypes.c_void_p)]


class Buffer(ctypes.Structure):
    """struct buffer."""

    _fields_ = [
        ("text", ctypes.c_void_p),
        ("room", ctypes.c_size_t),
        ("length", ctypes.c_size_t),
        ("full", ctypes.c_bool),
    ]


class Writer(ctypes.Structure):
    """struct json_writer."""

    _fields_ = [("buffer", ctypes.POINTER(Buffer)), ("comma", ctypes.c_bool)]


class Sha256(ctypes.Structure):
    """struct sha256."""

    _fields_ = [("state", ctypes.c_uint32 * 8), ("bytes", ctypes.c_uint64), ("block", ctypes.c_uint8 * 64)]


class Parsed:
    """A parsed line. Keeps the text alive that the spans point into."""

    def __init__(self, library: ctypes.CDLL, text: Any, span: Span) -> None:
        self._library, self._text, self.span = library, text, span

    def _at(self, span: Span) -> Parsed:
        return Parsed(self._library, self._text, span)

    def items(self) -> Iterator[tuple[Parsed, Parsed]]:
        """Keys and values of an object, or values of an array with a meaningless key."""
        cursor, key, value = ctypes.c_void_p(), Span(), Span()
        while self._library.json_next(
            self.span, ctypes.byref(cursor), ctypes.byref(key), ctypes.byref(value)
        ):
            yield (
                self._at(Span(key.begin, key.end)),
                self._at(Span(value.begin, value.end)),
            )

    def member(self, name: str) -> Parsed | None:
        """The member with this name."""
        value = Span()
        found = self._library.json_member(self.span, name.encode(), ctypes.byref(value))
        return self._at(value) if found else None

    def u32(self) -> int | None:
        """The value as json_u32 reads it, None when it refuses."""
        number = ctypes.c_uint32()
        return number.value if self._library.json_u32(self.span, ctypes.byref(number)) else None

    def hex(self) -> int | None:
        """The value as json_hex reads it."""
        number = ctypes.c_uint64()
        return number.value if self._library.json_hex(self.span, ctypes.byref(number)) else None

    def bool(self) -> bool | None:
        """The value as json_bool reads it."""
        truth = ctypes.c_bool()
        return truth.value if self._library.json_bool(self.span, ctypes.byref(truth)) else None

    def string(self, room: int = 1 << 16) -> str | None:
        """The value as json_string reads it."""
        text = ctypes.create_string_buffer(room)
        return text.value.decode() if self._library.json_string(self.span, text, room) else None

    def value(self) -> Any:
        """The whole as Python has it, with None for what the client does not read (fractions, negative numbers)."""
        if self._library.json_is_object(self.span):
            return {key.string(): value.value() for key, value in self.items()}
        if self._library.json_is_array(self.span):
            return [value.value() for _, value in self.items()]
        for reading in (self.string(), self.bool(), self.u32()):
            if reading is not None:
                return reading
        return None


class ClientCode:
    """The compiled modules."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name in (
            "parse",
            "is_object",
            "is_array",
            "is_null",
            "member",
            "next",
            "u32",
            "hex",
            "bool",
            "string",
        ):
            getattr(library, f"json_{name}").restype = ctypes.c_bool
        for name in ("is_object", "is_array", "is_null"):
            getattr(library, f"json_{name}").argtypes = [Span]
        library.json_parse.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Span)]
        library.json_member.argtypes = [Span, ctypes.c_char_p, ctypes.POINTER(Span)]
        library.json_next.argtypes = [Span, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        library.json_string.argtypes = [Span, ctypes.c_char_p, ctypes.c_size_t]
        for name in ("u32", "hex", "bool"):
            getattr(library, f"json_{name}").argtypes = [Span, ctypes.c_void_p]
        library.json_put_string.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p, ctypes.c_char_p]
        library.json_put_u32.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p, ctypes.c_uint32]
        library.json_put_hex.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p, ctypes.c_uint64]
        library.json_put_bool.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p, ctypes.c_bool]
        library.json_put_null.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p]
        library.json_open.argtypes = [ctypes.POINTER(Writer), ctypes.c_char_p, ctypes.c_char]
        library.json_close.argtypes = [ctypes.POINTER(Writer), ctypes.c_char]
        library.sha256_add.argtypes = [ctypes.POINTER(Sha256), ctypes.c_char_p, ctypes.c_size_t]

    def parse(self, line: bytes) -> Parsed | None:
        """json_parse; None when the line is refused."""
        text = ctypes.create_string_buffer(line, max(len(line), 1))  # without a NUL behind it
        span = Span()
        valid = self._library.json_parse(ctypes.addressof(text), len(line), ctypes.byref(span))
        return Parsed(self._library, text, span) if valid else None

    def write(self, value: Any, room: int = 1 << 20) -> tuple[bytes, bool]:
        """The value as the writer writes it into a buffer of this size; and whether the buffer was too small."""
        text = ctypes.create_string_buffer(b"\xee" * (room + 8), room + 8)
        buffer = Buffer(ctypes.addressof(text), room, 0, False)
        self._put(Writer(ctypes.pointer(buffer), False), None, value)
        assert text.raw[room:] == b"\xee" * 8, "written behind the buffer"
        return text.raw[: buffer.length], buffer.full

    def _put(self, writer: Writer, name: bytes | None, value: Any) -> None:
        library, to = self._library, ctypes.byref(writer)
        if isinstance(value, dict):
            library.json_open(to, name, b"{")
            for key, item in value.items():
                self._put(writer, key.encode(), item)
            library.json_close(to, b"}")
        elif isinstance(value, list):
            library.json_open(to, name, b"[")
            for item in value:
                self._put(writer, None, item)
            library.json_close(to, b"]")
        elif isinstance(value, bool):
            library.json_put_bool(to, name, value)
        elif isinstance(value, int):
            library.json_put_u32(to, name, value)
        elif isinstance(value, str):
            library.json_put_string(to, name, value.encode())
        else:
            library.json_put_null(to, name)

    def put_hex(self, number: int) -> bytes:
        """One 64-bit number as the writer writes it."""
        text = ctypes.create_string_buffer(64)
        buffer = Buffer(ctypes.addressof(text), 64, 0, False)
        self._library.json_put_hex(ctypes.byref(Writer(ctypes.pointer(buffer), False)), None, number)
        return text.raw[: buffer.length]

    def sha256(self, pieces: list[bytes]) -> str:
        """The hash of the pieces together."""
        state, digest = Sha256(), (ctypes.c_uint8 * 32)()
        self._library.sha256_start(ctypes.byref(state))
        for piece in pieces:
            self._library.sha256_add(ctypes.byref(state), piece, len(piece))
        self._library.sha256_finish(ctypes.byref(state), digest)
        return bytes(digest).hex()
