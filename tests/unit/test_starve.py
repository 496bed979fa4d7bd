"""Holding the host's counters: against a kernel with few of them, this kernel's own events, and other processes."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.models import Accel, Cell
from harness.deadlines import wait_for
from harness.errors import DeadlineExceeded, InfrastructureError
from harness.host.counter_use import counter_use
from harness.host.starve import (
    CLOSE_ON_EXEC,
    CYCLES,
    HARDWARE,
    INSTRUCTIONS,
    REFERENCE_CYCLES,
    SYSCALLS,
    KernelPerf,
    Starvation,
    against,
    attributes,
    online_cpus,
    starved,
)
from harness.host.tools import require_tool
from harness.runs import starving
from harness.runs.starving import host_counters

SOFTWARE, CPU_CLOCK = 1, 0


class SmallPerf:
    """CPUs with `general` counters for any event, and one more that counts instructions alone; no reference cycles.

    An event that finds none is in error, as a pinned one is. `taken` counters of each CPU are somebody else's.
    """

    def __init__(self, general: int = 4, taken: int = 0, refuse: int | None = None) -> None:
        self.general, self.taken, self.refuse = general, taken, refuse
        self.open_events: dict[int, tuple[int, str]] = {}
        self.stolen: set[int] = set()
        self._next = 100

    def open(self, cpu: int, event: int) -> int:
        if self.refuse is not None:
            raise OSError(self.refuse, os.strerror(self.refuse))
        if event not in (INSTRUCTIONS, CYCLES):
            raise OSError(errno.ENOENT, "no such event")
        used = [where for c, where in self.open_events.values() if c == cpu]
        where = "error"
        if event == INSTRUCTIONS and "fixed" not in used:
            where = "fixed"
        elif used.count("general") + self.taken < self.general:
            where = "general"
        self._next += 1
        self.open_events[self._next] = cpu, where
        return self._next

    def counts(self, fd: int) -> bool:
        return self.open_events[fd][1] != "error" and fd not in self.stolen

    def close(self, fd: int) -> None:
        del self.open_events[fd]


def test_every_counter_of_every_cpu_is_held_and_given_back() -> None:
    perf = SmallPerf(general=4)
    with starved((0, 1), perf) as starvation:
        assert starvation.held == {0: 5, 1: 5}
        assert not perf.counts(perf.open(1, CYCLES)), "a guest's event finds no counter"
        assert starvation.lost() == []
        perf.stolen.add(next(iter(perf.open_events)))
        assert starvation.lost() == [0]
    assert [cpu for cpu, where in perf.open_events.values() if where != "error"] == []


def test_what_others_hold_is_held_enough() -> None:
    assert Starvation((0,), SmallPerf(general=2, taken=1)).held == {0: 2}


@pytest.mark.parametrize(
    ("perf", "words"),
    [
        (SmallPerf(refuse=errno.EACCES), r"perf_event_paranoid must be 0 or less, or CAP_PERFMON"),
        (SmallPerf(refuse=errno.ENOENT), r"the host's kernel has no counters of the CPU itself"),
        (SmallPerf(refuse=errno.ENOSYS), r"has no perf_event_open"),
        (SmallPerf(refuse=errno.EMFILE), r"perf_event_open: Too many open files"),
        (SmallPerf(general=1000), r"CPU 0 of the host gives counters without end"),
    ],
)
def test_a_kernel_that_gives_none_says_why(perf: SmallPerf, words: str) -> None:
    with pytest.raises(InfrastructureError, match=words), starved((0,), perf):
        pass
    assert perf.open_events == {}, "nothing stays open"
    if perf.refuse is not None:
        assert words.split(" must", maxsplit=1)[0].removeprefix("the ") in against(perf)


def test_somebody_else_who_holds_all_is_told() -> None:
    class NoneLeft(SmallPerf):
        def counts(self, fd: int) -> bool:
            return False

    with pytest.raises(InfrastructureError, match="somebody else holds all counters of CPU 0"):
        Starvation((0,), NoneLeft())


@pytest.mark.skipif(os.geteuid() != 0, reason="events of whole CPUs need rights")
def test_this_kernel_takes_our_request_as_it_is_meant() -> None:
    """A software event in the place of a hardware one: the layout, the flags, and the reading are the kernel's own."""
    perf = KernelPerf(SOFTWARE)
    fd = perf.open(0, CPU_CLOCK)
    try:
        assert perf.counts(fd)
        first, second = (int.from_bytes(os.read(fd, 8), sys.byteorder) for _ in range(2))
        assert 0 < first < second, "the clock of a whole CPU goes on"
        assert not os.get_inheritable(fd)
    finally:
        perf.close(fd)


