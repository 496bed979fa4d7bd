"""What a check of the host found."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from harness.config.models import Model
from harness.errors import HalpmcError


class Status(StrEnum):
    """`warn`: VMs run, and something is limited or will surprise; `fail`: something that halpmc needs is not there."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Model):
    """The answer of one check. `check` is its stable name; `remedy` is empty when there is nothing to do."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)
    check: str
    status: Status
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """A check that is content."""
    return Finding(check=check, status=Status.OK, detail=detail)


def warn(check: str, detail: str, remedy: str) -> Finding:
    """A check that found a limit."""
    return Finding(check=check, status=Status.WARN, detail=detail, remedy=remedy)


def fail(check: str, detail: str, remedy: str) -> Finding:
    """A check that found what halpmc cannot do without missing."""
    return Finding(check=check, status=Status.FAIL, detail=detail, remedy=remedy)


def failed(check: str, error: HalpmcError) -> Finding:
    """A check that ended in an error."""
    return fail(check, error.message, error.remedy or "look at the rest of this list")
