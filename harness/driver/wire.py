"""The numbers of the protocol, and the base of its messages."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

_UINT64_MAX = (1 << 64) - 1


def _parse_hex(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch("0x[0-9a-fA-F]{1,16}", value):
        raise ValueError("not 0x and 1 to 16 hexadecimal digits")
    return int(value, 16)


HexInt = Annotated[
    int,
    BeforeValidator(_parse_hex),
    Field(strict=True, ge=0, le=_UINT64_MAX),
    PlainSerializer(hex, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{1,16}$"}),
]
"""A 64-bit value: "0x…" on the wire, because JSON numbers lose bits beyond 2^53."""

UInt32 = Annotated[int, Field(strict=True, ge=0, le=0xFFFF_FFFF)]
UInt16 = Annotated[int, Field(strict=True, ge=0, le=0xFFFF)]


class Message(BaseModel):
    """Base of all messages: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Empty(Message):
    """Nothing to say."""


class ErrorKind(StrEnum):
    """Whose number `code` is; `protocol` means that the request itself was wrong."""

    WIN32 = "win32"
    NTSTATUS = "ntstatus"
    PROTOCOL = "protocol"


class ErrorInfo(Message):
    """Why a request failed; `what` names the call, or says what is wrong with the request."""

    kind: ErrorKind
    code: UInt32
    what: str
