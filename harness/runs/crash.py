"""One call that may stop the guest's kernel: whatever it does becomes an answer, and never the end of the run."""

from __future__ import annotations

from collections.abc import Callable

from harness.contract.crash import Aftermath, CrashClass, aftermath_of
from harness.contract.observations import Call
from harness.errors import DeadlineExceeded, GuestPanicked, HalpmcError, NeverReturned


def attempt(
    ask: Callable[[], Call], documented: frozenset[int], examine: Callable[[HalpmcError], None]
) -> Aftermath:
    """Make the call in a guest of its own. `examine` puts evidence of a guest that stopped into the error.

    Raises what is neither the routine's nor the guest kernel's doing: QEMU died, the driver refused to call.
    """
    try:
        return aftermath_of(ask(), documented)
    except (GuestPanicked, DeadlineExceeded, NeverReturned) as error:
        examine(error)
        kind = CrashClass.BUGCHECK if isinstance(error, GuestPanicked) else CrashClass.HANG
        found = (error.evidence.get(title, "") for title in ("triage", "evidence"))
        return Aftermath(kind, "; ".join(text for text in (error.message, *found) if text))
