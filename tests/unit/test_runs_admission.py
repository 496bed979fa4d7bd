"""When cells may start: on simulated hosts, with the real ledger in a cache of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from harness.config.models import Accel, Arch, Cell
from harness.contract.outcomes import Verdict
from harness.errors import DeadlineExceeded, NoSpace
from harness.host.ledger import Reservation, ledger_folder, living
from harness.host.resources import HostResources
from harness.host.slots import capacity_mib, vm_needs
from harness.host.tools import host_arch
from harness.runs import admission
from harness.runs.admission import WAIT_PHASE, Admission, Admitted, admitted
from harness.runs.record import CellEndRecord, IncidentRecord, PhaseRecord
from harness.runs.record_file import Recorder, read_records


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))


def a_cell(name: str, memory_mib: int = 512, smp: int = 2) -> Cell:
    return Cell(id=name, accel=Accel.TCG, memory_mib=memory_mib, smp=smp, pmu=False)


def need_mib(cell: Cell) -> int:
    return vm_needs(cell.memory_mib, cell.smp, cell.accel, cell.pmu).memory_mib


class Host:
    """A host whose free memory and CPUs the test sets, and what was said."""

    def __init__(self) -> None:
        self.resources = HostResources(8192, 8192, 2.0)
        self.said: list[str] = []
        self._opened: list[tuple[Admission, list[Admitted]]] = []

    def admission(self, slots: int | None = None) -> Callable[..., Admitted | None]:
        """The `admit` of one run."""
        opened = Admission(slots, say=self.said.append, read=lambda: self.resources)
        granted: list[Admitted] = []
        self._opened.append((opened, granted))

        def admit(cell: Cell, *running: Cell) -> Admitted | None:
            if (answer := opened.admit(cell, running)) is not None:
                granted.append(answer)
            return answer

        return admit

    def close(self) -> None:
        for opened, granted in self._opened:
            opened.close()
            for answer in granted:
                answer.reservation.release()


@pytest.fixture
def host() -> Generator[Host, None, None]:
    made = Host()
    yield made
    made.close()
    assert living(ledger_folder()) == []


def test_auto_admits_two_vcpus_for_each_cpu_and_says_nothing(host: Host) -> None:
    admit = host.admission()
    assert admit(a_cell("a"))
    assert admit(a_cell("b"), a_cell("a"))
    assert admit(a_cell("c"), a_cell("a"), a_cell("b")) is None
    assert host.said == []


def test_a_number_of_slots_is_the_users_own_affair_but_not_for_memory(host: Host) -> None:
    admit = host.admission(slots=3)
    running = [a_cell("a", smp=16), a_cell("b", smp=16)]
    assert admit(a_cell("c", smp=16), *running)
    assert admit(a_cell("d"), *running, a_cell("c")) is None  # all three are taken
    with pytest.raises(NoSpace):
        host.admission(slots=3)(a_cell("large", memory_mib=9000))


def test_a_cell_that_never_fits_names_what_is_short(host: Host) -> None:
    with pytest.raises(
        NoSpace, match=r"cell large cannot run on this host: it needs \d+ MiB of memory"
    ) as caught:
        host.admission()(a_cell("large", memory_mib=8192))
    assert "memory_mib" in caught.value.remedy
    assert str(capacity_mib(host.resources)) in caught.value.message


def test_short_memory_is_waited_for_and_said_once(host: Host) -> None:
    admit, cell = host.admission(), a_cell("a")
    host.resources = HostResources(8192, 100, 2.0)
    assert admit(cell) is None
    assert admit(cell) is None
    assert host.said == [f"cell a waits: it needs {need_mib(cell)} MiB of memory, and 100 MiB are free"]
    host.resources = HostResources(8192, 8192, 2.0)
    granted = admit(cell)
    assert granted is not None
    assert granted.waited_s > 0


def test_two_runs_on_one_host_share_its_memory(host: Host) -> None:
    one, two = host.admission(), host.admission()
    first, second = a_cell("first", memory_mib=5000), a_cell("second", memory_mib=5000)
    granted = one(first)
    assert granted
    assert two(second) is None
    assert "promised to 1 running VMs" in host.said[0]
    granted.reservation.release()
    assert two(second)


def test_a_small_cell_of_another_run_does_not_pass_a_large_one(host: Host) -> None:
    one, two, three = host.admission(), host.admission(), host.admission()
    holder = one(a_cell("holder", memory_mib=5000))
    assert holder
    assert two(a_cell("large", memory_mib=6000)) is None
    assert three(a_cell("small", memory_mib=64)) is None
    assert "cell large of process" in host.said[-1]
    holder.reservation.release()
    assert two(a_cell("large", memory_mib=6000))
    assert three(a_cell("small", memory_mib=64))


def test_a_cell_whose_accelerator_is_not_there_may_start_and_say_so_itself(host: Host) -> None:
    foreign = Arch.AARCH64 if host_arch() is Arch.X86_64 else Arch.X86_64  # no KVM for it on any host
    cell = Cell(id="a", accel=Accel.KVM, arch=foreign, pmu=False)
    assert host.admission()(cell)


def test_counters_of_the_host_are_for_as_many_vcpus_as_it_has_cpus(host: Host) -> None:
    """KVM of another architecture is on no host: what the cell asked for decides."""
    foreign = Arch.AARCH64 if host_arch() is Arch.X86_64 else Arch.X86_64
    plain, counting = (
        Cell(id=name, accel=Accel.KVM, arch=foreign, smp=2, pmu=name == "counting")
        for name in ("plain", "counting")
    )
    assert host.admission()(plain, counting)
    assert host.admission()(counting, plain)
    assert host.admission()(counting, counting) is None


def test_nobody_waits_for_ever_with_nothing_running(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MEMORY_WAIT_S", 1e-9)
    host.resources = HostResources(8192, 100, 2.0)
    admit = host.admission()
    with pytest.raises(DeadlineExceeded, match=r"memory for cell a: no answer within .*100 MiB are free"):
        admit(a_cell("a"))
    with pytest.raises(DeadlineExceeded, match="memory for cell b"):
        admit(a_cell("b"))  # `a` has left the queue


def test_a_cell_waits_as_long_as_the_run_has_others_running(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.resources = HostResources(8192, 100, 2.0)
    admit = host.admission()
    assert admit(a_cell("a"), a_cell("b")) is None
    monkeypatch.setattr(admission, "MEMORY_WAIT_S", 1e-9)
    assert admit(a_cell("a"), a_cell("b")) is None
    monkeypatch.setattr(admission, "MEMORY_WAIT_S", 3600.0)
    assert admit(a_cell("a"), a_cell("b")) is None  # its time has not begun
    assert admit(a_cell("a")) is None
    monkeypatch.setattr(admission, "MEMORY_WAIT_S", 1e-9)
    assert admit(a_cell("a"), a_cell("b")) is None
    with pytest.raises(DeadlineExceeded):
        admit(a_cell("a"))


def test_a_cell_in_the_same_process_has_its_memory_while_it_runs(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with admitted(a_cell("a", memory_mib=64), recorder):
        (entry,) = [entry for _, entry in living(ledger_folder())]
        assert (entry.label, entry.granted) == ("cell a", True)
    recorder.close()
    assert living(ledger_folder()) == []
    assert list(read_records(tmp_path)) == []  # it did not wait


def test_a_cell_that_has_no_room_is_recorded_with_an_end(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with pytest.raises(NoSpace), admitted(a_cell("a", memory_mib=1 << 20), recorder):
        pytest.fail("a host with a terabyte of memory?")
    recorder.close()
    incident, end = read_records(tmp_path)
    assert isinstance(incident, IncidentRecord)
    assert (incident.branch, incident.cell) == ("infrastructure", "a")
    assert isinstance(end, CellEndRecord)
    assert (end.verdict, end.realised) == (Verdict.UNKNOWN, False)


def test_waiting_is_a_phase_of_the_cell(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    admission.record_wait(recorder, a_cell("a"), Admitted(Reservation("a", 1), 12.3456))
    recorder.close()
    (phase,) = read_records(tmp_path)
    assert isinstance(phase, PhaseRecord)
    assert (phase.name, phase.seconds) == (WAIT_PHASE, 12.346)
