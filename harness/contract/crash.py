"""The clauses that may stop the guest's kernel: what became of one call in a guest of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.contract.expectations import INVALID_HANDLE
from harness.contract.judgement import Judgement, failed, passed, recorded
from harness.contract.observations import Call
from harness.contract.status import STATUS_INVALID_PARAMETER, format_status


class CrashClass(StrEnum):
    """What a call did to the guest. Only the first is harmless."""

    DOCUMENTED = "documented error"
    UNDOCUMENTED = "undocumented error"
    SILENT = "silent success"
    HANG = "hang"
    BUGCHECK = "bugcheck"


FINDINGS = (CrashClass.BUGCHECK, CrashClass.HANG)


@dataclass(frozen=True)
class Aftermath:
    """`detail`: the status, the bug check's code, or where it hangs, and where the evidence is."""

    kind: CrashClass
    detail: str
    call: Call | None = None

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


def aftermath_of(call: Call, documented: frozenset[int]) -> Aftermath:
    """The class of a call that returned; `documented`: the statuses that its page has."""
    if call.succeeded:
        kind = CrashClass.SILENT
    else:
        kind = CrashClass.DOCUMENTED if call.status in documented else CrashClass.UNDOCUMENTED
    return Aftermath(kind, call.answer, call)


def record_aftermath(what: str, seen: Aftermath) -> Judgement:
    """PARAM-4, IRQL-2: no page says what must happen; a bugcheck or a hang is a finding (see `is_finding`)."""
    return recorded(f"{what}: {seen}")


def judge_garbage_free(what: str, seen: Aftermath) -> Judgement:
    """FREE-4: what never was a handle is an invalid parameter, and harms nobody."""
    if seen.call is not None and seen.call.status == STATUS_INVALID_PARAMETER:
        return passed(f"freeing {what}: {seen.call.answer}")
    wanted = format_status(STATUS_INVALID_PARAMETER)
    return failed("FREE-4", f"freeing {what}: expected {wanted}, got {seen}", INVALID_HANDLE)


def is_finding(reason: str) -> bool:
    """Whether the reason of a recorded clause (`record_aftermath`) tells of a guest that stopped."""
    return any(f": {kind} (" in reason for kind in FINDINGS)
