"""Expectations about single calls: allocate, free, parameters, sharing, lifetime. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.config.models import Generation
from harness.contract.expected import Expectation, Expected
from harness.contract.judgement import Judgement, combine, failed, passed, recorded, skipped
from harness.contract.observations import Call, OverflowOwner
from harness.contract.outcomes import Outcome
from harness.contract.processors import check_places
from harness.contract.status import (
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
    documented_allocate,
    documented_free,
    format_status,
)
from harness.errors import DriverError

PASSIVE_LEVEL = 0

UNAVAILABLE = (
    "for counters that are unavailable the routine sets the handle to NULL and returns "
    "STATUS_INSUFFICIENT_RESOURCES (HalAllocateHardwareCounters (ntddk.h), CounterSetHandle)"
)
INVALID_HANDLE = (
    "STATUS_INVALID_PARAMETER is the answer to what is no valid counter resources handle "
    "(HalFreeHardwareCounters (ntddk.h), return value)"
)


def judge_presence(allocate_present: bool, free_present: bool) -> Judgement:
    """PRES-1: both routines were resolved by the test driver."""
    names = {"HalAllocateHardwareCounters": allocate_present, "HalFreeHardwareCounters": free_present}
    missing = [name for name, present in names.items() if not present]
    if missing:
        return failed("PRES-1", f"the kernel does not export {' and '.join(missing)}")
    return passed("both routines are exported")


def judge_first_allocate(call: Call, generation: Generation, expectation: Expectation) -> Judgement:
    """ALLOC-1: the plain request with nothing held gives a handle, or a documented error: what this cell must give."""
    answer = _handle_or_documented(call, generation)
    wanted = {
        Expected.GRANTED: call.succeeded,
        Expected.REFUSED: call.status == STATUS_INSUFFICIENT_RESOURCES,
    }
    if answer.outcome is Outcome.PASS and not wanted.get(expectation.expected, True):
        seen = f"expected {expectation.expected}, got {call.answer}"
        return failed("ALLOC-1", seen, f"expected because {expectation.because}")
    return answer


def _handle_or_documented(call: Call, generation: Generation) -> Judgement:
    if call.succeeded:
        if not call.written or call.handle == 0:
            return failed("ALLOC-1", f"expected a handle with STATUS_SUCCESS, but {call.cell_text}")
        return passed(f"granted; {call.cell_text}")
    if call.status not in documented_allocate(generation):
        return failed(
            "ALLOC-1",
            f"expected success or a documented error, got {call.answer}",
            _documented(documented_allocate(generation)),
        )
    if call.status == STATUS_INSUFFICIENT_RESOURCES:
        return _null_after_refusal("ALLOC-1", call, "the plain request")
    return passed(f"refused with the documented {call.answer}")


def skip_unless_granted(first: Call) -> Judgement | None:
    """Where the plain request is not granted, the judgement of a clause that needs it; None where it is."""
    return (
        None
        if first.succeeded
        else skipped(f"nothing can be held here: the plain request gave {first.answer}")
    )


def judge_refused_while_held(call: Call, clause_id: str = "ALLOC-2", what: str = "a request") -> Judgement:
    """ALLOC-2, ALLOC-3, SHARE-2, SHARE-3, FREE-5: refused as unavailable, NULL written to the cell.

    `what` names the request: "a second driver's request", "a request for the whole PMU".
    """
    if call.succeeded:
        two = (
            f"two owners at once: {what} was granted (handle 0x{call.handle:x}) while the counters were held"
        )
        return failed(clause_id, two)
    if call.status != STATUS_INSUFFICIENT_RESOURCES:
        wanted = format_status(STATUS_INSUFFICIENT_RESOURCES)
        seen = f"{what} while the counters were held: expected {wanted}, got {call.answer}"
        return failed(clause_id, seen, UNAVAILABLE)
    return _null_after_refusal(clause_id, call, what)


def judge_pinned(calls: Mapping[int, Call], group_cpus: Sequence[int] = ()) -> Judgement:
    """ALLOC-4: refused from every processor; `calls` are by the index that was asked for, over all processor groups.

    Raises DriverError when the test driver did not call on that processor: then nothing was observed.
    """
    check_places("call", calls, group_cpus)
    if not calls:
        raise DriverError("no call was pinned to any CPU")
    return combine(
        *(judge_refused_while_held(call, "ALLOC-4", f"on CPU {cpu} a request") for cpu, call in calls.items())
    )


def judge_documented(allocates: Iterable[Call], frees: Iterable[Call], generation: Generation) -> Judgement:
    """ALLOC-7: only documented statuses for documented uses."""
    seen = {("HalAllocateHardwareCounters", call.status) for call in allocates}
    seen |= {("HalFreeHardwareCounters", call.status) for call in frees}
    allowed = {
        "HalAllocateHardwareCounters": documented_allocate(generation),
        "HalFreeHardwareCounters": documented_free(),
    }
    wrong = sorted(pair for pair in seen if pair[1] not in allowed[pair[0]])
    if wrong:
        texts = [f"{routine} returned {format_status(status)}" for routine, status in wrong]
        facts = [
            f"{routine}: {_documented(allowed[routine])}" for routine in sorted({pair[0] for pair in wrong})
        ]
        return failed("ALLOC-7", "; ".join(texts), *facts)
    return passed(
        "only documented statuses: " + ", ".join(sorted({format_status(status) for _, status in seen}))
    )


def record_handle_on_error(call: Call) -> Judgement:
    """ALLOC-8: what the handle cell holds after an error other than STATUS_INSUFFICIENT_RESOURCES."""
    if call.succeeded or call.status == STATUS_INSUFFICIENT_RESOURCES:
        return skipped(f"no other error was seen: the call gave {call.answer}")
    return recorded(f"{call.answer}: {call.cell_text}")


def judge_not_granted(call: Call, what: str) -> Judgement:
    """PARAM-X: a request with a reserved parameter set is not granted, whatever the error."""
    if call.succeeded:
        return failed(
            "PARAM-X", f"{what}: expected an error, but the request was granted (handle 0x{call.handle:x})"
        )
    return passed(f"{what}: {call.answer}")


def judge_not_supported(call: Call) -> Judgement:
    """PARAM-3: an extended counter configuration is not supported."""
    if call.status != STATUS_NOT_SUPPORTED:
        return failed("PARAM-3", f"expected {format_status(STATUS_NOT_SUPPORTED)}, got {call.answer}")
    return passed(call.answer)


def record_answers(answers: Iterable[tuple[str, Call]]) -> Judgement:
    """PARAM-1, PARAM-2, FREE-6 and whatever the text is silent about: keep what was answered to what."""
    return recorded("; ".join(f"{what}: {call.answer}" for what, call in answers))


def judge_refused_as_unit(alone: Call, whole: Call, remainder: Call) -> Judgement:
    """SHARE-6: a list with one held and one free counter is refused, and keeps nothing of the free one.

    `alone`: the free one by itself, before (then freed); `whole`: the list; `remainder`: the free one again.
    """
    if not alone.succeeded:
        return skipped(f"the second counter is not granted by itself: {alone.answer}")
    refused = judge_refused_while_held(whole, "SHARE-6", "a list with a free and a held counter")
    if not remainder.succeeded:
        kept = failed(
            "SHARE-6", f"the refused list kept its free counter: asked for again, it gave {remainder.answer}"
        )
        return combine(refused, kept)
    return combine(refused)


def judge_granted_as_unit(whole: Call, while_held: Sequence[Call], after_free: Sequence[Call]) -> Judgement:
    """SHARE-6: a granted list holds each of its counters, and one free gives them all back.

    The calls ask for each counter of the list by itself, while it is held and after its handle was freed.
    """
    if not whole.succeeded:
        return skipped(f"the list is not granted here: {whole.answer}")
    held = [
        judge_refused_while_held(call, "SHARE-6", f"a request alone (entry {n} of the granted list)")
        for n, call in enumerate(while_held)
    ]
    back = [
        passed("given back")
        if call.succeeded
        else failed("SHARE-6", f"entry {n} of the freed list was not given back: {call.answer}")
        for n, call in enumerate(after_free)
    ]
    return combine(*held, *back)


def judge_free(call: Call) -> Judgement:
    """FREE-1: freeing a held handle succeeds."""
    if call.succeeded:
        return passed(call.answer)
    return failed(
        "FREE-1",
        f"freeing the held handle 0x{call.handle:x}: expected "
        f"{format_status(STATUS_SUCCESS)}, got {call.answer}",
    )


def judge_invalid_free(call: Call, clause_id: str = "FREE-2", what: str = "") -> Judgement:
    """FREE-2 to FREE-5: freeing what is no valid handle is an invalid parameter."""
    what = what or {
        "FREE-2": "a handle that is already free",
        "FREE-3": "NULL",
        "FREE-5": "a stale handle",
    }.get(clause_id, f"0x{call.handle:x}")
    if call.status == STATUS_INVALID_PARAMETER:
        return passed(f"freeing {what}: {call.answer}")
    wanted = format_status(STATUS_INVALID_PARAMETER)
    return failed(clause_id, f"freeing {what}: expected {wanted}, got {call.answer}", INVALID_HANDLE)


def judge_stale_free(stale: int, owner: Call, free: Call, other: Call) -> Judgement:
    """FREE-5: `owner` got the counters after `stale` was freed; `free` freed `stale`; `other` asked again."""
    if stale == owner.handle and other.succeeded:
        return failed(
            "FREE-5",
            f"the handle 0x{stale:x} was given out again at once: whoever frees it a second time frees the new owner's",
        )
    return combine(
        judge_invalid_free(free, "FREE-5"),
        judge_refused_while_held(other, "FREE-5", "after the free of a stale handle a request"),
    )


def judge_overflow(
    granted: Call, index: int, owners: Sequence[OverflowOwner], expectation: Expectation
) -> Judgement:
    """OVF-1: the handler ran for counter `index`, with the handle of its grant and the counter's bit alone."""
    if not granted.succeeded:
        return skipped(f"a counter with an overflow handler is not granted: {granted.answer}")
    because = f"it can overflow here: {expectation.because}"
    strangers = [owner for owner in owners if owner.handle != granted.handle]
    if strangers:
        seen = ", ".join(f"0x{owner.handle:x}" for owner in strangers)
        return failed("OVF-1", f"expected the owning handle 0x{granted.handle:x}, got {seen}", because)
    bits = {owner.bits for owner in owners}
    if not bits:
        return failed("OVF-1", f"counter {index} overflowed, and the handler did not run", because)
    if bits != {1 << index}:
        seen = ", ".join(f"0x{value:x}" for value in sorted(bits))
        return failed("OVF-1", f"expected the bits 0x{1 << index:x} of counter {index}, got {seen}", because)
    return passed(
        f"the handler ran {sum(owner.calls for owner in owners)} times for counter {index} and its owner"
    )


