"""The whole error tree. Every error says in one line what is wrong, and what to do next, and carries its evidence.

Three branches are kept apart, because they mean different things to the reader of a report:
a fault of the infrastructure, a fault of the guest, and a violation of the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

EXIT_OK = 0
EXIT_VIOLATION = 1
EXIT_USAGE = 2
EXIT_INFRASTRUCTURE = 3


class HalpmcError(Exception):
    """Base of all errors that the harness raises on purpose.

    `message` is one line; `remedy` says what the user can do; `evidence` maps a short title to text or to the
    path of a file (a log's tail, the last screen, the argv).
    """

    exit_code = EXIT_INFRASTRUCTURE
    branch = "infrastructure"

    def __init__(self, message: str, *, remedy: str = "", evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.evidence: dict[str, str] = dict(evidence or {})

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


class UsageError(HalpmcError):
    """The user asked for something that cannot be: a bad option, an unknown name."""

    exit_code = EXIT_USAGE
    branch = "usage"


class ConfigError(UsageError):
    """A file that the user wrote is wrong; the message starts with file:line:column."""

    def __init__(self, message: str, *, path: Path, line: int, column: int = 1, remedy: str = "") -> None:
        super().__init__(f"{path}:{line}:{column}: {message}", remedy=remedy)
        self.path, self.line, self.column = path, line, column


class DumpError(UsageError):
    """A file is no memory dump that can be read: another format, truncated, damaged."""


class InfrastructureError(HalpmcError):
    """The host could not do its part. Only this branch may be retried."""


class ToolMissing(InfrastructureError):
    """A program that the harness needs is not installed."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(
            f"{tool} is not installed",
            remedy=f"install the package {package}; halpmc doctor names all that are missing",
        )
        self.tool, self.package = tool, package


class NoSpace(InfrastructureError):
    """Too little free disk space or memory for what was asked."""


class CacheBusy(InfrastructureError):
    """Another process holds the lock of a cache entry for longer than the deadline."""


class BuildError(InfrastructureError):
    """Building the driver, the probe or a guest image failed."""


class DeadlineExceeded(InfrastructureError):
    """A named wait expired. The message says where it was stuck and what was seen last."""

    def __init__(
        self,
        name: str,
        seconds: float,
        last_seen: str = "",
        *,
        remedy: str = "",
        evidence: Mapping[str, str] | None = None,
    ) -> None:
        seen = f"; last seen: {last_seen}" if last_seen else "; nothing was seen"
        super().__init__(f"{name}: no answer within {seconds:.1f} s{seen}", remedy=remedy, evidence=evidence)
        self.name, self.seconds, self.last_seen = name, seconds, last_seen


class QemuError(InfrastructureError):
    """QEMU refused to start, died, or answered a QMP command with an error."""


class TransportError(InfrastructureError):
    """The way into the guest broke: connect, key exchange, authentication, channel, transfer."""


class GuestError(HalpmcError):
    """The guest, or what runs in it, did something wrong that is no clause of the contract."""

    branch = "guest"


class GuestPanicked(GuestError):
    """The guest's kernel died (pvpanic, hv-crash, unexpected reset)."""


class DriverError(GuestError):
    """The test driver could not be installed, started or opened in the guest."""


class ClientError(GuestError):
    """The client in the guest answered a request with an error.

    `kind` is "win32", "ntstatus" or "protocol"; `code` is its number, `name` the number's name where it has one; `what`
    names the call that failed.
    """

    def __init__(self, op: str, kind: str, code: int, what: str, *, name: str = "", remedy: str = "") -> None:
        number = f"{code} {name}" if name else f"{code}"
        super().__init__(
            f"{op}: {what} failed with {kind} error {number} (0x{code & 0xFFFFFFFF:08x})", remedy=remedy
        )
        self.op, self.kind, self.code, self.what = op, kind, code, what


class ProtocolError(GuestError):
    """The client in the guest said something that is not the protocol."""


class ContractViolation(HalpmcError, AssertionError):
    """An asserted clause of the contract does not hold."""

    exit_code = EXIT_VIOLATION
    branch = "contract"


class NeverReturned(ContractViolation):
    """A routine of the contract did not return within its deadline, in a guest whose client still answers."""
