"""Expansion of matrices: which cells, under which ids."""

from __future__ import annotations

import random
import re
import string
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.ids import word
from harness.config.load import guests_folder, load_matrix, matrix_json_schema
from harness.config.matrix import Matrix
from harness.config.models import (
    Accel,
    Arch,
    Boot,
    Cell,
    Generation,
    HalSettings,
    Icount,
    Kd,
    Start,
    SuitePart,
    WithoutPmu,
)
from harness.config.schema import Axes, Include, Settings
from harness.errors import ConfigError
from harness.paths import project_root

DEMO = project_root() / "ci" / "matrices" / "demo.yaml"
AARCH64 = project_root() / "ci" / "matrices" / "aarch64.yaml"
SAFE_ID = re.compile(r"[a-z0-9][a-z0-9+._-]*")


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guests")
    for name, arch, machine in (("embedded", "x86_64", "q35"), ("arm", "aarch64", "virt")):
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\ntitle: t\nkind: wine\nhal: reference\n"
            f"arch: {arch}\nrecipe: r\nmachine: {machine}\n"
        )
    return folder


@pytest.fixture
def load(tmp_path: Path, guests: Path) -> Any:
    def load_text(body: str) -> Matrix:
        path = tmp_path / "m.yaml"
        path.write_text("schema: 1\nname: t\n" + body)
        return load_matrix(path, guests)

    return load_text


def ids(matrix: Matrix) -> list[str]:
    return [cell.id for cell in matrix.cells]


def test_demo_matrix() -> None:
    matrix = load_matrix(DEMO)
    assert len(matrix.cells) == 23
    assert matrix.excluded == ()
    assert "embedded-nehalem-pmu_on-exclusive-grant" in ids(matrix)
    by_id = {cell.id: cell for cell in matrix.cells}
    arm = by_id["arm64-pmu_off-shared-refuse"]
    assert (arm.guest, arm.arch, arm.machine, arm.cpu_string) == (
        "embedded-arm64",
        Arch.AARCH64,
        "virt",
        "neoverse-n1,pmu=off",
    )
    probe = by_id["aarch64-probe-pmu_off"]
    assert (probe.guest, probe.arch, probe.machine, probe.cpu_string) == (
        None,
        Arch.AARCH64,
        "virt",
        "max,pmu=off",
    )
    cell = by_id["embedded-max-pmu_on-shared-refuse"]
    assert cell == Cell(
        id=cell.id,
        guest="embedded",
        cpu="max",
        pmu=True,
        accel=Accel.AUTO,
        start=Start.CLONE,
        suite=(SuitePart.BASIC,),
        firmware=Boot.BIOS,
        secure_boot=False,
        tpm=False,
        hal=HalSettings(generation=Generation.SHARED, without_pmu=WithoutPmu.REFUSE),
    )
    whole = {cell.id for cell in matrix.cells if cell.guest and cell.suite == tuple(SuitePart)}
    assert whole == {"embedded-whole-suite"}
    assert by_id["embedded-whole-suite"].max_cpus == 3


def test_demo_matrix_is_valid_for_editors() -> None:
    schema = matrix_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(DEMO.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1, "name": "t", "axes": {"cpus": ["max"]}}, schema)


def test_aarch64_matrix() -> None:
    matrix = load_matrix(AARCH64)
    assert ids(matrix) == [
        "embedded-arm64-exact",
        "embedded-arm64-pmu_off-exclusive-grant",
        "embedded-arm64-pmu_off-exclusive-refuse",
        "embedded-arm64-pmu_off-shared-grant",
        "embedded-arm64-pmu_off-shared-refuse",
        "embedded-arm64-pmu_on-exclusive-grant",
        "embedded-arm64-pmu_on-shared-grant",
        "embedded-arm64-whole-suite",
    ]
    assert {(cell.arch, cell.machine) for cell in matrix.cells} == {(Arch.AARCH64, "virt")}
    assert len(matrix.excluded) == 2
    exact = matrix.cells[0]
    assert (exact.icount, exact.smp, exact.accel, exact.pmu) == (Icount.EXACT, 1, Accel.TCG, True)


