"""What the real driver in the embedded guest says of counters, and what it refuses. TCG has no x86 PMU to count by."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.contract.observations import Call
from harness.driver import build, protocol
from harness.driver.deploy import SERVICES, start, stop
from harness.errors import ClientError
from harness.host.tools import host_arch
from harness.paths import driver_sources
from harness.runs.guest import Guest
from tests.system.driver_guest import driver_guest

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="the embedded guest is slow elsewhere")

SERVICE_KEY = rf"HKLM\SYSTEM\CurrentControlSet\Services\{SERVICES[0]}"
ACCESS_DENIED, NOT_SUPPORTED, INVALID_PARAMETER = 5, 50, 87  # Win32
ACCESS_VIOLATION = 0xC0000005  # how Wine reports the #GP of WRMSR, and RDPMC
INVALID_DEVICE_STATE = 0xC0000184
INSUFFICIENT_RESOURCES = 0xC000009A
PART = {"items": [{"type": 0, "flags": 0, "index": 0}]}
WITH_HANDLER = {"items": [{"type": 0, "flags": 0, "index": 0}, {"type": 3, "flags": 0}]}


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Guest, None, None]:
    with driver_guest(tmp_path_factory.mktemp("truth")) as guest:
        yield guest


@pytest.fixture
def destructive(guest: Guest) -> Generator[None, None, None]:
    """The first driver was started with AllowDestructive=1; afterwards the whole kernel process is a new one."""
    allow(guest, 1)
    stop(guest.session, SERVICES[0])
    start(guest.session, SERVICES[0])
    yield
    allow(guest, 0)
    for service in SERVICES:
        stop(guest.session, service)
    for service in SERVICES:
        start(guest.session, service)


def allow(guest: Guest, value: int) -> None:
    guest.session.call(
        "registry.set", protocol.Empty, path=SERVICE_KEY, name="AllowDestructive", type="dword", value=value
    )


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    return error.value.kind, error.value.code


def test_the_guard_catches_privileged_instructions(guest: Guest) -> None:
    with guest.open() as device:
        assert device.guard("read") == protocol.GuardResult(status=0, fault=ACCESS_VIOLATION)
        assert device.allocate().succeeded
        assert device.guard("write") == protocol.GuardResult(status=0, fault=ACCESS_VIOLATION)
        assert device.info().held == 1  # it lives on


def test_a_write_needs_the_allocation(guest: Guest) -> None:
    with guest.open() as device:
        assert device.guard("write") == protocol.GuardResult(status=INVALID_DEVICE_STATE, fault=0)


def test_every_cpu_answers_for_itself(guest: Guest) -> None:
    with guest.open() as device:
        assert device.allocate().succeeded
        results = device.count_all()
        assert [(r.status, r.group, r.cpu) for r in results] == [(0, 0, 0), (0, 0, 1)]
        for result in results:
            assert (result.interface, result.general, result.fixed) == ("none", 0, 0)
            assert [(c.state, c.fault) for c in result.counters] == [("faulted", ACCESS_VIOLATION)] * 4
        assert [device.count(cpu=cpu).cpu for cpu in (1, 0, 1)] == [1, 0, 1]


@pytest.mark.parametrize("what", ["nothing", "a part", "the driver's own", "another handle's"])
def test_counting_needs_the_whole_pmu_by_the_same_handle(what: str, guest: Guest) -> None:
    with guest.open() as device, guest.open() as other:
        if what == "a part":
            assert device.allocate(resources=PART).succeeded
        kept = device.allocate(keep=True) if what == "the driver's own" else None
        if what == "another handle's":
            assert other.allocate().succeeded
        assert {r.status for r in (device.count(), *device.count_all())} == {INVALID_DEVICE_STATE}
        assert device.count().counters == ()
        if kept is not None:
            assert device.free(kept.handle).succeeded


@pytest.mark.parametrize("loop", [0, 100_001, 0xFFFFFFFF])
def test_the_loop_is_bounded(loop: int, guest: Guest) -> None:
    with guest.open() as device:
        with pytest.raises(ClientError) as error:
            device.count(loop)
        assert refused(error) == ("win32", INVALID_PARAMETER)
        assert device.info().loop_max == 100_000


def test_what_each_handle_holds(guest: Guest) -> None:
    with guest.open() as one, guest.open() as two:
        assert one.holdings() == ()
        mine = one.allocate(resources=PART)
        theirs = two.allocate(resources={"items": [{"type": 0, "flags": 0, "index": 1}]})
        kept = one.allocate(resources={"items": [{"type": 0, "flags": 0, "index": 2}]}, keep=True)
        held = {h.handle: h for h in one.holdings()}
        assert {h.handle: h.owner for h in held.values()} == {
            mine.handle: "self",
            theirs.handle: "other",
            kept.handle: "driver",
        }
        assert held[kept.handle].file == 0
        assert held[mine.handle].file != held[theirs.handle].file
        assert not any(h.whole for h in held.values())
        one.free(kept.handle)
        one.free(mine.handle)
        two.free(theirs.handle)
        whole = two.allocate()
        assert [(h.handle, h.owner, h.whole) for h in two.holdings()] == [(whole.handle, "self", True)]
    with guest.open() as device:
        assert device.holdings() == ()


def test_nothing_overflows_without_a_pmu(guest: Guest) -> None:
    with guest.open() as device:
        assert device.allocate(resources=WITH_HANDLER).succeeded
        assert device.overflows() == protocol.Overflows(calls=0, lost=0, owners=())


def test_the_driver_says_what_it_sees(guest: Guest) -> None:
    with guest.open() as device:
        info = device.info()
    assert (info.cpus, info.groups, info.destructive) == (2, 1, False)
    assert (info.pmu_interface, info.pmu_version, info.pmu_understood) == ("none", 0, True)
    assert info.secured
    assert info.routines_in == "other"  # the reference HAL is an image of its own


def test_without_leave_nothing_destructive_is_done(guest: Guest) -> None:
    with guest.open() as device:
        held = device.allocate()
        asked: list[Callable[[], Call]] = [
            lambda: device.allocate(irql=2),
            lambda: device.free(held.handle, irql=2),
            device.leak,
        ]
        for ask in asked:
            with pytest.raises(ClientError) as error:
                ask()
            assert refused(error) == ("win32", ACCESS_DENIED)
        assert [h.handle for h in device.holdings()] == [held.handle]


@pytest.mark.parametrize("value", [0, 2])
def test_only_1_is_leave(value: int, guest: Guest) -> None:
    allow(guest, value)
    stop(guest.session, SERVICES[0])
    start(guest.session, SERVICES[0])
    with guest.open() as device:
        assert not device.info().destructive


def test_a_leave_that_comes_after_the_start_is_none(guest: Guest) -> None:
    allow(guest, 1)
    with guest.open() as device:
        assert not device.info().destructive
    allow(guest, 0)


def test_calls_at_a_raised_irql(guest: Guest, destructive: None) -> None:
    """Wine's routines leave the level as it is: what is seen here is that the calls are made and the driver lives."""
    with guest.open() as device:
        assert device.info().destructive
        call = device.allocate(irql=2)
        assert call.succeeded and call.irql_before == call.irql_after
        freed = device.free(call.handle, irql=2)
        assert freed.succeeded and freed.irql_before == freed.irql_after


