"""The rules of admission: never over-committed, never starved, and each reason in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.config.models import Accel
from harness.host.resources import HostResources
from harness.host.slots import (
    RESERVE_MIB,
    VCPUS_PER_CPU,
    Held,
    Needs,
    capacity_mib,
    memory_short,
    never_fits,
    processors_short,
    vm_needs,
)

HOST = HostResources(8192, 8192, 4.0)


def test_what_a_vm_needs() -> None:
    tcg, kvm = vm_needs(512, 2, Accel.TCG, True), vm_needs(512, 2, Accel.KVM, True)
    assert tcg.memory_mib > kvm.memory_mib > 512  # TCG keeps the code that it has translated
    assert (tcg.cpus, kvm.cpus) == (2, 2)
    assert (tcg.counters, kvm.counters) == (0, 2)  # TCG takes none from the host
    assert vm_needs(512, 2, Accel.KVM, False).counters == 0


def test_memory_that_is_promised_cannot_be_promised_again() -> None:
    held = [Held(4000, 4000)]
    assert memory_short(HOST, held, capacity_mib(HOST) - 4000) == ""
    assert "4000 of 7936 MiB are promised to 1 running VMs" in memory_short(HOST, held, 3937)


def test_memory_that_others_use_is_not_free() -> None:
    busy = HostResources(8192, 1000, 4.0)
    assert memory_short(busy, [], 1000) == ""
    assert memory_short(busy, [], 1001) == "it needs 1001 MiB of memory, and 1000 MiB are free"


def test_memory_that_was_promised_and_not_touched_yet_is_not_free() -> None:
    host = HostResources(8192, 3000, 4.0)
    assert "1000 MiB are free" in memory_short(host, [Held(2500, 500)], 1001)
    assert memory_short(host, [Held(2500, 2500)], 3000) == ""


def test_a_vm_larger_than_the_host_never_fits_and_a_limit_is_named() -> None:
    assert never_fits(HOST, 8192 - RESERVE_MIB) == ""
    assert "it needs 7937 MiB of memory and this host has 7936 MiB for VMs" in never_fits(HOST, 7937)
    assert "limit of /sys/fs/cgroup/x" in never_fits(HostResources(512, 99, 1.0, "/sys/fs/cgroup/x"), 600)


def test_two_vcpus_for_each_cpu() -> None:
    two = Needs(1, 2, 0)
    assert processors_short(HOST, [two, two, two], two) == ""
    assert "more than 2 per CPU" in processors_short(HOST, [two] * 4, two)


def test_as_many_vcpus_with_counters_as_cpus() -> None:
    counting, plain = Needs(1, 2, 2), Needs(1, 2, 0)
    assert processors_short(HOST, [counting], counting) == ""
    assert "counters" in processors_short(HOST, [counting, counting], counting)
    assert processors_short(HOST, [counting, counting], plain) == ""


def test_processors_never_make_a_vm_impossible() -> None:
    assert processors_short(HostResources(8192, 8192, 0.5), [], Needs(1, 64, 64)) == ""


def sums_fit(host: HostResources, running: list[Needs]) -> bool:
    alone = len(running) == 1
    counters = [vm.counters for vm in running if vm.counters]
    return (
        sum(vm.memory_mib for vm in running) <= capacity_mib(host)
        and (alone or sum(vm.cpus for vm in running) <= VCPUS_PER_CPU * host.cpus)
        and (len(counters) <= 1 or sum(counters) <= host.cpus)
    )


needs = st.builds(
    vm_needs,
    memory_mib=st.integers(64, 20_000),
    smp=st.integers(1, 64),
    accel=st.sampled_from([Accel.TCG, Accel.KVM]),
    pmu=st.booleans(),
)


@given(
    st.integers(512, 32_768),
    st.sampled_from([0.5, 1.0, 2.0, 3.5, 8.0, 64.0]),
    st.lists(needs, max_size=12),
    st.data(),
)
def test_every_vm_that_fits_runs_in_the_end_and_nothing_is_ever_over_committed(
    memory_mib: int, cpus: float, wanted: list[Needs], data: st.DataObject
) -> None:
    """A run in small: first come, first served; a running VM has touched any part of its memory, and ends some time."""
    waiting = [
        vm for vm in wanted if not never_fits(HostResources(memory_mib, memory_mib, cpus), vm.memory_mib)
    ]
    running: list[tuple[Needs, int]] = []
    finished = 0
    expected = len(waiting)
    while waiting or running:
        touched = sum(resident for _, resident in running)
        host = HostResources(memory_mib, memory_mib - touched, cpus)
        held = [Held(vm.memory_mib, resident) for vm, resident in running]
        head = waiting[0] if waiting else None
        if (
            head is not None
            and not processors_short(host, [vm for vm, _ in running], head)
            and not memory_short(host, held, head.memory_mib)
        ):
            waiting.pop(0)
            running.append((head, data.draw(st.integers(0, head.memory_mib))))
            assert sums_fit(host, [vm for vm, _ in running])
            continue
        assert running, f"{head} starves on an empty host"
        running.pop(data.draw(st.integers(0, len(running) - 1)))
        finished += 1
    assert finished == expected