def test_counting_instructions_is_named_in_ids_and_needs_one_emulated_cpu(load: Any) -> None:
    matrix = load("defaults: {smp: 1}\naxes: {icount: [none, exact], pmu: [off]}\n")
    assert ids(matrix) == ["embedded-icount_exact-pmu_off", "embedded-icount_none-pmu_off"]
    assert [cell.icount for cell in matrix.cells] == [Icount.EXACT, Icount.NONE]
    # An exclusion may take away what is impossible.
    kept = load(
        "axes: {icount: [none, exact], smp: [1, 2]}\n"
        "exclude: [{when: {icount: exact, smp: 2}, reason: it cannot be}]\n"
    )
    assert len(kept.cells) == 3


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("include:\n  - {icount: exact}\n", "m.yaml:4:14: icount: exact runs one CPU, not 2"),
        ("axes:\n  icount: [exact]\n  smp: [1, 4]\n", "m.yaml:5:12: icount: exact runs one CPU, not 4"),
        (
            "defaults: {icount: exact, smp: 1}\naxes:\n  accel: [kvm]\n",
            "m.yaml:5:11: icount: exact needs the emulator, not kvm",
        ),
        (
            "axes:\n  smp: [2]\noverride:\n  - {set: {icount: exact}}\n",
            "m.yaml:4:9: icount: exact runs one CPU, not 2",
        ),
    ],
)
def test_counting_instructions_on_an_impossible_machine(load: Any, body: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(body)
    assert complaint in str(caught.value), caught.value


def test_debuggers_are_settings_of_cells_and_no_axes(load: Any) -> None:
    matrix = load(
        "axes: {pmu: [on, off]}\noverride:\n  - {when: {pmu: off}, set: {kd: serial, gdb: on}}\n"
        "include:\n  - {id: net, kd: net}\n"
    )
    assert [(cell.id, cell.kd, cell.gdb) for cell in matrix.cells] == [
        ("embedded-pmu_off", Kd.SERIAL, True),
        ("embedded-pmu_on", Kd.NONE, False),
        ("net", Kd.NET, False),
    ]
    with pytest.raises(ConfigError, match=r"m\.yaml:3:8: unknown key 'kd' in axes"):
        load("axes: {kd: [serial]}\n")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "include:\n  - {guest: arm, kd: serial}\n",
            "m.yaml:4:22: kd: serial is for x86_64 guests, not aarch64 — use gdb: on",
        ),
        ("include:\n  - {guest: none, kd: net}\n", "m.yaml:4:23: kd needs a guest, and this cell has"),
        ("include:\n  - {guest: none, gdb: on}\n", "m.yaml:4:24: gdb needs a guest"),
        ("defaults: {kd: com}\n", "m.yaml:3:16: defaults.kd must be 'none', 'serial' or 'net', not 'com'"),
        ("defaults: {gdb: 1234}\n", "m.yaml:3:17: defaults.gdb must be on or off, not 1234"),
    ],
)
def test_a_debugger_s_port_that_nobody_could_use(load: Any, body: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(body)
    assert complaint in str(caught.value), caught.value


def test_path_and_hash_are_kept(load: Any, tmp_path: Path) -> None:
    first, second = load("axes: {smp: [1]}\n"), load("axes: {smp: [1]}\n# changed\n")
    assert first.path == tmp_path / "m.yaml"
    assert len(first.sha256) == 64
    assert first.sha256 != second.sha256
    assert first.cells == second.cells


def test_ids_name_the_axes_in_their_declared_order(load: Any) -> None:
    assert ids(load("axes: {smp: [2], pmu: ['off'], cpu: [max]}\n")) == ["embedded-smp_2-pmu_off-max"]
    assert ids(load("axes: {cpu: [max], pmu: [OFF], smp: [2]}\n")) == ["embedded-max-pmu_off-smp_2"]


def test_a_guest_axis_is_named_once(load: Any) -> None:
    assert ids(load("axes: {cpu: [max], guest: [none, embedded]}\n")) == ["embedded-max", "probe-max"]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("cpu", "Nehalem,+rdrand", "nehalem+rdrand"),
        ("cpu", "max,smap=off", "max.smap_off"),
        ("cpu", "Skylake-Client-v3,-hle", "skylake-client-v3-hle"),
        ("pmu", True, "pmu_on"),
        ("pmu", False, "pmu_off"),
        ("smp", 4, "smp_4"),
        ("memory_mib", 512, "mem_512"),
        ("machine", "virt,gic-version=3", "virt.gic-version_3"),
        ("generation", Generation.SHARED, "shared"),
        ("defect", None, "defect_none"),
        ("guest", "none", "probe"),
    ],
)
def test_words_of_ids(key: str, value: object, expected: str) -> None:
    assert word(key, value) == expected


def test_machine_and_arch_come_from_the_guest_unless_written(load: Any) -> None:
    cells = load(
        "include:\n"
        "  - {id: a, guest: arm}\n"
        "  - {id: b, guest: arm, machine: 'virt,gic-version=3'}\n"
        "  - {id: c, guest: none}\n"
        "  - {id: d, guest: none, arch: aarch64}\n"
    ).cells
    assert [(cell.arch, cell.machine) for cell in cells] == [
        (Arch.AARCH64, "virt"),
        (Arch.AARCH64, "virt,gic-version=3"),
        (Arch.X86_64, "q35"),
        (Arch.AARCH64, "virt"),
    ]


