"""What may stop the guest's kernel: each question in a guest that is thrown away, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Literal

import pytest

from harness.contract.crash import Aftermath, judge_garbage_free, record_aftermath
from harness.contract.expectations import PASSIVE_LEVEL, skip_unless_granted
from harness.contract.judgement import skipped
from harness.contract.observations import Call
from harness.contract.status import documented_allocate, documented_free
from harness.driver.device import Device
from harness.errors import ClientError
from harness.probe.models import ProbeAnswer
from harness.runs.cell import CellRun
from harness.runs.crash import attempt
from harness.runs.guest import Guest

from .conftest import Observe, Settle

DISPATCH: Literal[2] = 2
ERROR_NOT_SUPPORTED = 50  # Win32
#: A page that every process of Windows has, whose content user mode may read: KUSER_SHARED_DATA.
USER_ADDRESS = 0x7FFE_0000

Attempt = Callable[[Callable[[], Call], frozenset[int]], Aftermath]


@pytest.fixture
def brave(fresh_guest: Guest) -> Generator[Device, None, None]:
    """The first driver of a guest of this test's own, with leave for destructive requests.

    The guest goes away with its driver as it is then: a kernel that hangs closes no handle.
    """
    fresh_guest.allow_destructive()
    device = Device.open(fresh_guest.session, "pmctest")
    info = device.info()
    if not (info.allocate_present and info.free_present):
        pytest.skip("the kernel does not export the routines")
    yield device


@pytest.fixture
def try_it(cell_run: CellRun, request: pytest.FixtureRequest) -> Attempt:
    """Makes one call; a guest that it stops is looked at before it is thrown away."""

    def run(ask: Callable[[], Call], documented: frozenset[int]) -> Aftermath:
        return attempt(ask, documented, lambda error: cell_run.examine(request.node.name, error))

    return run


@pytest.mark.clause("PARAM-4")
def test_a_null_pointer_for_the_handle(
    brave: Device,
    fresh_guest: Guest,
    probe_answer: ProbeAnswer,
    try_it: Attempt,
    settle: Settle,
    observe: Observe,
) -> None:
    documented = documented_allocate(fresh_guest.known(probe_answer).generation)
    seen = try_it(lambda: brave.allocate(null_cell=True), documented)
    observe("allocate(NULL, 0, NULL, NULL)", str(seen))
    settle(record_aftermath("NULL for CounterSetHandle", seen))


@pytest.mark.clause("FREE-4")
@pytest.mark.parametrize(
    ("what", "value"),
    [("1", 1), ("-1", (1 << 64) - 1), ("a user address", USER_ADDRESS)],
    ids=["1", "-1", "user-address"],
)
def test_what_never_was_a_handle(
    what: str, value: int, brave: Device, try_it: Attempt, settle: Settle, observe: Observe
) -> None:
    seen = try_it(lambda: brave.free(value, any_value=True), documented_free())
    observe(f"free({what})", str(seen))
    settle(judge_garbage_free(what, seen))


@pytest.mark.clause("FREE-4")
def test_the_address_of_pool(brave: Device, try_it: Attempt, settle: Settle, observe: Observe) -> None:
    seen = try_it(brave.free_pool, documented_free())
    observe("free(address of nonpaged pool)", str(seen))
    settle(judge_garbage_free("an address of nonpaged pool", seen))


@pytest.mark.clause("FREE-4")
@pytest.mark.parametrize("offset", [8, -8])
def test_what_lies_beside_a_handle(
    offset: int, brave: Device, try_it: Attempt, settle: Settle, observe: Observe
) -> None:
    held = brave.allocate()
    refused = skip_unless_granted(held)
    if refused is not None:
        settle(refused)
    seen = try_it(lambda: brave.free(held.handle + offset, any_value=True), documented_free())
    observe(f"free(handle {offset:+})", str(seen))
    settle(judge_garbage_free(f"a handle {offset:+}", seen))


def at_dispatch(
    ask: Callable[[], Call], try_it: Attempt, documented: frozenset[int], settle: Settle
) -> Aftermath:
    """One call at DISPATCH_LEVEL; skipped where the system has no way to get there."""
    try:
        seen = try_it(ask, documented)
    except ClientError as error:
        if error.code != ERROR_NOT_SUPPORTED:
            raise
        settle(skipped("the system exports no routine that raises the IRQL"))
        raise
    if seen.call is not None and seen.call.irql_before == PASSIVE_LEVEL:
        settle(
            skipped(
                "the system's routine leaves the IRQL at PASSIVE_LEVEL: nothing was called at DISPATCH_LEVEL"
            )
        )
    return seen


@pytest.mark.clause("IRQL-2")
def test_allocating_at_dispatch_level(
    brave: Device,
    fresh_guest: Guest,
    probe_answer: ProbeAnswer,
    try_it: Attempt,
    settle: Settle,
    observe: Observe,
) -> None:
    documented = documented_allocate(fresh_guest.known(probe_answer).generation)
    seen = at_dispatch(lambda: brave.allocate(irql=DISPATCH), try_it, documented, settle)
    observe("allocate at DISPATCH_LEVEL", str(seen))
    settle(record_aftermath("allocate at DISPATCH_LEVEL", seen))


@pytest.mark.clause("IRQL-2")
def test_freeing_at_dispatch_level(brave: Device, try_it: Attempt, settle: Settle, observe: Observe) -> None:
    held = brave.allocate()
    refused = skip_unless_granted(held)
    if refused is not None:
        settle(refused)
    seen = at_dispatch(lambda: brave.free(held.handle, irql=DISPATCH), try_it, documented_free(), settle)
    observe("free at DISPATCH_LEVEL", str(seen))
    settle(record_aftermath("free at DISPATCH_LEVEL", seen))
