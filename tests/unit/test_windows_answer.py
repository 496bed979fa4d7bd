"""Answer files: golden for every definition, options as diffs; only settings that Setup knows, where it reads them.

HALPMC_UPDATE_GOLDEN=1 writes the golden files anew; git shows what changed.
"""

from __future__ import annotations

import difflib
import os
import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import UndefinedError
from pydantic import ValidationError

from harness.config import load
from harness.config.models import Arch, Firmware, GuestDefinition
from harness.errors import UsageError
from harness.imaging.windows_answer import Answer, AnswerOptions, answer_for, new_password, render
from harness.paths import image_sources

GOLDEN = Path(__file__).parent / "golden" / "windows"
PASSWORD = "aA1-GoldenGoldenGolden"  # noqa: S105 - of no image


@cache
def load_guest(name: str) -> GuestDefinition:
    """The project's definition, whatever is in this machine's store."""
    return load.load_guest(name, load.guests_folder())


WINDOWS = tuple(
    name for name in load.guest_names(load.guests_folder()) if load_guest(name).windows is not None
)
NS = "{urn:schemas-microsoft-com:unattend}"
KEY = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"
OPTIONS: dict[str, dict[str, Any]] = {
    "virtio drivers": {"virtio": True},
    "OpenSSH from a zip": {"openssh": "zip", "openssh_file": "OpenSSH-Win64.zip"},
    "OpenSSH from an MSI": {"openssh": "msi", "openssh_file": "OpenSSH-Win64-v9.8.1.0.msi"},
    "emergency console": {"ems": True},
    "edition by index": {"edition": "2"},
    "product key": {"product_key": KEY},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "BIOS": {"firmware": Firmware.BIOS},
    "Secure Boot": {"firmware": Firmware.SECURE_BOOT},
    "no TPM": {"tpm": False},
    "TPM": {"tpm": True},
    "processor groups of 2": {"group_size": 2},
}
ALL_OPTIONS = [*OPTIONS, *VARIANTS]


def answer(name: str, option: str | None = None) -> Answer:
    definition = load_guest(name)
    assert definition.windows is not None
    options = {"edition": definition.windows.edition, **OPTIONS.get(option or "", {})}
    changed = definition.model_copy(update=VARIANTS.get(option or "", {}))
    return answer_for(changed, AnswerOptions.model_validate(options), PASSWORD)


def text_of(files: dict[str, str]) -> str:
    return "".join(f"==== {path} ====\n{text}" for path, text in files.items())


