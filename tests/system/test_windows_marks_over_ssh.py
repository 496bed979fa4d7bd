"""Marks that a guest keeps in a file, asked over SSH: with a real server, which answers all the time.

The guest is the embedded one. What Windows' setup would write into the file, the tests do.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from harness.config.models import GuestDefinition
from harness.deadlines import Deadline, wait_for
from harness.errors import DeadlineExceeded, GuestError
from harness.imaging import windows_unmarked
from harness.imaging.windows_answer import marks_file
from harness.imaging.windows_phases import PHASES
from harness.imaging.windows_supervise import Supervisor
from harness.imaging.windows_unmarked import NO_SERVER, Asker
from harness.vm.screens import ScreenRing
from tests.standin.definitions import standin
from tests.system.test_ssh_guest import Booted, boot

ANSWER_S = 120.0


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[Booted, None, None]:
    yield from boot(tmp_path_factory.mktemp("marks"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_unmarked, "ASK_EVERY_S", 0.2)


def write(guest: Booted, folder: Path, text: str) -> None:
    """Make `text` the guest's file of marks."""
    local = folder / "written"
    local.write_bytes(text.encode())
    guest.transport.put(local, marks_file(guest.image.definition.drop_folder))


def said(*marks: str) -> str:
    return "".join(f"halpmc-setup: {mark}\r\n" for mark in marks)


def answer(asker: Asker) -> list[str]:
    """What comes of one question that was asked from now on."""
    asker.last = ""

    def answered(deadline: Deadline) -> list[str] | None:
        news = asker.news(float("inf"))
        deadline.last_seen = asker.last
        return news if asker.last else None

    return wait_for("an answer over SSH", ANSWER_S, answered)


def test_every_mark_is_news_once_and_only_whole_lines_are_marks(guest: Booted, tmp_path: Path) -> None:
    image = guest.image
    with Asker(guest.vm, image.definition, image.key, tmp_path) as asker:
        assert answer(asker) == [] and "there is no mark in" in asker.last
        write(guest, tmp_path, said("step openssh", f"hostkey {image.host_key}") + "halpmc-setup: rea")
        assert answer(asker) == ["step openssh", f"hostkey {image.host_key}"]
        assert answer(asker) == []
        write(guest, tmp_path, said("step openssh", f"hostkey {image.host_key}", "ready"))
        assert answer(asker) == ["ready"] and asker.last == "SSH answers: 'ready'"


def test_a_guest_that_does_not_know_the_key_says_so(guest: Booted, tmp_path: Path) -> None:
    definition = guest.image.definition
    stranger = definition.model_copy(update={"ssh": definition.ssh.model_copy(update={"user": "nobody"})})
    with Asker(guest.vm, stranger, guest.image.key, tmp_path) as asker:
        assert answer(asker) == [] and "SSH authentication of nobody" in asker.last


def test_where_nobody_answers_is_said_in_two_words(
    guest: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = windows_unmarked.PATIENCE.model_copy(update={"banner_s": 2.0})
    monkeypatch.setattr(windows_unmarked, "PATIENCE", patience)
    monkeypatch.setattr(type(guest.vm), "ssh_port", 1)
    with Asker(guest.vm, guest.image.definition, guest.image.key, tmp_path) as asker:
        assert answer(asker) == [] and asker.last == NO_SERVER


def supervise(
    guest: Booted, folder: Path, monkeypatch: pytest.MonkeyPatch, **windows: Any
) -> tuple[Any, list[str]]:
    """An installation that is watched while its server answers; its limits shrink once it has told of a restart."""
    limits = dict.fromkeys(PHASES, ANSWER_S)
    described: GuestDefinition = standin("marks", marks="none", limits=limits, **windows)
    assert described.windows is not None
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        if "our setup: restart" in text:
            monkeypatch.setattr("harness.imaging.windows_supervise.timeout_factor", lambda: 0.01)

    image = guest.image
    with (
        ScreenRing(guest.vm.qmp, folder / "screens") as screens,
        Asker(guest.vm, image.definition, image.key, folder) as asker,
    ):
        serial = folder / "serial.log"
        serial.touch()
        supervisor = Supervisor(
            guest.vm, described.windows, serial, screens, press_keys=False, say=say, asker=asker
        )
        return supervisor.run(), told


def test_the_last_mark_is_the_end(guest: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(guest, tmp_path, said("step openssh", f"hostkey {guest.image.host_key}", "ready"))
    installed, told = supervise(guest, tmp_path, monkeypatch)
    assert installed.host_key == guest.image.host_key and installed.missed == PHASES
    assert set(installed.seconds) == {"installation"} and installed.reboots == 0
    assert any("our setup: openssh" in line for line in told)


def test_a_server_that_answers_is_not_the_end(
    guest: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where all steps were done, and the restart is all that is missing."""
    write(guest, tmp_path, said("step openssh", f"hostkey {guest.image.host_key}", "step restart"))
    with pytest.raises(DeadlineExceeded, match="something that moves") as caught:
        supervise(guest, tmp_path, monkeypatch, still_s=100.0)
    assert "SSH answers: 'step restart'" in caught.value.message


def test_a_step_that_failed_ends_it_with_its_words(
    guest: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(guest, tmp_path, said("step openssh", "failed boot: bcdedit ended with 1"))
    with pytest.raises(GuestError, match="boot: bcdedit ended with 1"):
        supervise(guest, tmp_path, monkeypatch)
