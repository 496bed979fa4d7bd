"""The client session: one long-lived client process in the guest, asked in JSON lines (guest_driver/PROTOCOL.md)."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.driver import protocol
from harness.errors import ClientError, ProtocolError
from harness.guest import win32
from harness.guest.transport import LineChannel

R = TypeVar("R", bound=BaseModel)

CALL_TIMEOUT_S = 60.0
LOGGED_BYTES = 4000


class ClientSession:
    """Asks the client and returns typed answers. Not thread-safe: one request is under way at a time.

    Raises ClientError when the client answers with an error, ProtocolError when it does not speak the protocol, and
    whatever the channel raises (TransportError, DeadlineExceeded, GuestPanicked …). `log` gets every line, cut. A
    client that `runs` already, at a serial port, is asked for the greeting that a new one says by itself.
    """

    def __init__(
        self, channel: LineChannel, *, greeting_timeout_s: float, log: Path, runs: bool = False
    ) -> None:
        self._channel = channel
        self._log = log.open("ab", buffering=0)
        self._next_id = 0
        if runs:
            self.hello = self.call("hello", protocol.Hello, timeout_s=greeting_timeout_s)
        else:
            self.hello = self._read(protocol.Hello, greeting_timeout_s, "greeting")
        if self.hello.protocol != protocol.PROTOCOL_VERSION:
            raise ProtocolError(
                f"the client speaks protocol {self.hello.protocol}, the harness {protocol.PROTOCOL_VERSION}",
                remedy="deploy the client that this harness builds",
            )

    def call(self, op: str, result: type[R], *, timeout_s: float = CALL_TIMEOUT_S, **args: Any) -> R:
        """Send one request and return its result as the given model."""
        request_model, result_model = protocol.REQUESTS[op]
        if result_model is not result:
            raise TypeError(f"{op} answers {result_model.__name__}, not {result.__name__}")
        self._next_id += 1
        body = {"id": self._next_id, "op": op, "args": request_model(**args).model_dump(mode="json")}
        request = json.dumps(body, separators=(",", ":")).encode()
        self._note(b"> ", request)
        self._channel.send_line(request)
        answer = self._read(protocol.Answer, timeout_s, op)
        if answer.id != self._next_id:
            raise ProtocolError(f"{op}: the client answered request {answer.id} instead of {self._next_id}")
        if answer.error is not None:
            raise _client_error(op, answer.error)
        try:
            return result.model_validate(answer.result)
        except ValidationError as error:
            raise ProtocolError(
                f"{op}: the client's result is not of the protocol: {_first(error)}",
                evidence={"result": json.dumps(answer.result)[:2000]},
            ) from None

    def _read(self, model: type[R], timeout_s: float, op: str) -> R:
        line = self._channel.read_line(timeout_s, f"client's answer to {op}")
        self._note(b"< ", line)
        try:
            return model.model_validate_json(line)
        except ValidationError as error:
            raise ProtocolError(
                f"{op}: the client printed a line that is not of the protocol: {_first(error)}",
                evidence={"line": repr(line[:500]), "stderr": self._channel.stderr_tail()},
            ) from None

    def _note(self, mark: bytes, line: bytes) -> None:
        self._log.write(mark + line[:LOGGED_BYTES] + b"\n")

    def close(self) -> None:
        """End the client; its devices are closed with it."""
        self._channel.close()
        self._note(b"stderr: ", self._channel.stderr_tail().encode())
        self._log.close()

    def __enter__(self) -> ClientSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _client_error(op: str, error: protocol.ErrorInfo) -> ClientError:
    windows = error.kind is protocol.ErrorKind.WIN32
    return ClientError(
        op,
        error.kind,
        error.code,
        error.what,
        name=win32.name(error.code) if windows else "",
        remedy=win32.remedy(error.code) if windows else "",
    )


def _first(error: ValidationError) -> str:
    """The first complaint of a validation error in one line."""
    item = error.errors()[0]
    return f"{'.'.join(map(str, item['loc'])) or 'line'}: {item['msg']}"
