"""The vocabulary in a real guest: Wine's system, which has what of Windows it is asked for here, or says it has not."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from harness.config.models import Arch
from harness.errors import ClientError, GuestError
from harness.guest.quoting import command_line, for_cmd
from harness.imaging.embedded import compile_helper
from harness.runs.own_driver import OwnGuest, own_guest
from harness.windows.system import MEMORY_MANAGEMENT, System

FOLDER = r"C:\halpmc\vocabulary"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[OwnGuest, None, None]:
    with own_guest("embedded", tmp_path_factory.mktemp("logs")) as booted:
        yield booted


@pytest.fixture
def system(guest: OwnGuest) -> System:
    return System(guest.session)


# Processes


@pytest.mark.parametrize("code", [0, 1, 256, 0x80000003, 0xC0000005, 0xFFFFFFFF])
def test_exit_codes_have_all_their_bits(code: int, system: System) -> None:
    """An SSH server may cut them to 8; this does not."""
    signed = code - (1 << 32) if code >> 31 else code
    assert system.run(f"cmd /c exit {signed}").exit_code == code


def test_both_streams_are_told_apart(system: System) -> None:
    done = system.run("cmd /c echo to the one& echo to the other>&2")
    assert (done.text(), done.stderr) == ("to the one\n", b"to the other\r\n")


def test_what_takes_too_long_is_ended(system: System) -> None:
    with pytest.raises(GuestError, match=r"did not end within 3 s") as error:
        system.run("cmd /c echo begun& for /L %i in (1,0,2) do @rem", timeout_s=3.0)
    assert "begun" in error.value.evidence["stdout"]


def test_a_child_that_keeps_the_pipe_open_holds_nobody_up(system: System) -> None:
    assert system.run("cmd /c start /b cmd /c pause& echo left", timeout_s=20.0).text() == "left\n"


def test_output_is_never_cut_in_silence(guest: OwnGuest, system: System, tmp_path: Path) -> None:
    for size in (256 << 10, (256 << 10) + 1):
        (tmp_path / "output").write_bytes(bytes([ord("x")]) * size)
        guest.transport.put(tmp_path / "output", rf"{FOLDER}\output-{size}.txt")
    (fits, too_long) = (rf"cmd /c type {FOLDER}\output-{size}.txt" for size in (256 << 10, (256 << 10) + 1))
    assert len(system.run(fits).stdout) == 256 << 10
    with pytest.raises(GuestError, match="more than the client keeps"):
        system.run(too_long)


def test_a_program_that_is_not_there(system: System) -> None:
    with pytest.raises(
        ClientError, match=r"CreateProcess failed with win32 error 2 ERROR_FILE_NOT_FOUND"
    ) as error:
        system.run("no-such-program.exe")
    assert error.value.remedy == "the file is not where the path says"


def test_the_list_of_processes_and_the_end_of_one(guest: OwnGuest, system: System) -> None:
    pid = guest.session.hello.pid
    (own,) = [process for process in system.processes() if process.pid == pid]
    assert own.name == "pmcctl.exe" and own.threads >= 1
    names = [process.name for process in system.processes()]
    assert "services.exe" in names
    system.run("cmd /c start /b cmd /c pause")
    (waiting,) = [process for process in system.processes() if process.name == "cmd.exe"][-1:]
    system.kill(waiting.pid)
    assert waiting.pid not in {process.pid for process in system.processes()}


# Quoting: an argument is what the program gets, through the real CreateProcess and the real cmd.exe


@pytest.fixture(scope="module")
def echo(guest: OwnGuest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that prints its arguments."""
    program = tmp_path_factory.mktemp("program") / "arguments.exe"
    compile_helper([Path(__file__).with_name("arguments.c")], program, Arch.X86_64)
    guest.transport.put(program, rf"{FOLDER}\arguments.exe")
    return rf"{FOLDER}\arguments.exe"


def arguments(printed: bytes) -> list[str]:
    return [part.split("\x03")[0] for part in printed.decode().split("\x02")[1:]]


LETTERS = st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_characters="\x7f", codec="utf-8")
NASTY = st.sampled_from(list("\\\"'%^&|<>()! ,;=*?$~é漢"))
TEXTS = st.text(st.one_of(NASTY, LETTERS), max_size=24)
ROUND_TRIP = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@ROUND_TRIP
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@example(texts=["", 'a"b', "c\\", 'd\\"', "%PATH%", "^", "é 漢", "a & b | c > d"])
def test_arguments_arrive_through_create_process(texts: list[str], guest: OwnGuest, echo: str) -> None:
    done = System(guest.session).run(command_line(echo, *texts))
    assert arguments(done.stdout) == texts


@ROUND_TRIP
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@example(texts=["", 'a"b', "c\\", 'd\\"', "%PATH%", "^", "é 漢", "a & b | c > d"])
def test_arguments_arrive_through_cmd(texts: list[str], guest: OwnGuest, echo: str) -> None:
    done = System(guest.session).run("cmd /c " + for_cmd(echo, *texts))
    assert arguments(done.stdout) == texts


# Files


def test_files_with_odd_names(guest: OwnGuest, system: System, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"twelve bytes")
    name = "ü 漢字 & (100%)!^ " + 30 * "long" + ".bin"
    guest.transport.put(tmp_path / "file", rf"{FOLDER}\{name}")
    (found,) = system.files(rf"{FOLDER}\*.bin")
    assert (found.name, found.size, found.folder) == (name, 12, False)
    assert system.files(rf"{FOLDER}\*.none") == ()
    system.delete(rf"{FOLDER}\{name}")
    assert system.files(rf"{FOLDER}\*.bin") == ()
    with pytest.raises(ClientError, match="ERROR_FILE_NOT_FOUND"):
        system.delete(rf"{FOLDER}\{name}")
    with pytest.raises(ClientError, match="ERROR_PATH_NOT_FOUND"):
        system.files(r"C:\no such folder\*")


# Boots, the registry, and what Wine does not have


def test_a_boot_is_the_same_until_the_next_one(guest: OwnGuest, system: System) -> None:
    first = system.boot()
    assert first.same_as(system.boot())
    assert first.booted.year >= 2024


def test_how_large_the_nonpaged_pool_is_wine_does_not_tell(system: System) -> None:
    assert system.nonpaged_pool() is None


def test_driver_verifiers_switch(system: System) -> None:
    system.verify_drivers(["pmctest.sys", "pmctest2.sys"])
    assert system.value(MEMORY_MANAGEMENT, "VerifyDrivers") == "pmctest.sys pmctest2.sys"
    assert system.value(MEMORY_MANAGEMENT, "VerifyDriverLevel") == 0x209BB
    system.verify_drivers([])
    assert system.value(MEMORY_MANAGEMENT, "VerifyDriverLevel") == 0
    assert system.value(MEMORY_MANAGEMENT, "no such value") is None


def test_what_wine_does_not_have_is_said(system: System) -> None:
    with pytest.raises(
        ClientError, match="there is no event log failed with win32 error 50 ERROR_NOT_SUPPORTED"
    ):
        next(system.events())
    with pytest.raises(ClientError, match="there is no event tracing"):
        system.pmc_sources()
    with pytest.raises(ClientError, match="there is no event tracing"), system.pmc_session([1]):
        pass