def golden(path: Path, text: str) -> None:
    if os.environ.get("HALPMC_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"{path.name}: HALPMC_UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("name", WINDOWS)
def test_the_files_of_every_definition_are_the_golden_ones(name: str) -> None:
    golden(GOLDEN / f"{name}.txt", text_of(render(answer(name))))


@pytest.mark.parametrize("name", WINDOWS)
def test_what_each_option_changes_is_golden(name: str) -> None:
    plain = text_of(render(answer(name))).splitlines(keepends=True)
    parts = []
    for option in ALL_OPTIONS:
        changed = text_of(render(answer(name, option))).splitlines(keepends=True)
        parts.append(f"#### {option}\n" + "".join(difflib.unified_diff(plain, changed, n=1)))
    golden(GOLDEN / f"{name}.options.diff", "\n".join(parts))


def texts(element: ET.Element, path: str = "") -> list[tuple[str, str]]:
    """The settings below an element, with their texts."""
    children = list(element)
    if not children:
        return [(path, element.text or "")]
    return [leaf for child in children for leaf in texts(child, f"{path}/{local(child)}".lstrip("/"))]


def leaves(element: ET.Element) -> list[str]:
    return [path for path, _ in texts(element)]


def local(element: ET.Element) -> str:
    return element.tag.removeprefix(NS)


@cache
def settings_table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load((image_sources() / "windows" / "settings.yaml").read_text())
    return dict(table["components"])


def complaints(xml: str, architecture: str, kind: str = "server") -> list[str]:
    """What Setup would stumble over, or take no notice of; `kind`: server or client."""
    table, found, passes = settings_table(), [], []
    for settings in ET.fromstring(xml):
        passes.append(settings.attrib["pass"])
        for component in settings:
            name = component.attrib["name"]
            if component.attrib["processorArchitecture"] != architecture:
                found.append(f"{name}: architecture {component.attrib['processorArchitecture']}")
            if not list(component):
                found.append(f"{name}: empty")
            known = table.get(name, {})
            for leaf, text in texts(component):
                allowed = known.get("settings", {}).get(leaf)
                if allowed is None:
                    found.append(f"{name}/{leaf}: unknown")
                elif passes[-1] not in allowed:
                    found.append(f"{name}/{leaf}: not read in {passes[-1]}")
                if len(text) > known.get("longest", {}).get(leaf, len(text)):
                    found.append(f"{name}/{leaf}: {len(text)} characters")
                if known.get("only", {}).get(leaf, kind) != kind:
                    found.append(f"{name}/{leaf}: not of a {kind}")
    if len(passes) != len(set(passes)):
        found.append("a pass stands twice")
    return found


@pytest.mark.parametrize("option", [None, *ALL_OPTIONS])
@pytest.mark.parametrize("name", WINDOWS)
def test_only_documented_settings_in_their_passes(name: str, option: str | None) -> None:
    it = answer(name, option)
    arch = "arm64" if load_guest(name).arch is Arch.AARCH64 else "amd64"
    kind = "server" if it.server else "client"
    assert complaints(render(it)["autounattend.xml"], arch, kind) == []


def test_the_table_has_nothing_that_no_answer_uses() -> None:
    used = set()
    for name in ("windows-11-24h2", "windows-server-2025"):
        for option in [None, *ALL_OPTIONS]:
            for settings in ET.fromstring(render(answer(name, option))["autounattend.xml"]):
                used |= {(c.attrib["name"], leaf) for c in settings for leaf in leaves(c)}
    assert {(c, s) for c, entry in settings_table().items() for s in entry["settings"]} == used
    for entry in settings_table().values():
        assert {*entry.get("longest", {}), *entry.get("only", {})} <= set(entry["settings"])


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("<EnableLUA>false</EnableLUA>", "<EnableLuA>false</EnableLuA>", "unknown"),
        ('pass="offlineServicing"', 'pass="specialize"', "not read in specialize"),
        ('processorArchitecture="amd64"', 'processorArchitecture="arm64"', "architecture arm64"),
        ('pass="specialize"', 'pass="oobeSystem"', "a pass stands twice"),
        ("<ComputerName>", "<ComputerName>A-NAME-OF-", "ComputerName: 16 characters"),
    ],
)
def test_the_check_finds_what_is_wrong(before: str, after: str, complaint: str) -> None:
    xml = render(answer("windows-server-2022"))["autounattend.xml"]
    assert before in xml
    assert any(complaint in found for found in complaints(xml.replace(before, after, 1), "amd64"))


def test_the_check_finds_what_the_other_kind_of_windows_takes_no_notice_of() -> None:
    xml = render(answer("windows-server-2022"))["autounattend.xml"]
    assert complaints(xml, "amd64", "client") == [
        "Microsoft-Windows-Shell-Setup/OOBE/HideLocalAccountScreen: not of a client"
    ]


@pytest.mark.parametrize("name", WINDOWS)
def test_the_first_logon_has_one_command(name: str) -> None:
    """Windows starts them all at once; two would want the serial port at the same time."""
    xml = render(answer(name))["autounattend.xml"]
    lines = [e.text or "" for e in ET.fromstring(xml).iter() if local(e) == "CommandLine"]
    drives = "for %d in (D E F G H) do if exist %d:\\halpmc\\setup.ps1 "
    setup = "powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -File %d:\\halpmc\\setup.ps1"
    marked = f'cmd /c "echo halpmc-setup: logon>COM1 & {drives}{setup}"'
    assert lines == [marked if answer(name).marks else f"cmd /c {drives}{setup}"]


def orders(xml: str) -> list[list[int]]:
    found = []
    for element in ET.fromstring(xml).iter():
        numbers = [int(o.text or "") for child in element for o in child if local(o) == "Order"]
        if numbers:
            found.append(numbers)
    return found


@pytest.mark.parametrize("option", [None, *ALL_OPTIONS])
@pytest.mark.parametrize("name", WINDOWS)
def test_orders_count_from_one_without_gaps(name: str, option: str | None) -> None:
    for numbers in orders(render(answer(name, option))["autounattend.xml"]):
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", WINDOWS)
def test_every_phase_leaves_its_mark(name: str) -> None:
    everything = text_of(render(answer(name)))
    unmarked = answer(name).marks is False
    for phase in ("winpe", "copy", "specialize", "oobe", "logon"):
        assert (f"halpmc-setup: {phase}" in everything) is not unmarked
    assert "halpmc-setup: ready" in everything


