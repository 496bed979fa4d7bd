"""What a guest says of its machine, against what was asked for; and what Windows would say, by a scripted client."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Boot, Cell, Enlightenments
from harness.contract.machine_seen import MachineSeen, unlike, untold, words
from harness.contract.verdict import realisation
from harness.driver import protocol
from harness.driver.session import ClientSession
from harness.errors import GuestError
from harness.probe.models import Counter, CounterState, PmuVerdict, ProbeAnswer
from harness.runs.in_guest import DRIVERS, MEMORY_INTEGRITY, change, settings_of
from harness.runs.read_back import read_back
from harness.vm.hyperv import BASIC, missed, seen_in
from harness.windows.system import MEMORY_MANAGEMENT, STANDARD_FLAGS
from tests.unit.test_check_guest import FACTS, HELLO, SYSTEM

ASKED = Cell(
    id="asked",
    firmware=Boot.UEFI,
    secure_boot=True,
    tpm=True,
    enlightenments=Enlightenments.BASIC,
    vbs=True,
    verifier=True,
    group_size=2,
    smp=4,
)
AS_ASKED = MachineSeen(
    firmware=Boot.UEFI,
    secure_boot=True,
    tpm=True,
    enlightenments="",
    vbs=True,
    memory_integrity=True,
    verified=True,
    group_cpus=(2, 2),
)


def test_a_guest_that_has_all_of_it() -> None:
    assert unlike(ASKED, AS_ASKED) == untold(ASKED, AS_ASKED) == ()
    assert words(AS_ASKED) == (
        "firmware uefi, Secure Boot on, TPM on, VBS on, memory integrity on, Driver Verifier on, "
        "processor groups of 2+2 CPUs"
    )


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"firmware": Boot.BIOS}, "firmware=uefi was asked for, the guest was started by bios"),
        ({"secure_boot": False}, "secure_boot=on was asked for, the guest does not have Secure Boot"),
        ({"tpm": False}, "tpm=on was asked for, the guest does not have a TPM"),
        (
            {"enlightenments": "the guest is offered none"},
            "enlightenments=basic was asked for, the guest is offered none",
        ),
        ({"vbs": False}, "vbs=on was asked for, the guest does not have virtualization-based security"),
        ({"memory_integrity": False}, "vbs=on was asked for, the guest does not have memory integrity"),
        (
            {"verified": False},
            "verifier=on was asked for, the guest does not have Driver Verifier for the test driver",
        ),
        ({"group_cpus": (4,)}, "group_size=2 was asked for, the guest's 4 CPUs are in groups of 4"),
        ({"group_cpus": (3, 1)}, "group_size=2 was asked for, the guest's 4 CPUs are in groups of 3+1"),
        ({"group_cpus": (2, 1, 1)}, "group_size=2 was asked for, the guest's 4 CPUs are in groups of 2+1+1"),
    ],
)
def test_each_thing_that_it_has_not_is_named(seen: dict[str, Any], expected: str) -> None:
    machine = replace(AS_ASKED, **seen)
    assert unlike(ASKED, machine) == (expected,)
    assert realisation(ASKED, None, machine=machine) == (expected,)


def test_what_was_not_asked_for_is_not_missed_and_what_is_not_told_is_said() -> None:
    assert unlike(Cell(id="x"), AS_ASKED) == ()
    nothing = MachineSeen()
    assert unlike(ASKED, nothing) == ()
    assert untold(ASKED, nothing) == (
        "firmware",
        "secure_boot",
        "tpm",
        "enlightenments",
        "vbs",
        "verifier",
        "group_size",
    )
    assert words(nothing) == "nothing"
    off = Cell(id="off", secure_boot=False, tpm=False, vbs=False, verifier=False)
    assert [text.split(" ", maxsplit=1)[0] for text in unlike(off, AS_ASKED)] == [
        "secure_boot=off",
        "tpm=off",
        "vbs=off",
        "vbs=off",
        "verifier=off",
    ]


def probe(state: CounterState) -> ProbeAnswer:
    verdict = PmuVerdict.COUNTING if state is CounterState.COUNTING else PmuVerdict.DEAD
    counter = Counter(name="gp0", event="cycles", state=state, count=1, loop=1)
    return ProbeAnswer(
        arch=Arch.X86_64,
        accel=Accel.KVM,
        machine="q35",
        cpu="host,pmu=on",
        verdict=verdict,
        interface="intel-arch",
        version=2,
        general_counters=1,
        fixed_counters=0,
        counters=(counter,),
        advertised={},
        elapsed_s=0.1,
        qemu_version="7.2",
    )


def test_a_starved_pmu_is_what_was_asked_for_and_one_that_counts_is_not() -> None:
    starved, fed = Cell(id="starved", starve_pmu=True), Cell(id="fed")
    assert realisation(starved, probe(CounterState.DEAD)) == ()
    assert realisation(starved, probe(CounterState.COUNTING)) == (
        "starve_pmu=on was asked for, counters count for the PMU probe all the same",
    )
    assert len(realisation(fed, probe(CounterState.DEAD))) == 1


# -- enlightenments, by CPUID ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    leaf: int
    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0


def hyperv(features: int, crash: int, recommended: int, spinlocks: int) -> list[Leaf]:
    """The three leaves as KVM and QEMU fill them in."""
    return [
        Leaf(1),
        Leaf(0x40000000, 0x40000006, 0x7263694D, 0x666F736F, 0x76482074),
        Leaf(0x40000003, features, 0, 0, crash),
        Leaf(0x40000004, recommended, spinlocks),
    ]


ALL = hyperv(0xAFF, 0x508, 0xC2E, 0x1FFF)


def test_the_flags_that_qemu_is_told_are_those_that_a_guest_sees() -> None:
    assert seen_in(ALL) == frozenset(flag.partition("=")[0] for flag in BASIC)
    assert missed(Enlightenments.BASIC, seen_in(ALL) or frozenset()) == ""
    assert missed(Enlightenments.PASSTHROUGH, frozenset({"hv-time"})) == ""
    assert missed(Enlightenments.PASSTHROUGH, frozenset()) == "the guest is offered none"
    assert missed(Enlightenments.NONE, frozenset()) == ""
    assert missed(Enlightenments.NONE, frozenset({"hv-time"})) == "the guest is offered hv-time"
    few = seen_in(hyperv(0xAFF & ~(1 << 9), 0x108, 0xC2E, 0xFFFFFFFF))
    assert missed(Enlightenments.BASIC, few or frozenset()) == (
        "the guest is not offered hv-crash, hv-spinlocks, hv-time"
    )


def test_other_hypervisors_and_no_cpuid() -> None:
    tcg = [Leaf(1), Leaf(0x40000000, 0x40000001, 0x54474354, 0x43544743, 0x47435447)]
    assert seen_in(tcg) == seen_in([Leaf(1)]) == frozenset()
    assert seen_in([]) is None


# -- a scripted client -------------------------------------------------------------------------------------------------

# As `verifier /query` prints it, shortened; in German the words differ, and the names do not.
QUERY = """\
Zeitstempel: 29.11.2026 04:12:31.123\r
\r
Verifiziererkennzeichen: 0x000209bb\r
\r
Überprüfte Treiber:\r
\r
Name: pmctest.sys, geladen: 1, entladen: 0\r
\r
CurrentPagedPoolAllocations:  0\r
Name: PmcTest2.SYS, geladen: 1, entladen: 0\r
"""


class Client:
    """A client that answers as the protocol says: facts and state from tables, a registry, and tools by their line."""

    def __init__(
        self,
        *,
        facts: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        registry: dict[tuple[str, str], Any] | None = None,
        tools: dict[str, tuple[int, str]] | None = None,
        files: dict[str, list[str]] | None = None,
    ) -> None:
        self.facts = FACTS | (facts or {})
        self.state = SYSTEM | {"time": "0x1"} | (state or {})
        self.registry = registry or {}
        self.tools = tools or {}
        self.files = files or {}
        self.ran: list[str] = []
        self.answers: list[bytes] = []

    def send_line(self, line: bytes) -> None:
        request = json.loads(line)
        result, error = self._answer(request["op"], request["args"])
        answer = {"id": request["id"], "ok": error is None, "result": result, "error": error}
        self.answers.append(json.dumps(answer).encode())

    def _answer(self, op: str, args: dict[str, Any]) -> tuple[Any, Any]:  # noqa: PLR0911 - one for each operation
        missing = {"kind": "win32", "code": 2, "what": "x"}
        match op:
            case "facts":
                return self.facts, None
            case "system.state":
                return self.state, None
            case "registry.get":
                value = self.registry.get((args["path"], args["name"]))
                kind = "dword" if isinstance(value, int) else "string"
                return (None, missing) if value is None else ({"type": kind, "value": value}, None)
            case "registry.set":
                self.registry[args["path"], args["name"]] = args["value"]
                return {}, None
            case "file.list":
                if args["pattern"] not in self.files:
                    return None, missing | {"code": 3}
                names = self.files[args["pattern"]]
                found = [{"name": n, "size": "0x0", "written": "0x0", "folder": False} for n in names]
                return {"files": found, "cut": False}, None
            case "process.run":
                self.ran.append(args["command"])
                code, text = self.tools[args["command"]]
                done = protocol.ProcessResult(
                    pid=1, exit_code=code, timed_out=False, cut=False, stdout=text.encode(), stderr=b""
                )
                return done.model_dump(mode="json"), None
        raise AssertionError(op)

    def read_line(self, timeout_s: float, what: str = "line") -> bytes:
        return self.answers.pop(0)

    def stderr_tail(self) -> str:
        return ""

    def close(self) -> None:
        pass


def session(client: Client, tmp_path: Path) -> ClientSession:
    client.answers = [json.dumps(HELLO).encode()]
    return ClientSession(client, greeting_timeout_s=1, log=tmp_path / "client.log")


SERVER = load_guest("windows-server-2022")


def test_a_windows_tells_what_it_is_in(tmp_path: Path) -> None:
    client = Client(
        facts={"cpus": 4, "groups": 2, "group_cpus": [2, 2]},
        state={"firmware": 2, "secure_boot": 1, "tpm": 2, "isolated_user_mode": 1, "code_integrity": 0x403},
        tools={"verifier /query": (0, QUERY)},
    )
    seen = read_back(session(client, tmp_path), ASKED, SERVER)
    assert seen == replace(AS_ASKED, enlightenments=None)  # its own hypervisor answers there
    assert unlike(ASKED, seen) == ()
    assert untold(ASKED, seen) == ("enlightenments",)


def test_a_windows_with_none_of_it(tmp_path: Path) -> None:
    client = Client(
        facts={"cpus": 4, "group_cpus": [4], "cpuid": [{"subleaf": 0, **vars(leaf)} for leaf in ALL[:1]]},
        state={"firmware": 1, "tpm": 0},
        tools={"verifier /query": (0, "No drivers are currently verified.\r\n")},
    )
    seen = read_back(session(client, tmp_path), ASKED, SERVER)
    assert len(unlike(ASKED, seen)) == 8
    assert untold(ASKED, seen) == ()


def test_a_verifier_that_watches_one_of_two_or_fails(tmp_path: Path) -> None:
    one = Client(tools={"verifier /query": (0, QUERY.replace("PmcTest2.SYS", "other.sys"))})
    assert read_back(session(one, tmp_path), ASKED, SERVER).verified is False
    none = Client(tools={"verifier /query": (1, "Access is denied.")})
    assert read_back(session(none, tmp_path), ASKED, SERVER).verified is None
    unasked = Client()
    assert read_back(session(unasked, tmp_path), Cell(id="x"), SERVER).verified is None
    assert unasked.ran == []


def test_wine_tells_what_its_linux_shows(tmp_path: Path) -> None:
    wine = load_guest("embedded")
    cell = Cell(id="x", firmware=Boot.UEFI, tpm=True, secure_boot=False, verifier=False, vbs=False)
    unknown = {"firmware": 0, "tpm": None, "secure_boot": None, "isolated_user_mode": None}
    files = {
        r"Z:\sys\firmware\*": ["acpi", "efi"],
        r"Z:\sys\firmware\acpi\tables\*": ["FACP", "TPM2"],
        r"Z:\sys\class\tpm\*": [],
    }
    client = Client(facts={"wine": "8.0"}, state=unknown, files=files)
    seen = read_back(session(client, tmp_path), cell, wine)
    assert (seen.firmware, seen.tpm, seen.verified) == (Boot.UEFI, True, False)
    assert (unlike(cell, seen), untold(cell, seen)) == ((), ("secure_boot",))
    files |= {r"Z:\sys\firmware\*": ["acpi"], r"Z:\sys\firmware\acpi\tables\*": ["FACP"]}
    assert len(unlike(cell, read_back(session(client, tmp_path), cell, wine))) == 2
    bare = Client(facts={"wine": "8.0"}, state=unknown)
    assert untold(cell, read_back(session(bare, tmp_path), cell, wine)) == ("firmware", "secure_boot", "tpm")


# -- settings inside of Windows ----------------------------------------------------------------------------------------

BCDEDIT = "bcdedit /set {current} groupsize 2"


def test_what_differs_is_set(tmp_path: Path) -> None:
    client = Client(facts={"cpus": 4, "group_cpus": [4]}, tools={BCDEDIT: (0, "")})
    assert list(change(session(client, tmp_path), ASKED, 2)) == [
        "Driver Verifier on",
        "virtualization-based security and memory integrity on",
        "processor groups of 2",
    ]
    assert client.registry[MEMORY_MANAGEMENT, "VerifyDrivers"] == " ".join(DRIVERS)
    assert client.registry[MEMORY_MANAGEMENT, "VerifyDriverLevel"] == STANDARD_FLAGS
    assert client.registry[MEMORY_INTEGRITY, "Enabled"] == 1
    assert client.ran == [BCDEDIT]


def test_what_is_so_already_is_left_alone(tmp_path: Path) -> None:
    client = Client(
        facts={"cpus": 4, "group_cpus": [2, 2]},
        state={"isolated_user_mode": 1, "code_integrity": 0x403},
        registry={
            (MEMORY_MANAGEMENT, "VerifyDrivers"): "PMCTEST2.sys pmctest.sys",
            (MEMORY_MANAGEMENT, "VerifyDriverLevel"): STANDARD_FLAGS,
        },
    )
    before = dict(client.registry)
    assert list(change(session(client, tmp_path), ASKED, 2)) == []
    assert (client.registry, client.ran) == (before, [])


def test_off_takes_away_what_is_there(tmp_path: Path) -> None:
    client = Client(
        state={"isolated_user_mode": 1, "code_integrity": 3},
        registry={(MEMORY_MANAGEMENT, "VerifyDrivers"): "other.sys"},
    )
    off = Cell(id="off", vbs=False, verifier=False)
    assert len(list(change(session(client, tmp_path), off, None))) == 2
    assert client.registry[MEMORY_MANAGEMENT, "VerifyDrivers"] == ""
    assert client.registry[MEMORY_MANAGEMENT, "VerifyDriverLevel"] == 0
    assert client.registry[MEMORY_INTEGRITY, "Enabled"] == 0


def test_a_tool_that_refuses_says_so(tmp_path: Path) -> None:
    said = "The value is protected by Secure Boot policy and cannot be modified or deleted."
    client = Client(facts={"cpus": 4, "group_cpus": [4]}, tools={BCDEDIT: (1, said)})
    with pytest.raises(GuestError, match="exit code 1: The value is protected by Secure Boot policy"):
        list(change(session(client, tmp_path), Cell(id="x"), 2))


def test_settings_are_of_windows_and_of_those_who_ask() -> None:
    assert settings_of(ASKED, SERVER) == {"vbs": "True", "verifier": "True"}
    assert settings_of(Cell(id="x"), SERVER.model_copy(update={"group_size": 4})) == {"group_size": "4"}
    assert settings_of(Cell(id="x", verifier=False, vbs=False), load_guest("embedded")) == {}
