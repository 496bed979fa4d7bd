"""What an inspection of a driver file says: facts of the image, and findings about loading it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from harness.config.models import Arch, Model


class Status(StrEnum):
    """`fail`: the target will not load the file, or must not. `warn`: it may, or it cannot be told from the file."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Model):
    """One check. `remedy` is empty when there is nothing to do."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


class Target(Model):
    """The Windows that shall load the file: its build number and, where it is known, its architecture."""

    build: int = Field(default=17763, ge=3790, description="Windows build, such as 17763 (Server 2019)")
    arch: Arch | None = None


class Section(Model):
    """One section; sizes in bytes."""

    name: str
    virtual_size: int
    raw_size: int
    readable: bool
    writable: bool
    executable: bool
    discardable: bool


class Signature(Model):
    """The embedded signature (the first one, where several are nested)."""

    digest_algorithm: str
    file_hash: str
    """The hash of the file without its signature, as signed; hexadecimal."""
    hash_matches: bool
    """The file is what was signed."""
    signature_valid: bool
    """The signer's key made this signature. Says nothing about who trusts the signer."""
    signer: str
    issuer: str
    self_signed: bool
    code_signing: bool
    not_before: str
    not_after: str


class Inspection(Model):
    """Everything that was read from one driver file."""

    path: str
    size: int
    sha256: str
    arch: Arch
    machine: str
    subsystem_version: str
    entry: str
    image_base: str
    section_alignment: int
    timestamp: str
    sections: tuple[Section, ...]
    imports: dict[str, tuple[str, ...]]
    signature: Signature | None
    target: Target
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that keep the target from loading the file."""
        return tuple(finding for finding in self.findings if finding.status is Status.FAIL)