def test_without_a_port_the_marks_go_to_a_file_and_the_last_one_there_is_the_last_that_the_guest_does() -> (
    None
):
    files = render(answer("windows-11-arm64"))
    assert "COM1" not in text_of(files) and "SerialPort" not in text_of(files)
    for script in ("halpmc/setup.ps1", "halpmc/ready.ps1"):
        assert r"AppendAllText('C:\halpmc\setup-marks.txt'" in files[script]
    assert files["halpmc/ready.ps1"].rstrip().endswith("Send-Line 'halpmc-setup: ready'")
    assert "halpmc-setup: ready" not in files["halpmc/setup.ps1"]


def test_without_a_port_and_checks_to_bypass_windows_pe_has_nothing_to_run() -> None:
    definition = load_guest("windows-server-2022")
    assert definition.windows is not None
    section = definition.windows.model_copy(update={"marks": "none"})
    it = answer_for(definition.model_copy(update={"windows": section}), AnswerOptions(edition="1"), PASSWORD)
    xml = render(it)["autounattend.xml"]
    assert complaints(xml, "amd64") == []
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in orders(xml))


def test_checks_are_bypassed_only_where_the_machine_would_fail_them() -> None:
    def bypassed(option: str | None, name: str = "windows-11-24h2") -> tuple[str, ...]:
        return answer(name, option).bypassed_checks

    assert bypassed("Secure Boot") == ()
    assert bypassed(None) == ("BypassSecureBootCheck",)
    assert bypassed("no TPM") == ("BypassTPMCheck", "BypassSecureBootCheck")
    assert bypassed("no TPM", "windows-server-2025") == ()
    assert "LabConfig" not in render(answer("windows-server-2025"))["autounattend.xml"]


def test_free_text_cannot_break_the_xml() -> None:
    it = answer("windows-server-2022").model_copy(
        update={"edition": "A & B <x>", "password": "aA1-<&>]]>aA1-"}
    )
    root = ET.fromstring(render(it)["autounattend.xml"])
    values = [element.text for element in root.iter() if local(element) == "Value"]
    assert values == ["A & B <x>", "aA1-<&>]]>aA1-", "aA1-<&>]]>aA1-"]


@pytest.mark.parametrize(
    "bad",
    [{"product_key": "x</Key>"}, {"openssh_file": "a'; rm.zip"}, {"password": "short"}, {"unknown": 1}],
)
def test_the_model_refuses_what_would_break_a_script(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Answer.model_validate({**answer("windows-server-2022").model_dump(), **bad})


def test_a_template_that_asks_for_what_is_not_there_fails(tmp_path: Path) -> None:
    for source in (image_sources() / "windows").glob("*.j2"):
        text = source.read_text()
        (tmp_path / source.name).write_text(text.replace("a.password", "a.pasword"))
    with pytest.raises(UndefinedError, match="pasword"):
        render(answer("windows-server-2022"), tmp_path)


def test_passwords_are_new_every_time_and_pass_the_policy() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        assert re.search("[a-z]", password) and re.search("[A-Z]", password) and re.search("[0-9]", password)


def test_the_emergency_console_takes_the_second_port_from_the_client() -> None:
    scripts = render(answer("windows-server-2022", "emergency console"))["halpmc/setup.ps1"]
    assert "EMSPORT:2" in scripts and "New-Service" not in scripts


def test_powershell_is_plain_ascii_and_its_brackets_match() -> None:
    """Windows PowerShell 5.1 reads a file without a byte order mark in the console's code page."""
    for name, option in product(("windows-11-24h2", "windows-11-arm64"), [None, *ALL_OPTIONS]):
        for path, text in render(answer(name, option)).items():
            assert text.isascii(), path
            for left, right in ("()", "{}"):
                assert text.count(left) == text.count(right), (path, option)


def test_a_guest_without_a_windows_section_is_a_usage_error() -> None:
    definition: GuestDefinition = load_guest("embedded")
    with pytest.raises(UsageError, match="embedded"):
        answer_for(definition, AnswerOptions(edition="1"), PASSWORD)
