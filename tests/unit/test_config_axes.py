"""Firmware, Secure Boot, TPM, enlightenments, VBS, Driver Verifier, processor groups, a starved PMU: what can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.facts import facts_of, parse_choice
from harness.config.load import load_matrix
from harness.config.matrix import Matrix
from harness.config.models import Boot, Enlightenments
from harness.errors import ConfigError, UsageError

GUESTS = {
    "wine": "kind: wine\nhal: reference\narch: x86_64\nmachine: q35\n",
    "both": "kind: wine\nhal: reference\narch: x86_64\nmachine: q35\nalso_boots: [uefi]\n",
    "server": (
        "kind: windows\nhal: system\narch: x86_64\nmachine: q35\nfirmware: uefi\nenlightenments: basic\n"
        "group_size: 4\n"
    ),
    "eleven": "kind: windows\nhal: system\narch: x86_64\nmachine: q35\nfirmware: secure-boot\ntpm: true\n",
    "arm": "kind: windows\nhal: system\narch: aarch64\nmachine: virt\nfirmware: uefi\n",
}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    guests = tmp_path / "guests"
    guests.mkdir()
    for name, text in GUESTS.items():
        (guests / f"{name}.yaml").write_text(f"name: {name}\ntitle: t\nrecipe: r\n{text}")

    def load_text(body: str) -> Matrix:
        path = tmp_path / "m.yaml"
        path.write_text("schema: 1\nname: t\n" + body)
        return load_matrix(path, guests)

    return load_text


def only(matrix: Matrix) -> Any:
    (cell,) = matrix.cells
    return cell


def test_the_guest_says_what_the_matrix_does_not(load: Any) -> None:
    server = only(load("include: [{guest: server}]\n"))
    assert (server.firmware, server.secure_boot, server.tpm) == (Boot.UEFI, False, False)
    assert (server.enlightenments, server.group_size) == (None, 4)
    basic = only(load("include: [{guest: wine, enlightenments: basic}]\n"))
    assert basic.enlightenments is Enlightenments.BASIC
    assert (server.vbs, server.verifier, server.starve_pmu) == (None, None, False)
    eleven = only(load("include: [{guest: eleven}]\n"))
    assert (eleven.firmware, eleven.secure_boot, eleven.tpm) == (Boot.UEFI, True, True)
    eleven = only(load("include: [{guest: eleven, secure_boot: off, tpm: off}]\n"))
    assert (eleven.secure_boot, eleven.tpm) == (False, False)
    probe = only(load("defaults: {tpm: on, vbs: off}\ninclude: [{guest: none}]\n"))
    assert (probe.firmware, probe.tpm, probe.vbs) == (None, None, None)


def test_ids_and_expressions(load: Any) -> None:
    text = (
        "{guest: server, firmware: uefi, secure_boot: on, tpm: on, enlightenments: none, vbs: on, "
        "verifier: on, group_size: 2, starve_pmu: on}"
    )
    cell = only(load(f"include: [{text}]\n"))
    assert cell.id == (
        "server-uefi-secure_boot_on-tpm_on-hv_none-vbs_on-verifier_on-group_size_2-starve_pmu_on"
    )
    choice = parse_choice("secure_boot=on and firmware=uefi and group_size<4 and verifier!=none and tpm=on")
    assert choice(facts_of(cell))
    assert not parse_choice("vbs=none or enlightenments=basic")(facts_of(cell))
    with pytest.raises(UsageError, match="firmware is never 'efi'"):
        parse_choice("firmware=efi")


@pytest.mark.parametrize(
    ("settings", "key", "reason"),
    [
        (
            "guest: wine, firmware: uefi",
            "firmware",
            "the image of guest 'wine' was made for bios: uefi cannot start it",
        ),
        (
            "guest: server, firmware: bios",
            "firmware",
            "the image of guest 'server' was made for uefi: bios cannot start it",
        ),
        (
            "guest: wine, secure_boot: on",
            "secure_boot",
            "Secure Boot is UEFI's, and this cell starts by bios",
        ),
        (
            "guest: both, firmware: uefi, secure_boot: on",
            "secure_boot",
            "nobody whom the enrolled keys trust has signed the kernel of guest 'both'",
        ),
        (
            "guest: server, machine: microvm, tpm: on",
            "tpm",
            "QEMU has a TPM for the machines q35, pc, virt, not for microvm",
        ),
        (
            "guest: arm, enlightenments: basic",
            "enlightenments",
            "Hyper-V's enlightenments are for x86_64 alone",
        ),
        (
            "guest: wine, vbs: on",
            "vbs",
            "virtualization-based security: Windows alone has it, and guest 'wine' is Wine",
        ),
        (
            "guest: wine, verifier: on",
            "verifier",
            "Driver Verifier: Windows alone has it, and guest 'wine' is Wine",
        ),
        (
            "guest: wine, group_size: 2",
            "group_size",
            "processor groups of a chosen size: Windows alone has it, and guest 'wine' is Wine",
        ),
        ("guest: none, tpm: on", "tpm", "tpm is a guest's, and this cell runs the PMU probe alone"),
        (
            "guest: wine, accel: tcg, enlightenments: basic",
            "enlightenments",
            "Hyper-V's enlightenments are KVM's, and accel is tcg",
        ),
        (
            "guest: wine, accel: tcg, starve_pmu: on",
            "starve_pmu",
            "only KVM's virtual PMU uses the host's counters, and accel is tcg",
        ),
        ("guest: none, starve_pmu: on, pmu: off", "starve_pmu", "there is no PMU to starve with pmu: off"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_place(load: Any, settings: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"include: [{{{settings}}}]\n")
    assert caught.value.message.endswith(f": {reason}")
    place = len("include: [{") + settings.index(f"{key}: ") + len(f"{key}: ") + 1
    assert (caught.value.line, caught.value.column) == (3, place)


@pytest.mark.parametrize("machine", ["q35", "pc-q35-7.2,smm=off", "pc", "pc-i440fx-7.2"])
def test_machines_with_a_tpm(load: Any, machine: str) -> None:
    assert only(load(f"include: [{{guest: server, tpm: on, machine: '{machine}'}}]\n")).tpm


def test_what_cannot_be_on_an_axis_is_left_out_with_the_reason(load: Any) -> None:
    matrix = load("axes: {guest: [server, wine, none], verifier: [on, off], firmware: [bios, uefi]}\n")
    assert [cell.id for cell in matrix.cells] == [
        "server-verifier_off-uefi",
        "server-verifier_on-uefi",
        "wine-verifier_off-bios",
    ]
    reasons = dict(matrix.excluded)
    assert len(reasons) == 9
    assert reasons["server-verifier_on-bios"].startswith("the image of guest 'server' was made for uefi")
    assert reasons["wine-verifier_on-bios"].startswith("Driver Verifier: Windows alone has it")
    assert reasons["probe-verifier_off-bios"].startswith("firmware is a guest's")


def test_off_is_true_of_every_guest_that_has_no_such_thing(load: Any) -> None:
    cell = only(load("include: [{guest: wine, vbs: off, verifier: off, secure_boot: off, tpm: off}]\n"))
    assert (cell.vbs, cell.verifier) == (False, False)


def test_other_firmware_where_the_definition_says_so(load: Any) -> None:
    assert only(load("include: [{guest: both, firmware: uefi}]\n")).firmware is Boot.UEFI


def test_a_default_that_cannot_be_names_its_line(load: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load("defaults: {guest: wine, verifier: on}\naxes: {pmu: [on, off]}\n")
    assert (caught.value.line, caught.value.column) == (3, 35)


def test_a_group_size_is_one_that_windows_takes(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"group_size must be 1, 2, 4, 8, 16, 32 or 64, not 3"):
        load("include: [{guest: server, group_size: 3}]\n")
