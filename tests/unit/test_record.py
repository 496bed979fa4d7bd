"""Records: one line each, at once, from several processes, read back whole or named as damaged."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import pytest

from harness.contract.outcomes import Outcome, worst_outcome
from harness.errors import InfrastructureError, NoSpace, UsageError
from harness.runs.record import ClauseRecord, IncidentRecord, PhaseRecord, Record
from harness.runs.record_file import FILE_NAME, Recorder, read_records, scan_records, tail_records


def phase(cell: str, name: str = "boot") -> PhaseRecord:
    return PhaseRecord(cell=cell, name=name, seconds=1.5)


def record(folder: Path, *records: Record) -> None:
    recorder = Recorder(folder)
    for item in records:
        recorder.write(item)
    recorder.close()


def append(folder: Path, text: bytes) -> None:
    with (folder / FILE_NAME).open("ab") as file:
        file.write(text)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    clause = ClauseRecord(
        cell="a",
        clause="ALLOC-1",
        test="t",
        outcome=Outcome.FAIL,
        reason="line\nbreak",
        observations=(("s", {"x": [1, None]}),),
    )
    record(tmp_path, clause, phase("a"))
    assert [type(item) for item in read_records(tmp_path)] == [ClauseRecord, PhaseRecord]
    back = next(iter(read_records(tmp_path)))
    assert isinstance(back, ClauseRecord)
    assert back.reason == "line\nbreak"
    assert dict(back.observations) == {"s": {"x": [1, None]}}


def test_a_line_in_flight_when_the_writer_was_killed_is_left_out(tmp_path: Path) -> None:
    record(tmp_path, phase("a"))
    append(tmp_path, b'{"type":"phase","cell":"b","na')
    records, damage = scan_records(tmp_path)
    assert len(records) == 1
    assert not damage
    assert len(list(read_records(tmp_path))) == 1


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    record(tmp_path, phase("a"))
    append(tmp_path, b'{"type":"phase","cell":"b","na\n')
    record(tmp_path, phase("c"))
    records, damage = scan_records(tmp_path)
    assert len(records) == 2
    assert len(damage) == 1
    assert damage[0].startswith("records.jsonl:2 ")
    with pytest.raises(InfrastructureError, match=r"records\.jsonl:2"):
        list(read_records(tmp_path))


def test_a_damaged_last_line_that_was_ended_is_damage(tmp_path: Path) -> None:
    record(tmp_path, phase("a"))
    append(tmp_path, b'{"type":"phase","cell":"b","na\n')
    assert [line.partition(" ")[0] for line in scan_records(tmp_path)[1]] == ["records.jsonl:2"]


def test_a_folder_without_records_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"records\.jsonl"):
        scan_records(tmp_path)


def test_tailing_gives_every_complete_record_once(tmp_path: Path) -> None:
    record(tmp_path, phase("a"))
    append(tmp_path, b"not a record\n")
    whole = phase("b").model_dump_json().encode()
    append(tmp_path, whole[:20])
    first, offset = tail_records(tmp_path, 0)
    assert [item.cell for item in first if isinstance(item, PhaseRecord)] == ["a"]
    assert tail_records(tmp_path, offset) == ([], offset)
    append(tmp_path, whole[20:] + b"\n")
    second, offset = tail_records(tmp_path, offset)
    assert [item.cell for item in second if isinstance(item, PhaseRecord)] == ["b"]
    assert offset == (tmp_path / FILE_NAME).stat().st_size


def test_half_a_surrogate_pair_from_a_guest_is_no_loss_of_the_record(tmp_path: Path) -> None:
    record(
        tmp_path,
        IncidentRecord(cell="a", branch="guest", message="name \ud83d broken", evidence={"é": "\ud800"}),
    )
    [item] = read_records(tmp_path)
    assert isinstance(item, IncidentRecord)
    assert item.message == "name ? broken"
    assert item.evidence == {"é": "?"}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="No space left on device"):
        record(tmp_path, phase("a"))


def test_a_disk_that_takes_a_part_of_a_line_only_is_the_same_error(tmp_path: Path) -> None:
    """The kernel writes up to the limit of the file's size, as it writes up to the last free block of a disk."""
    record(tmp_path, phase("a"))
    size = (tmp_path / FILE_NAME).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(NoSpace, match="took only 10 of the"):
            record(tmp_path, phase("b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [item.cell for item in read_records(tmp_path) if isinstance(item, PhaseRecord)] == ["a"]


def _write_many(folder: Path, cell: str) -> None:
    record(folder, *(phase(cell, "x" * 5000) for _ in range(100)))


def test_processes_that_write_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, name)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(list(read_records(tmp_path))) == 300


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ("pass skipped", "pass"),
        ("recorded skipped", "recorded"),
        ("pass recorded", "pass"),
        ("pass error", "error"),
        ("error fail pass", "fail"),
        ("skipped", "skipped"),
    ],
)
def test_of_several_tests_the_one_that_judged_worst_counts(outcomes: str, worst: str) -> None:
    assert worst_outcome(Outcome(outcome) for outcome in outcomes.split()) == worst
