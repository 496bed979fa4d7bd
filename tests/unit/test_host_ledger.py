"""Two harnesses on one host: real processes, real locks, and one that is killed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from harness.errors import CacheBusy
from harness.host import ledger
from harness.host.ledger import Entry, Reservation, living, resident_mib
from harness.host.slots import Held

FREE = 1000


def rule(need_mib: int) -> Callable[[Sequence[Held]], str]:
    """A host with 1000 MiB."""

    def short(held: Sequence[Held]) -> str:
        return "short" if sum(vm.memory_mib for vm in held) + need_mib > FREE else ""

    return short


@pytest.fixture
def reserve(tmp_path: Path) -> Generator[Callable[[int], Reservation], None, None]:
    with ExitStack() as stack:

        def make(memory_mib: int) -> Reservation:
            reservation = Reservation(f"{memory_mib} MiB", memory_mib, tmp_path)
            stack.callback(reservation.release)
            return reservation

        yield make


OTHER = """
import sys
from pathlib import Path
from harness.host.ledger import Reservation
reservation = Reservation("other", int(sys.argv[2]), Path(sys.argv[1]))
answer = reservation.claim(lambda held: "" if sum(h.memory_mib for h in held) + int(sys.argv[2]) <= 1000 else "short")
print(answer or "granted", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_harness(folder: Path, memory_mib: int) -> Generator[tuple[subprocess.Popen[str], str], None, None]:
    """Another process that claims memory and keeps it until its input ends: the process, and what it was told."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder), str(memory_mib)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def test_what_is_held_is_seen_and_given_back(reserve: Callable[[int], Reservation], tmp_path: Path) -> None:
    first, second = reserve(600), reserve(500)
    assert first.claim(rule(600)) == ""
    assert second.claim(rule(500)) == "short"
    first.release()
    assert second.claim(rule(500)) == ""
    assert [entry.label for _, entry in living(tmp_path)] == ["500 MiB"]


def test_a_reservation_that_was_given_back_leaves_no_open_file(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    reservation = Reservation("a", 1, tmp_path)
    assert reservation.claim(rule(1)) == ""
    assert psutil.Process().num_fds() == before + 1
    reservation.release()
    assert psutil.Process().num_fds() == before


def test_the_queue_is_in_the_order_of_arrival_however_long_it_is(
    reserve: Callable[[int], Reservation], tmp_path: Path
) -> None:
    holder = reserve(1000)
    assert holder.claim(rule(1000)) == ""
    waiting = [reserve(n) for n in range(1, 12)]
    for reservation in waiting:
        assert reservation.claim(rule(reservation.entry.memory_mib)) != ""
    assert [entry.memory_mib for _, entry in living(tmp_path)] == [1000, *range(1, 12)]


def test_another_harness_holds_memory_until_it_is_killed(
    reserve: Callable[[int], Reservation], tmp_path: Path
) -> None:
    mine = reserve(600)
    with other_harness(tmp_path, 600) as (process, answer):
        assert answer == "granted"
        assert mine.claim(rule(600)) == "short"
        process.kill()
        process.wait(30)
        assert mine.claim(rule(600)) == ""
    assert [entry.label for _, entry in living(tmp_path)] == ["600 MiB"]


def test_the_oldest_in_the_queue_goes_first(reserve: Callable[[int], Reservation], tmp_path: Path) -> None:
    holder, large, small = reserve(600), reserve(900), reserve(100)
    assert holder.claim(rule(600)) == ""
    assert large.claim(rule(900)) == "short"
    assert "900 MiB" in small.claim(rule(100))  # it would fit, and must not pass
    assert "came first" in small.claim(rule(100))
    holder.release()
    assert "came first" in small.claim(rule(100))
    assert large.claim(rule(900)) == ""
    assert small.claim(rule(100)) == ""


def test_who_leaves_the_queue_or_dies_in_it_holds_up_nobody(
    reserve: Callable[[int], Reservation], tmp_path: Path
) -> None:
    holder, small = reserve(600), reserve(100)
    assert holder.claim(rule(600)) == ""
    with other_harness(tmp_path, 900) as (process, answer):
        assert answer == "short"
        assert "came first" in small.claim(rule(100))
        process.kill()
        process.wait(30)
    assert small.claim(rule(100)) == ""


def test_memory_that_a_vm_has_touched_is_known(reserve: Callable[[int], Reservation], tmp_path: Path) -> None:
    touch = "import sys; data = bytearray(b'x' * (200 << 20)); print(len(data), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", touch], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        vm = reserve(600)
        assert vm.claim(rule(600)) == ""
        vm.used_by(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        seen: list[Held] = []

        def look(held: Sequence[Held]) -> str:
            seen.extend(held)
            return "" if held[0].resident_mib else "too little, if the VM has touched nothing yet"

        assert reserve(100).claim(look) == ""
        assert [held.memory_mib for held in seen] == [600, 600]
        assert 200 <= seen[1].resident_mib < 400
    assert resident_mib(vm.entry) == 0


def test_a_recycled_process_id_is_not_taken_for_the_vm() -> None:
    entry = Entry(owner=1, label="x", memory_mib=1, user=psutil.Process().pid, user_started=1.0)
    assert resident_mib(entry) == 0


def test_many_harnesses_at_once_never_promise_more_than_there_is(tmp_path: Path) -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OTHER, str(tmp_path), "300"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(6)
        ]
        answers = [process.stdout.readline().strip() for process in processes if process.stdout]
        granted = [entry for _, entry in living(tmp_path) if entry.granted]
        assert answers.count("granted") == len(granted) == 3
        assert sum(entry.memory_mib for entry in granted) <= FREE


def test_an_entry_that_its_owner_is_writing_is_passed_over(
    reserve: Callable[[int], Reservation], tmp_path: Path
) -> None:
    """Whoever only looks (halpmc doctor) does so without the ledger's lock."""
    writing = tmp_path / "00000001-1.json"
    with writing.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write('{"owner": 1, "la')
        file.flush()
        assert living(tmp_path) == []
        assert reserve(100).claim(rule(100)) == ""
        assert writing.exists()


def test_nobody_waits_for_ever_for_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOCK_WAIT_S", 0.1)
    with FileLock(tmp_path / ".lock"), pytest.raises(CacheBusy, match=r"holds .* for too long"):
        Reservation("a", 1, tmp_path).claim(rule(1))


def test_a_damaged_entry_of_a_dead_owner_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / "00000001-1.json").write_text("{")
    assert living(tmp_path) == []
    assert not (tmp_path / "00000001-1.json").exists()
