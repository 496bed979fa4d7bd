"""Requests of any shape to the real driver in the embedded guest: it answers each, keeps nothing, and lives on.

The seed is in the output. Another one, or the same again: HALPMC_FUZZ_SEED=0x….
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.models import Arch
from harness.driver import protocol
from harness.driver.deploy import SERVICES
from harness.driver.device import Device
from harness.driver.protocol import RawRow
from harness.host.tools import host_arch
from harness.paths import driver_sources
from harness.runs.guest import Guest
from tests.system.driver_guest import driver_guest
from tests.system.ioctl_rows import SHAPES, control_codes, raw_row, shaped_row

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="the embedded guest is slow elsewhere")

#: $HALPMC_FUZZ_CALLS=100000 is the long run: 1 to 10 ms a call, by the load of the host.
CALLS = int(os.environ.get("HALPMC_FUZZ_CALLS", "15000"))
CALLS_PER_STATE = CALLS // 30
ROWS_PER_REQUEST = 120  # what the serial lane takes in one request
DEFAULT_SEED = 0x48414C504D43
RUNNING = 4
#: Win32 errors of the statuses that the driver has: invalid function, access denied, no memory, not supported, invalid
#: parameter, buffer too small, routine absent, quota. ERROR_NOACCESS (998), an exception, is none of them.
EXPECTED = {0, 1, 5, 8, 50, 87, 122, 127, 1816}
CODES = control_codes(driver_sources() / "include" / "pmctest.h")

PART = {"items": [{"type": 0, "flags": 0, "index": 0}]}
#: What is held while requests come in: by which handle of the device, and how it was asked for.
STATES: dict[str, tuple[str, dict[str, Any]] | None] = {
    "nothing-held": None,
    "holds-the-whole": ("fuzzed", {}),
    "holds-a-part": ("fuzzed", {"resources": PART}),
    "another-holds": ("other", {}),
    "the-driver-holds": ("fuzzed", {"keep": True}),
}


@contextmanager
def in_state(guest: Guest, state: str) -> Generator[Device, None, None]:
    """A handle of the device to send requests to, beside another one; in this state."""
    with guest.open() as fuzzed, guest.open() as other:
        how = STATES[state]
        if how is not None:
            assert {"fuzzed": fuzzed, "other": other}[how[0]].allocate(**how[1]).succeeded
        yield fuzzed


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Guest, None, None]:
    # On one CPU: a request is handed on between three processes, which costs five times as much across emulated CPUs.
    with driver_guest(tmp_path_factory.mktemp("fuzz"), smp=1) as guest:
        yield guest


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("HALPMC_FUZZ_SEED", hex(DEFAULT_SEED)), 16)


@contextmanager
def nothing_stays(guest: Guest) -> Generator[None, None, None]:
    """Whatever happens inside, afterwards the driver runs, holds nothing and has the memory that it had."""
    with guest.open() as device:
        before = device.info()
        yield
        for held in device.holdings():
            assert held.owner == "driver", "a closed handle of the device still holds something"
            assert device.free(held.handle).succeeded
        after = device.info()
        assert (after.held, after.pool_bytes) == (0, before.pool_bytes)
        whole = device.allocate()
        assert whole.succeeded, "something is held that the driver does not know of"
        assert device.free(whole.handle).succeeded
    status = guest.session.call("service.query", protocol.ServiceStatus, name=SERVICES[0])
    assert status.state == RUNNING
    guest.vm.check()


def rows_of(seed: int, calls: int) -> Iterable[list[RawRow]]:
    """Rows that together make so many calls, in batches: more than half of the calls are raw bytes."""
    generator = random.Random(seed)  # noqa: S311 - a seed must give the same rows again
    made, batch = 0, []
    while made < calls:
        make = shaped_row if generator.random() < 0.85 else raw_row
        row = make(generator.choice, CODES, generator.getrandbits(64))
        made += row.repeat
        batch.append(row)
        if len(batch) == ROWS_PER_REQUEST:
            yield batch
            batch = []
    if batch:
        yield batch


def send(device: Device, batches: Iterable[Sequence[RawRow]]) -> tuple[Counter[int], int]:
    """Send all; how often each Win32 error came, and the milliseconds of the slowest request."""
    histogram: Counter[int] = Counter()
    slowest = 0
    for batch in batches:
        result = device.raw(batch)
        slowest = max(slowest, result.longest_ms)
        for row, tally in zip(batch, result.results, strict=True):
            assert sum(times for _, times in tally) == row.repeat
            for error, times in tally:
                assert error in EXPECTED, f"Win32 error {error} for {row}"
                histogram[error] += times
        print(f"{histogram.total()} requests", flush=True)
    return histogram, slowest


def test_every_code_is_fuzzed() -> None:
    assert set(SHAPES) == set(CODES)


@pytest.mark.timeout(3600)
def test_thousands_of_requests(guest: Guest, seed: int) -> None:
    print(f"HALPMC_FUZZ_SEED={seed:#x}")
    with nothing_stays(guest), guest.open() as device:
        histogram, slowest = send(device, rows_of(seed, CALLS))
    print(f"{histogram.total()} requests by Win32 error: {dict(histogram)}; slowest {slowest} ms")
    assert histogram.total() >= CALLS
    assert histogram[0] > CALLS / 100, "hardly any request got through: the shapes are out of date"
    assert histogram[87] > CALLS / 100


@pytest.mark.parametrize("state", STATES)
def test_requests_in_each_state_of_a_handle(state: str, guest: Guest, seed: int) -> None:
    print(f"HALPMC_FUZZ_SEED={seed:#x}")
    with nothing_stays(guest), in_state(guest, state) as fuzzed:
        histogram, _ = send(fuzzed, rows_of(seed ^ sorted(STATES).index(state), CALLS_PER_STATE))
    print(f"{dict(histogram)}")


@settings(
    max_examples=40,
    deadline=None,  # a guest in an emulator on a loaded machine
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize="HALPMC_FUZZ_SEED" not in os.environ,
    print_blob=True,
)
@given(data=st.data(), rows=st.integers(1, 8), state=st.sampled_from(sorted(STATES)))
def test_a_sequence_of_requests(guest: Guest, data: st.DataObject, rows: int, state: str) -> None:
    """Short ones that Hypothesis shrinks to what matters."""

    def pick(choices: Sequence[int]) -> int:
        return data.draw(st.sampled_from(choices))

    batch = [shaped_row(pick, CODES, seed=number) for number in range(rows)]
    with nothing_stays(guest), in_state(guest, state) as fuzzed:
        send(fuzzed, [batch])