def test_a_leak_outlives_the_handle_and_the_driver(guest: Guest, destructive: None) -> None:
    with guest.open() as device:
        leaked = device.leak()
        assert leaked.succeeded
        assert (device.holdings(), device.info().held) == ((), 0)
        with pytest.raises(ClientError) as error:
            device.free(leaked.handle)
        assert refused(error) == ("win32", ACCESS_DENIED)
    with guest.unloaded(), guest.open(SERVICES[1]) as other:
        assert other.allocate().status == INSUFFICIENT_RESOURCES


def test_a_hal_that_calls_the_overflow_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference HAL, changed so that it calls the handler for each grant: bits 0 and 33, then 1, by two owners."""
    copy = tmp_path / "guest_driver"
    shutil.copytree(driver_sources(), copy)
    hal = copy / "reference_hal" / "hal.c"
    text = hal.read_text()
    grant = "	*handle = ledger_grant(&claim, caller);\n"
    assert text.count(grant) == 1
    calling = """
	for (ULONG i = 0; list != NULL && i < ((struct counter_list_v2 *)list)->count; i++) {
		struct counter_descriptor_v2 *item = &((struct counter_list_v2 *)list)->descriptors[i];

		if (item->type == COUNTER_OVERFLOW) {
			item->u.overflow_handler(0x200000001ull, (void *)(ULONG_PTR)*handle);
			item->u.overflow_handler(0x2, (void *)(ULONG_PTR)*handle);
		}
	}
"""
    hal.write_text(text.replace(grant, grant + calling))
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    with driver_guest(tmp_path) as guest, guest.open() as device:
        first = device.allocate(resources=WITH_HANDLER)
        device.free(first.handle)
        second = device.allocate(resources=WITH_HANDLER)
        assert device.overflows() == protocol.Overflows(
            calls=4,
            lost=0,
            owners=tuple(
                protocol.OverflowOwner(handle=call.handle, calls=2, bits=0x200000003)
                for call in (first, second)
            ),
        )
        with guest.open(SERVICES[1]) as other:
            assert other.overflows().calls == 0
