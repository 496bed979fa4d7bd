"""Random sequences against a real guest: a broken HAL is found by few calls, which its command line shows again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import Generation, HalSettings
from harness.driver import protocol
from harness.errors import ClientError
from harness.runs.folder import CONFIG
from harness.runs.guest import Guest
from harness.runs.plan import SearchPlan
from harness.runs.sequences import Search, SequenceRunner, search
from tests.system.conftest import HALPMC
from tests.system.driver_guest import CELL, driver_guest

SEED = 3


def find(folder: Path, hal: HalSettings, sequences: int) -> Search:
    numbers = count(1)

    @contextmanager
    def fresh() -> Generator[Guest, None, None]:
        with driver_guest(folder / str(next(numbers)), hal) as guest:
            yield guest

    with SequenceRunner(fresh) as runner:
        return search(runner, SearchPlan(sequences, SEED))


@pytest.mark.parametrize("generation", Generation)
@pytest.mark.parametrize("defect", ["double-grant", "double-free-accepted", "null-not-written"])
def test_a_broken_hal_is_found_by_at_most_four_calls(
    defect: str, generation: Generation, tmp_path: Path
) -> None:
    found = find(tmp_path, HalSettings(generation=generation, defect=defect), 150)
    assert found.failure is not None
    assert found.failure.confirmed
    assert len(found.failure.steps) <= 4, found.failure.line


def test_the_command_line_of_a_failure_shows_it_again(tmp_path: Path) -> None:
    """And a sound HAL answers the same calls as expected."""

    def replay(defect: str | None) -> tuple[int, dict[str, Any]]:
        cell = CELL.model_copy(update={"hal": HalSettings(defect=defect)})
        (tmp_path / CONFIG).write_text(cell.model_dump_json())
        line = "a allocate counters=0; c allocate counters=1 on=1; p start; a free 1; p kill; b free 1"
        done = subprocess.run(
            [*HALPMC, "replay", str(tmp_path), "--sequence", line, "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    code, result = replay(None)
    assert (code, [call["wrong"] for call in result["calls"]]) == (0, [""] * 7)
    code, result = replay("double-free-accepted")
    assert code == 1
    assert result["calls"][-1]["number"] == 6
    assert result["calls"][-1]["wrong"].startswith("FREE-5")
    assert result["guest_kind"] == "wine"


def step(op: str, **args: Any) -> dict[str, Any]:
    return {"op": op, "args": args}


OPEN = step("device.open", name="pmctest")


def test_the_clients_sequences_are_bounded_and_leave_nothing(tmp_path: Path) -> None:
    """Every list that is none is refused as a whole; what steps opened and started is gone afterwards."""
    with driver_guest(tmp_path) as guest, guest.open() as device:

        def run(*steps: dict[str, Any]) -> tuple[protocol.StepAnswer, ...]:
            return guest.session.call("sequence", protocol.SequenceResult, steps=steps).answers

        first = {"step": 0}
        for _ in range(6):  # more devices than the client has room for, if they stayed
            opened, *_, allocated = run(*[OPEN] * 4, step("allocate", device={"step": 3}))
            assert opened.result and allocated.result and allocated.result["status"] == 0
            assert device.info().held == 0
        started, held = run(step("holder.start", device_name="pmctest", mode="hold"), OPEN)
        assert started.ok and held.ok
        assert device.info().held == 0
        assert not run(step("holder.kill"))[0].ok  # it is gone already

        answers = run(
            OPEN,
            step("free", device=first, handle={"step": 0}),  # a device is no handle
            step("free", device=first, handle={"step": 3}),  # not made yet
            step("allocate", device={"step": 1}),  # made nothing
            step("allocate", device=first, colour=1),
            step("allocate", device=first),
            step("free", device=first, handle={"step": 5}),
        )
        assert [answer.ok for answer in answers] == [True, False, False, False, False, True, True]
        assert {answer.error.kind for answer in answers if answer.error} == {protocol.ErrorKind.PROTOCOL}
        assert answers[-1].result and answers[-1].result["status"] == 0

        assert len(run(*[OPEN, step("device.close", device=first)] * 48)) == 96
        assert guest.session.call("hello", protocol.Hello).hello == "pmcctl"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([OPEN] * 97, "too many steps"),
        ([OPEN, {"op": "sequence", "args": {"steps": []}}], "what cannot be a step"),
        ([OPEN, {"op": "exit"}], "what cannot be a step"),
        ([OPEN, {"op": "device.open", "args": {}, "id": 1}], "what cannot be a step"),
        ([1], "what cannot be a step"),
        ({}, "steps"),
    ],
)
def test_a_list_that_is_no_sequence_does_nothing(
    steps: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loose(protocol.Message):
        steps: Any

    monkeypatch.setitem(protocol.REQUESTS, "sequence", (Loose, protocol.SequenceResult))
    with driver_guest(tmp_path) as guest:
        with pytest.raises(ClientError, match=words):
            guest.session.call("sequence", protocol.SequenceResult, steps=steps)
        with guest.open() as device:
            assert device.number == 1  # nothing was opened