C_PROGRAM = """
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>
int main(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_HARDWARE, .size = PERF_ATTR_SIZE_VER0,
					.config = PERF_COUNT_HW_REF_CPU_CYCLES, .pinned = 1 };

	fwrite(&attr, 1, PERF_ATTR_SIZE_VER0, stdout);
	fprintf(stderr, "%d %lu", SYS_perf_event_open, (unsigned long)PERF_FLAG_FD_CLOEXEC);
	return 0;
}
"""


def test_an_event_is_what_the_kernels_header_says(tmp_path: Path) -> None:
    (tmp_path / "event.c").write_text(C_PROGRAM)
    program = tmp_path / "event"
    subprocess.run([require_tool("gcc"), "-o", program, tmp_path / "event.c"], check=True, timeout=60)
    done = subprocess.run([program], capture_output=True, check=True, timeout=10)
    assert done.stdout == attributes(HARDWARE, REFERENCE_CYCLES)
    assert done.stderr.decode() == f"{SYSCALLS[platform.machine()]} {CLOSE_ON_EXEC}"


def test_this_host_is_asked_for_real() -> None:
    """Where it has counters and rights, one is held; else it says what is missing, and starving says the same."""
    reason = against(KernelPerf())
    if not reason:
        with starved((0,), KernelPerf()) as starvation:
            assert starvation.held[0] >= 1
        return
    with pytest.raises(InfrastructureError, match=reason.split(":", maxsplit=1)[0]):
        Starvation((0,), KernelPerf())


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", (0,)), ("0-3,8\n", (0, 1, 2, 3, 8)), ("", ()), ("2,4-5", (2, 4, 5))]
)
def test_lists_of_cpus(text: str, cpus: tuple[int, ...]) -> None:
    assert online_cpus(text) == cpus


HOLD = """
import sys
from pathlib import Path
from harness.host.counter_use import counter_use
with counter_use(alone=sys.argv[2] == "alone", folder=Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_many_share_and_one_is_alone(tmp_path: Path) -> None:
    with holder(tmp_path, "shared") as other:
        assert other.stdout and other.stdin
        assert other.stdout.readline() == b"in\n"
        with counter_use(alone=False, folder=tmp_path, wait_s=5):
            pass
        with (
            pytest.raises(DeadlineExceeded, match="host's counters, which another cell uses"),
            counter_use(alone=True, folder=tmp_path, wait_s=0.3),
        ):
            pass
        other.kill()
    with (
        counter_use(alone=True, folder=tmp_path, wait_s=5),  # whoever dies holds nothing
        pytest.raises(DeadlineExceeded),
        counter_use(alone=False, folder=tmp_path, wait_s=0.3),
    ):
        pass


def test_who_comes_later_does_not_pass_who_waits_to_be_alone(tmp_path: Path) -> None:
    with holder(tmp_path, "shared") as first:
        assert first.stdout and first.stdin
        assert first.stdout.readline() == b"in\n"
        with holder(tmp_path, "alone") as waiting:
            assert waiting.stdout and waiting.stdin
            queue = tmp_path / ".counters-queue"
            wait_for("somebody who waits", 20, lambda _: _is_locked(queue) or None)
            with pytest.raises(DeadlineExceeded), counter_use(alone=False, folder=tmp_path, wait_s=0.3):
                pass
            first.stdin.write(b"\n")
            first.stdin.flush()
            assert waiting.stdout.readline() == b"in\n"
            waiting.stdin.write(b"\n")
            waiting.stdin.flush()


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_cell_holds_them_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path))
    (tmp_path / "online").write_text("0-1\n")
    monkeypatch.setattr(starving, "ONLINE", tmp_path / "online")
    cell, perf = Cell(id="x", starve_pmu=True), SmallPerf()
    with host_counters(cell, Accel.KVM, perf) as words:
        assert words == "5 held on each of 2 CPUs"
        assert len(perf.open_events) == 10
    assert perf.open_events == {}
    with host_counters(Cell(id="x"), Accel.KVM, perf) as words:
        assert (words, perf.open_events) == ("", {})
    with pytest.raises(InfrastructureError, match="needs KVM"), host_counters(cell, Accel.TCG, perf):
        pass
    with (
        pytest.raises(InfrastructureError, match="counters of CPU 0 of the host were not held all the time"),
        host_counters(cell, Accel.KVM, perf),
    ):
        perf.stolen.add(next(iter(perf.open_events)))