def judge_irql(calls: Iterable[Call]) -> Judgement:
    """IRQL-1: every call was made at PASSIVE_LEVEL and returned at it."""
    calls = list(calls)
    for call in calls:
        if call.irql_before != PASSIVE_LEVEL:
            return failed(
                "IRQL-1", f"the test driver called at IRQL {call.irql_before}, expected PASSIVE_LEVEL (0)"
            )
        if call.irql_after != PASSIVE_LEVEL:
            return failed(
                "IRQL-1", f"the routine returned at IRQL {call.irql_after}, expected PASSIVE_LEVEL (0)"
            )
    return passed(f"{len(calls)} calls at PASSIVE_LEVEL") if calls else skipped("no call was made")


def judge_released(call: Call, clause_id: str, how: str) -> Judgement:
    """LIFE-1, LIFE-2: after the holder went away (`how`), the plain request is granted again."""
    if call.succeeded:
        return passed(f"granted again after {how}")
    return failed(
        clause_id, f"expected the counters back after {how}, but the plain request gave {call.answer}"
    )


def _null_after_refusal(clause_id: str, call: Call, what: str) -> Judgement:
    if not call.written or call.handle != 0:
        return failed(
            clause_id,
            f"{what}: {call.answer} as documented, but {call.cell_text}, expected NULL",
            UNAVAILABLE,
        )
    return passed(f"{what}: {call.answer}, and the handle cell holds NULL")


def _documented(statuses: frozenset[int]) -> str:
    return "documented are " + ", ".join(format_status(status) for status in sorted(statuses))