def test_exclusions_keep_their_reason_and_spare_inclusions(load: Any) -> None:
    matrix = load(
        "axes: {cpu: [max, host], pmu: [on, off]}\n"
        "exclude:\n"
        "  - {when: {cpu: max, pmu: on}, reason: first}\n"
        "  - {when: {pmu: on}, reason: second}\n"
        "include: [{id: again, cpu: max, pmu: on}]\n"
    )
    assert ids(matrix) == ["again", "embedded-host-pmu_off", "embedded-max-pmu_off"]
    assert matrix.excluded == (("embedded-host-pmu_on", "second"), ("embedded-max-pmu_on", "first"))


def test_exclusions_see_defaults_and_what_the_guest_fills_in(load: Any) -> None:
    matrix = load(
        "axes: {guest: [embedded, arm]}\n"
        "exclude: [{when: {machine: virt, smp: 2, generation: shared}, reason: x}]\n"
    )
    assert ids(matrix) == ["embedded"]


def test_an_include_changes_the_defaults(load: Any) -> None:
    (cell,) = load("defaults: {smp: 4, cpu: host}\ninclude: [{cpu: max, defect: double-grant}]\n").cells
    assert cell.id == "embedded-max-defect_double-grant"
    assert (cell.smp, cell.cpu, cell.hal.defect) == (4, "max", "double-grant")


def test_keys_of_the_file_are_those_of_a_cell() -> None:
    keys = (set(Cell.model_fields) | set(HalSettings.model_fields)) - {"id", "hal"}
    assert set(Settings.__annotations__) == keys
    assert set(Axes.__annotations__) == keys - {
        "suite",
        "kd",
        "gdb",
    }  # what is run in a machine or looks into it
    assert set(Include.__annotations__) - {"id", "tags", "requires"} <= keys


VALUES: dict[str, list[Any]] = {
    "cpu": ["max", "host", "Nehalem,+rdrand", "EPYC-v4", "max,smap=off"],
    "pmu": [True, False],
    "smp": [1, 2, 16],
    "memory_mib": [512, 1024],
    "accel": ["auto", "kvm", "tcg"],
    "generation": ["exclusive", "shared"],
    "without_pmu": ["grant", "refuse"],
    "defect": [None, "double-grant", "no-broker"],
    "guest": ["embedded", "none"],
}
axes_strategy = st.permutations(sorted(VALUES)).flatmap(
    lambda order: st.integers(1, 4).flatmap(
        lambda n: st.fixed_dictionaries(
            {key: st.lists(st.sampled_from(VALUES[key]), min_size=1, unique=True) for key in order[:n]}
        )
    )
)


@settings(max_examples=60, deadline=None)
@given(axes=axes_strategy, seed=st.integers(0, 99))
def test_ids_are_unique_sorted_safe_and_independent_of_the_order_of_values(
    axes: dict[str, list[Any]], seed: int, guests: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shuffled = {key: random.Random(seed).sample(values, len(values)) for key, values in axes.items()}  # noqa: S311
    found = []
    for chosen in (axes, shuffled):
        path = tmp_path_factory.getbasetemp() / "any-matrix.yaml"
        path.write_text(yaml.safe_dump({"schema": 1, "name": "t", "axes": chosen}, sort_keys=False))
        found.append(load_matrix(path, guests).cells)
    first, second = found
    names = [cell.id for cell in first]
    assert names == sorted(set(names))
    assert first == second
    assert all(SAFE_ID.fullmatch(name) for name in names)
    assert set("".join(names)) <= set(string.ascii_lowercase + string.digits + "+._-")


def test_ten_thousand_cells_within_two_seconds(load: Any) -> None:
    started = time.process_time()
    matrix = load(f"axes: {{smp: {list(range(1, 101))}, memory_mib: {list(range(64, 164))}}}\n")
    elapsed = time.process_time() - started
    assert len(matrix.cells) == 10_000
    assert elapsed <= 2.0, f"{elapsed:.2f} s"


def test_memory_is_the_guests_unless_written(tmp_path: Path) -> None:
    """512 MiB, which the embedded guest needs, are none for Windows."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "schema: 1\nname: t\ninclude:\n"
        "  - {id: windows, guest: windows-server-2022}\n"
        "  - {id: small, guest: windows-server-2022, memory_mib: 2048}\n"
        "  - {id: wine, guest: embedded}\n"
        "  - {id: probe, guest: none}\n"
    )
    memory = {cell.id: cell.memory_mib for cell in load_matrix(path, guests_folder()).cells}
    assert memory == {"windows": 4096, "small": 2048, "wine": 512, "probe": 512}
