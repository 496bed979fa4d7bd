"""Every way a configuration file can be wrong: one line with file, line and column, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.load import guest_names, load_guest, load_guest_for, load_matrix, matrix_json_schema
from harness.config.models import Arch
from harness.errors import EXIT_USAGE, ConfigError, UsageError

HEAD = "schema: 1\nname: t\n"
KEYS = (
    "accel, arch, cpu, defect, enlightenments, firmware, generation, group_size, guest, icount, machine, max_cpus, "
    "memory_mib, pmu, secure_boot, smp, start, starve_pmu, tpm, vbs, verifier, without_pmu"
)
GUEST = """\
name: embedded
title: Debian with Wine
kind: wine
hal: reference
arch: x86_64
recipe: embedded
machine: q35
"""

SYNTAX = {
    "empty file": ("", "1:1: the file is empty"),
    "comments only": ("# nothing\n", "1:1: the file is empty"),
    "unclosed list": (
        "a: [1\nb: 2\n",
        "2:2: YAML syntax: expected ',' or ']', but got ':' "
        "while parsing a flow sequence that began in line 1",
    ),
    "tab": (
        "a:\n\tb: 1\n",
        "2:1: YAML syntax: found character '\\t' that cannot start any token "
        "while scanning for the next token",
    ),
    "unclosed quote": (
        HEAD + "x: 'abc\n",
        "4:1: YAML syntax: found unexpected end of stream "
        "while scanning a quoted scalar that began in line 3",
    ),
    "mapping in a value": (HEAD + "a: b: c\n", "3:5: YAML syntax: mapping values are not allowed here"),
    "unknown alias": (HEAD + "axes: *b\n", "3:7: YAML syntax: found undefined alias 'b'"),
    "endless alias": (HEAD + "axes: &a {cpu: *a}\n", "3:7: an alias stands inside its own anchor"),
    "control character": ("a: \x07\n", "1:4: the character U+0007 is not allowed in YAML"),
    "python object": (
        HEAD + "x: !!python/object:os.system {}\n",
        "3:4: could not determine a constructor for the tag '!!python/object:os.system'",
    ),
    "tag that does not fit": (HEAD + "x: !!int foo\n", "3:4: 'foo' does not fit its tag !!int"),
    "duplicate key": (
        HEAD + "axes: {smp: [1]}\naxes: {smp: [2]}\n",
        "4:1: duplicate key 'axes': also in line 3",
    ),
    "duplicate key in flow style": (
        HEAD + "defaults: {smp: 1, cpu: max, smp: 2}\n",
        "3:30: duplicate key 'smp': also in line 3",
    ),
    "key that is a boolean": ("on: 1\n", "1:1: the key 'on' is not text; put it in quotes"),
    "key that is a list": ("[a]: 1\n", "1:1: a key must be plain text"),
    "too deep": ("[" * 1500, "1:1: nested too deeply"),
}

FORM = {
    "list at the top": ("- 1\n", "1:1: the file must be a mapping, not a list"),
    "text at the top": ("just text\n", "1:1: the file must be a mapping, not 'just text'"),
    "no schema": ("name: t\n", "1:1: the key 'schema' is missing"),
    "unknown schema": ("schema: 2\nname: t\n", "1:9: schema must be 1, not 2"),
    "name that is no file name": (
        "schema: 1\nname: A b\n",
        "2:7: name 'A b' is not an id: small letters, digits and + . _ -, at most 120, "
        "beginning with a letter or a digit",
    ),
    "unknown key": (HEAD + "axs: {}\n", "3:1: unknown key 'axs' — did you mean 'axes'?"),
    "unknown axis": (HEAD + "axes: {cpus: [max]}\n", "3:8: unknown key 'cpus' in axes — did you mean 'cpu'?"),
    "axis like no other": (
        HEAD + "axes: {zzz: [max]}\n",
        f"3:8: unknown key 'zzz' in axes — known keys: {KEYS}",
    ),
    "unknown key in an include": (
        HEAD + "include:\n  - {id: a, memory: 512}\n",
        "4:13: unknown key 'memory' in include[0] — did you mean 'memory_mib'?",
    ),
    "axes without anything": (HEAD + "axes:\n", "3:6: axes must be a mapping, not nothing"),
    "axis with no values": (HEAD + "axes: {cpu: []}\n", "3:13: axes.cpu has no values"),
    "axis that is no list": (HEAD + "axes: {cpu: max}\n", "3:13: axes.cpu must be a list, not 'max'"),
    "number for text": (
        HEAD + "axes: {cpu: [max, 3]}\n",
        "3:19: axes.cpu[1] must be text, not 3 — put it in quotes if it is meant as text",
    ),
    "nothing for text": (
        HEAD + "include: [{guest: ~}]\n",
        "3:19: include[0].guest must be text, not nothing",
    ),
    "text for a number": (HEAD + "axes: {smp: ['2']}\n", "3:14: axes.smp[0] must be a whole number, not '2'"),
    "fraction": (HEAD + "axes: {smp: [1.5]}\n", "3:14: axes.smp[0] must be a whole number, not 1.5"),
    "boolean for a number": (
        HEAD + "axes: {smp: [on]}\n",
        "3:14: axes.smp[0] must be a whole number, not a boolean (YAML reads on, off, yes, no so)",
    ),
    "too small": (HEAD + "axes: {smp: [0]}\n", "3:14: axes.smp[0] must be at least 1, not 0"),
    "too large": (HEAD + "include: [{smp: 999}]\n", "3:17: include[0].smp must be at most 256, not 999"),
    "neither on nor off": (
        HEAD + "axes: {pmu: [maybe]}\n",
        "3:14: axes.pmu[0] must be on or off, not 'maybe'",
    ),
    "unknown word": (
        HEAD + "axes: {accel: [kvmm]}\n",
        "3:16: axes.accel[0] must be 'auto', 'kvm' or 'tcg', not 'kvmm' — did you mean 'kvm'?",
    ),
    "cpu with a space": (
        HEAD + "axes: {cpu: ['max, +x']}\n",
        "3:14: axes.cpu[0] 'max, +x' is not a model with flags such as 'Nehalem,+rdrand' (no spaces)",
    ),
    "pmu in the cpu flags": (
        HEAD + "axes: {cpu: ['host,-pmu']}\n",
        "3:14: axes.cpu[0] 'host,-pmu' sets the PMU by a flag; use the key pmu instead",
    ),
    "exclusion without a reason": (
        HEAD + "axes: {cpu: [max]}\nexclude:\n  - {when: {cpu: max}}\n",
        "5:5: the key 'reason' is missing in exclude[0]",
    ),
    "exclusion with an empty reason": (
        HEAD + "axes: {cpu: [max]}\nexclude:\n  - {when: {cpu: max}, reason: ''}\n",
        "5:32: exclude[0].reason is an empty text",
    ),
    "exclusion of nothing in particular": (
        HEAD + "axes: {cpu: [max]}\nexclude:\n  - {when: {}, reason: x}\n",
        "5:12: exclude[0].when has no values",
    ),
}

MEANING = {
    "empty matrix": (HEAD, "1:1: the matrix is empty: it has neither axes nor include"),
    "empty axes": (HEAD + "axes: {}\n", "1:1: the matrix is empty: it has neither axes nor include"),
    "everything excluded": (
        HEAD + "axes: {smp: [1, 2]}\nexclude:\n  - {when: {cpu: max}, reason: x}\n",
        "4:1: the exclusions exclude everything (2 combinations)",
    ),
    "exclusion that matches nothing": (
        HEAD + "axes: {cpu: [max]}\nexclude:\n  - {when: {cpu: maxx}, reason: x}\n",
        "5:12: this exclusion matches no combination — compare its values with the axes, or remove it",
    ),
    "value twice in an axis": (
        HEAD + "axes:\n  pmu: [on, yes]\n",
        "4:13: duplicate cell id 'embedded-pmu_on': also from line 4, column 9",
    ),
    "values written alike": (
        HEAD + "axes: {cpu: [max, Max]}\n",
        "3:19: duplicate cell id 'embedded-max': also from line 3, column 14",
    ),
    "same id twice": (
        HEAD + "include:\n  - {id: a}\n  - {id: a}\n",
        "5:10: duplicate cell id 'a': also from line 4, column 10",
    ),
    "id of a combination": (
        HEAD + "axes: {cpu: [max]}\ninclude:\n  - {id: embedded-max}\n",
        "5:10: duplicate cell id 'embedded-max': also from line 3, column 7",
    ),
    "id of an excluded combination": (
        HEAD
        + "axes: {smp: [1, 2]}\nexclude: [{when: {smp: 1}, reason: x}]\ninclude: [{id: embedded-smp_1}]\n",
        "5:16: duplicate cell id 'embedded-smp_1': also from line 3, column 7",
    ),
    "unknown guest": (
        HEAD + "defaults: {guest: embeded}\naxes: {cpu: [max]}\n",
        "3:19: there is no guest 'embeded' — did you mean 'embedded'?",
    ),
    "unknown guest in an axis": (
        HEAD + "axes: {guest: [embedded, windows]}\n",
        "3:26: there is no guest 'windows' — guests: embedded, none",
    ),
    "other architecture than the guest": (
        HEAD + "include: [{arch: aarch64}]\n",
        "3:18: guest 'embedded' is x86_64, not aarch64",
    ),
    "room for fewer CPUs than there are": (
        HEAD + "include: [{smp: 4, max_cpus: 2}]\n",
        "3:30: max_cpus: 2 is less than smp: 4",
    ),
    "too many combinations": (
        HEAD + f"axes: {{smp: {list(range(1, 257))}, memory_mib: {list(range(64, 600))}}}\n",
        "3:1: 137216 combinations are more than 100000 — shorten an axis, or split the matrix",
    ),
    "id too long": (
        HEAD + f"axes: {{cpu: [{'a' * 120}]}}\n",
        f"3:7: 'embedded-{'a' * 120}' cannot be a cell id (too long)",
    ),
}


@pytest.fixture
def guests(tmp_path: Path) -> Path:
    folder = tmp_path / "guests"
    folder.mkdir()
    (folder / "embedded.yaml").write_text(GUEST)
    return folder


@pytest.mark.parametrize(
    ("text", "expected"), (SYNTAX | FORM | MEANING).values(), ids=(SYNTAX | FORM | MEANING)
)
def test_one_line_with_its_place(text: str, expected: str, tmp_path: Path, guests: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_matrix(path, guests)
    assert str(caught.value) == f"{path}:{expected}"
    assert caught.value.exit_code == EXIT_USAGE


def test_not_utf8_names_the_byte(tmp_path: Path, guests: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes('schema: 1\nname: "ä'.encode() + b'\xff"\n')
    with pytest.raises(ConfigError) as caught:
        load_matrix(path, guests)
    assert str(caught.value) == f"{path}:2:9: not UTF-8: byte 0xff — save the file as UTF-8"


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(HEAD)
    with pytest.raises(UsageError) as caught:
        load_matrix(tmp_path / "dem.yaml")
    assert str(caught.value) == f"{tmp_path}/dem.yaml: there is no such file — did you mean 'demo.yaml'?"


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is a folder"):
        load_matrix(tmp_path)


def test_first_error_in_the_file_is_raised_and_carries_the_others(tmp_path: Path, guests: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "axs: {}\ninclude:\n  - {id: A, smp: x}\n")
    with pytest.raises(ConfigError) as caught:
        load_matrix(path, guests)
    assert caught.value.line == 3
    others = caught.value.evidence["more errors in this file"].splitlines()
    assert [line.split(": ")[0] for line in others] == [f"{path}:5:10", f"{path}:5:18"]


def test_merged_mapping_is_no_duplicate_and_keeps_its_places(tmp_path: Path, guests: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "include:\n  - &a {id: a, smp: 2}\n  - {<<: *a, id: b, cpu: 'x y'}\n")
    with pytest.raises(ConfigError, match=r":5:26: include\[1\]\.cpu"):
        load_matrix(path, guests)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_ever_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes((HEAD + text).encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_matrix(path)
    assert "\n" not in str(caught.value)


def test_guest(guests: Path) -> None:
    assert guest_names(guests) == ("embedded",)
    assert load_guest("embedded", guests).machine == "q35"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GUEST + "sssh: {}\n", "8:1: unknown key 'sssh' — did you mean 'ssh'?"),
        (GUEST + "ssh: {prt: 22}\n", "8:7: unknown key 'prt' in ssh — did you mean 'port'?"),
        (GUEST + "ssh: {port: '22'}\n", "8:13: ssh.port must be a whole number, not '22'"),
        (GUEST + "timeouts: {login_s: 0}\n", "8:21: timeouts.login_s must be more than 0, not 0"),
        (GUEST + "timeouts: {login_s: .inf}\n", "8:21: timeouts.login_s must be a finite number, not inf"),
        (
            GUEST.replace("wine", "win"),
            "3:7: kind must be 'windows' or 'wine', not 'win' — did you mean 'wine'?",
        ),
        (
            GUEST.replace("name: embedded", "name: other"),
            "1:7: the guest is called 'other', but its file 'g.yaml'",
        ),
        (GUEST.replace("machine: q35\n", ""), "1:1: the key 'machine' is missing"),
    ],
)
def test_wrong_guest_definition(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(text.replace("name: embedded", "name: g"))
    with pytest.raises(ConfigError) as caught:
        load_guest("g", tmp_path)
    assert str(caught.value) == f"{path}:{expected}"


def test_the_guest_of_the_same_recipe_for_another_architecture(guests: Path, tmp_path: Path) -> None:
    for path in guests.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    assert load_guest_for("embedded", Arch.X86_64, tmp_path).name == "embedded"
    with pytest.raises(UsageError, match="no aarch64 guest of the recipe"):
        load_guest_for("embedded", Arch.AARCH64, tmp_path)
    twin = GUEST.replace("x86_64", "aarch64").replace("name: embedded", "name: twin")
    (tmp_path / "twin.yaml").write_text(twin)
    assert load_guest_for("embedded", Arch.AARCH64, tmp_path).name == "twin"


def test_unknown_guest_names_the_nearest(guests: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no guest 'embeded' — did you mean 'embedded'\?"):
        load_guest("embeded", guests)


def test_schema_and_loader_agree_on_the_keys() -> None:
    schema = matrix_json_schema()
    assert set(schema["$defs"]["Axes"]["properties"]) == set(KEYS.split(", "))
    assert set(schema["properties"]) == {
        *(
            "schema",
            "name",
            "expect",
            "extends",
            "defaults",
            "axes",
            "strategy",
            "exclude",
            "include",
            "override",
        ),
        *("tags", "requires", "known_issues"),
    }
