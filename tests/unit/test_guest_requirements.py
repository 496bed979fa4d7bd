"""Judging a guest by its numbers, and reading bcdedit by its names."""

from __future__ import annotations

import pytest

from harness.config.models import GuestDefinition, GuestKind
from harness.guest import bcdedit
from harness.guest.requirements import CrashControl, GuestState, Status, judge

WINDOWS = GuestDefinition.model_validate(
    {
        "name": "w",
        "title": "w",
        "kind": "windows",
        "hal": "system",
        "arch": "x86_64",
        "recipe": "import",
        "machine": "q35",
    }
)
GOOD = GuestState(
    wine=None,
    build=20348,
    cpus=4,
    groups=1,
    administrator=1,
    edition=80,
    code_integrity=0x1 | 0x2,
    secure_boot=0,
    isolated_user_mode=0,
    licence_status=1,
    licence_minutes=100 * 24 * 60,
    clock_off_s=-0.4,
    disk_free=20 << 30,
    disk_total=40 << 30,
    bitlocker=1,
    test_signing_set=True,
    crash=CrashControl(dump=2, nmi=1, reboots=0),
    pending_reboot=(),
    verified_drivers=None,
)


def verdicts(definition: GuestDefinition = WINDOWS, **changes: object) -> dict[str, tuple[Status, str]]:
    """Those that are not met, with detail and remedy in one text."""
    state = GuestState.model_validate(GOOD.model_dump() | changes)
    judged = judge(state, definition, 4096)
    assert all(one.remedy for one in judged if one.status in (Status.WARN, Status.FAIL))
    return {
        one.name: (one.status, f"{one.detail} -> {one.remedy}")
        for one in judged
        if one.status is not Status.OK
    }


def test_a_guest_as_it_should_be() -> None:
    assert verdicts() == {}
    details = {one.name: one.detail for one in judge(GOOD, WINDOWS, 4096)}
    assert details["system"] == "Windows build 20348, Server Datacenter Evaluation"
    assert details["licence"] == "100 days left"


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"administrator": 0}, "administrator", Status.FAIL, "EnableLUA"),
        ({"administrator": None}, "administrator", Status.UNKNOWN, "not tell"),
        ({"build": 14393}, "system", Status.WARN, "17763"),
        ({"wine": "8.0"}, "system", Status.FAIL, "not Windows"),
        ({"code_integrity": 1}, "test_signing", Status.FAIL, "a reboot may be due"),
        (
            {"code_integrity": 1, "test_signing_set": False},
            "test_signing",
            Status.FAIL,
            "bcdedit /set testsigning",
        ),
        ({"code_integrity": 1, "secure_boot": 1}, "test_signing", Status.FAIL, "Secure Boot off first"),
        ({"secure_boot": 1}, "secure_boot", Status.FAIL, "firmware: uefi"),
        ({"secure_boot": None}, "secure_boot", Status.UNKNOWN, "not tell"),
        ({"code_integrity": 0x403}, "vbs", Status.WARN, "HVCI"),
        ({"isolated_user_mode": 1}, "vbs", Status.WARN, "EnableVirtualizationBasedSecurity"),
        ({"bitlocker": 0}, "bitlocker", Status.FAIL, "manage-bde -off"),
        ({"bitlocker": 2}, "bitlocker", Status.UNKNOWN, "not installed"),
        ({"crash": {"dump": 0, "nmi": 1, "reboots": 1}}, "crash_control", Status.WARN, "CrashDumpEnabled"),
        ({"crash": {"dump": 7, "nmi": None, "reboots": 1}}, "crash_control", Status.WARN, "NMICrashDump"),
        ({"pending_reboot": ("servicing",)}, "pending_reboot", Status.WARN, "servicing"),
        ({"clock_off_s": 3601.0}, "clock", Status.WARN, "rtc: localtime"),
        ({"clock_off_s": -90.0}, "clock", Status.WARN, "-90.0 s off"),
        ({"disk_free": 1 << 20}, "disk", Status.FAIL, "free at least 64 MiB"),
        ({"disk_free": 1 << 30}, "disk", Status.WARN, "no room for a memory dump"),
        ({"licence_minutes": 13 * 1440}, "licence", Status.WARN, "13 days left"),
        ({"licence_minutes": 0, "licence_status": 3}, "licence", Status.FAIL, "run out"),
        ({"licence_status": None}, "licence", Status.UNKNOWN, "not tell"),
        ({"verified_drivers": "pmctest.sys"}, "verifier", Status.WARN, "pmctest.sys"),
    ],
)
def test_each_requirement(changes: dict[str, object], name: str, status: Status, words: str) -> None:
    found = verdicts(WINDOWS, **changes)
    assert found[name][0] is status
    assert words in found[name][1]


def test_a_group_size_has_to_be_seen() -> None:
    definition = WINDOWS.model_copy(update={"group_size": 2})
    assert verdicts(definition)["processor_groups"][0] is Status.FAIL
    assert "processor_groups" not in verdicts(definition, groups=2)


def test_wine_is_judged_as_what_it_is() -> None:
    definition = WINDOWS.model_copy(update={"kind": GuestKind.WINE})
    found = verdicts(definition, wine="8.0", bitlocker=None, code_integrity=1, disk_free=1 << 28)
    unknown = {"test_signing", "secure_boot", "vbs", "bitlocker", "crash_control", "licence", "verifier"}
    assert set(found) == unknown
    assert all(status is Status.UNKNOWN and "not Windows" in text for status, text in found.values())


# The layout and the names are those of published outputs (J. Ledin, Modern Computer Architecture and Organization,
# chapter 5, of Windows 10; the German words from Microsoft's translations), cut to what matters.
ENGLISH = """
Windows Boot Loader
-------------------
identifier              {current}
device                  partition=C:
path                    \\WINDOWS\\system32\\winload.efi
description             Windows 10
displayorder            {92f49995-fef7-11e8-a8e2-e508765ab07c}
                        {memdiag}
testsigning             Yes
systemroot              \\WINDOWS
nx                      OptIn
"""
GERMAN = """
Windows-Startladeprogramm
-------------------------
Bezeichner              {current}
path                    \\Windows\\system32\\winload.exe
testsigning             Ja
systemroot              \\Windows
groupsize               4
"""


@pytest.mark.parametrize("output", [ENGLISH, GERMAN])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_bcdedit_in_any_language(output: str, line_end: str) -> None:
    text = output.replace("\n", line_end)
    assert bcdedit.is_mentioned(text, "testsigning") is True
    assert bcdedit.is_mentioned(text, "debug") is False


def test_values_that_are_no_words() -> None:
    assert bcdedit.settings(GERMAN)["groupsize"] == "4"
    assert bcdedit.settings(ENGLISH)["displayorder"] == "{92f49995-fef7-11e8-a8e2-e508765ab07c}"
    assert "{memdiag}" not in bcdedit.settings(ENGLISH)


@pytest.mark.parametrize(
    "output", ["", "The boot configuration data store could not be opened.\r\nAccess is denied."]
)
def test_no_boot_entry_is_not_a_no(output: str) -> None:
    assert bcdedit.is_mentioned(output, "testsigning") is None
