"""Memory dumps, made byte by byte from the public formats: what is read from them, and what is refused and why."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.dumps.bugchecks import bugcheck, table
from harness.dumps.image import open_image
from harness.dumps.memory import PAGE, pages
from harness.dumps.models import Dump, VmCore, WindowsDump
from harness.dumps.read import read_dump
from harness.dumps.triage import triage
from harness.errors import EXIT_USAGE, DumpError
from tests.unit import dump_files
from tests.unit.dump_files import HAL, MODULES, NT, OURS, Memory, elf, kdump


def read(folder: Path, data: bytes) -> Dump:
    path = folder / "file.dmp"
    path.write_bytes(data)
    return read_dump(path)


def windows(folder: Path, data: bytes) -> WindowsDump:
    found = read(folder, data)
    assert isinstance(found, WindowsDump)
    return found


def machine_dump(kind: str) -> bytes:
    memory = Memory()
    fields = {"module_list": memory.module_list(MODULES)}
    return memory.full(**fields) if kind == "full" else memory.bitmap(**fields)


def names(dump: WindowsDump) -> list[tuple[str, int, int]]:
    return [(module.name, module.base, module.size) for module in dump.modules]


def test_the_header(tmp_path: Path) -> None:
    dump = windows(tmp_path, dump_files.triage())
    assert (dump.os_build, dump.machine, dump.cpus) == (20348, "x86_64", 2)
    assert dump.dump_type == "triage (minidump)"
    assert str(dump.bugcheck) == (
        "bugcheck 0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0xfffff80003001234)"
    )


@pytest.mark.parametrize("kind", ["full", "bitmap"])
def test_modules_through_the_page_tables(kind: str, tmp_path: Path) -> None:
    dump = windows(tmp_path, machine_dump(kind))
    assert names(dump) == list(MODULES)
    assert dump.modules_missing == ""


def test_a_large_page(tmp_path: Path) -> None:
    """The kernel's image lies in pages of 2 MiB on machines with enough memory."""
    memory = Memory(large=NT)
    head = memory.module_list(MODULES)
    assert dump_files.LARGE_FRAME + 9 in memory.pages
    assert names(windows(tmp_path, memory.bitmap(module_list=head))) == list(MODULES)


@pytest.mark.parametrize("kind", ["full", "bitmap"])
def test_each_page_is_where_it_is_and_no_other_is_there(kind: str, tmp_path: Path) -> None:
    memory = Memory()
    memory.module_list(MODULES)
    for number, page in memory.pages.items():
        page[-4:] = number.to_bytes(4, "little")
    path = tmp_path / "memory.dmp"
    path.write_bytes(memory.full() if kind == "full" else memory.bitmap())
    with open_image(path) as image:
        find = pages(image)
        for number in {n + d for n in memory.pages for d in (-1, 0, 1)} | {1 << 20, 1 << 40}:
            offset = find(number)
            assert (offset is not None) == (number in memory.pages), number
            if offset is not None:
                assert image.u32(offset + PAGE - 4) == number


def test_a_list_of_modules_that_does_not_end(tmp_path: Path) -> None:
    memory = Memory()
    head = memory.module_list(MODULES)
    first, last = (0xFFFFA00000000000 + n * 0x10000 for n in (0, len(MODULES) - 1))
    memory.write(last, first.to_bytes(8, "little"))  # past the list's head
    with pytest.raises(DumpError, match="its list of modules does not end"):
        windows(tmp_path, memory.bitmap(module_list=head))


def test_a_count_of_unloaded_drivers_that_no_kernel_keeps_is_none(tmp_path: Path) -> None:
    data = bytearray(dump_files.triage(unloaded=(("old.sys", 0xFFFFF80009000000, 0x1000),)))
    assert any(module.unloaded for module in windows(tmp_path, bytes(data)).modules)
    dump_files.put(data, dump_files.HEADER + 0x1000, "Q", 51)
    assert names(windows(tmp_path, bytes(data))) == list(MODULES)


def test_a_page_that_was_paged_out_is_absent(tmp_path: Path) -> None:
    """Its entry has a place in the page file, and no bit that says present."""
    memory = Memory()
    head = memory.module_list(MODULES)
    table, slot = memory.walk(head)[-1]
    memory.pages[table][slot] &= ~1
    dump = windows(tmp_path, memory.bitmap(module_list=head))
    assert dump.modules == () and "virtual page" in dump.modules_missing


def test_bit_7_of_the_last_table_is_no_large_page(tmp_path: Path) -> None:
    """There it is a bit of the memory's type (PAT)."""
    memory = Memory()
    head = memory.module_list(MODULES)
    table, slot = memory.walk(head)[-1]
    memory.pages[table][slot] |= 1 << 7
    assert names(windows(tmp_path, memory.bitmap(module_list=head))) == list(MODULES)


def test_a_page_of_a_gibibyte(tmp_path: Path) -> None:
    memory = Memory()
    head = memory.module_list(MODULES)
    gib = 1 << 30
    memory.pages[(gib + head % gib) // PAGE] = memory.map(head)
    table, slot = memory.walk(head)[1]
    memory.pages[table][slot : slot + 8] = (gib | 0xE3).to_bytes(8, "little")
    assert names(windows(tmp_path, memory.bitmap(module_list=head))) == list(MODULES)


@pytest.mark.parametrize("stride", [0x90, 0x98, 0xA8])
@pytest.mark.parametrize("length_in_bytes", [False, True])
def test_modules_of_a_triage_dump(stride: int, length_in_bytes: bool, tmp_path: Path) -> None:
    data = dump_files.triage(stride=stride, length_in_bytes=length_in_bytes)
    assert names(windows(tmp_path, data)) == list(MODULES)


@pytest.mark.parametrize("data", [dump_files.triage(), elf()])
def test_json_and_back(data: bytes, tmp_path: Path) -> None:
    found = read(tmp_path, data)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_no_modules_is_no_error_but_says_why(tmp_path: Path) -> None:
    memory = Memory()
    head = memory.module_list(MODULES)
    frame = next(n for n, page in memory.pages.items() if page is memory.map(head))
    del memory.pages[frame]
    for data, why in (
        (memory.bitmap(module_list=head), "is not in the dump"),
        (memory.full(module_list=0), "does not say where"),
        (memory.full(module_list=int.from_bytes(b"PAGEPAGE", "little")), "does not say where"),
        (bytes(dump_files.header(10)) + b"SDMPRDMP" + bytes(PAGE), "a debugger wrote this dump"),
        (memory.full(module_list=head, machine=0xAA64), "page tables of aarch64"),
        (dump_files.triage(()), "lists no modules"),
    ):
        dump = windows(tmp_path, data)
        assert dump.modules == ()
        assert why in dump.modules_missing
        assert "cannot be said" in triage(dump)


@pytest.mark.parametrize(
    ("where", "value"),
    [(0x34, 2), (0x34, 5), (0x34, 0xFFFFFFFF), (0x38, 0), (0x30, 0x2000)],
    ids=["fewer", "more", "absurd", "no names", "elsewhere"],
)
def test_no_driver_is_blamed_by_a_list_that_is_misread(where: int, value: int, tmp_path: Path) -> None:
    data = bytearray(dump_files.triage())
    dump_files.put(data, 0x2000 + where, "I", value)
    dump = windows(tmp_path, bytes(data))
    assert dump.modules == ()
    assert "a driver list of a known layout is not in the dump" in triage(dump)


@pytest.mark.parametrize("place", [(NT + 8, 0x1000), (0x10000, 0x1000), (NT, 0), (NT, 0x7FFFF000)])
def test_what_is_no_image_of_the_kernel_is_no_module(place: tuple[int, int], tmp_path: Path) -> None:
    dump = windows(tmp_path, dump_files.triage((MODULES[0], ("pmctest.sys", *place))))
    assert dump.modules == ()
    assert "a driver list of a known layout" in dump.modules_missing


SENTENCES = [
    ({}, "pmctest.sys is implicated: parameter 4, the code at fault, is pmctest.sys+0x1234"),
    (
        {"parameters": (0x10, 2, 0, NT + 0x20)},
        "no module of ours is implicated: parameter 4, the code at fault, is ntoskrnl.exe+0x20",
    ),
    (
        {"code": 0x7E, "parameters": (0xC0000005, OURS, 0, 0)},
        "pmctest.sys is implicated: parameter 2, the code at fault, is pmctest.sys+0x0",
    ),
    (
        {"code": 0x1E, "parameters": (0xC0000005, OURS + 0x5FFF, 0, 0)},
        "pmctest.sys is implicated: parameter 2, the code at fault, is pmctest.sys+0x5fff",
    ),
    ({"code": 0x1E, "parameters": (0xC0000005, OURS + 0x6000, 0, 0)}, "no parameter points into a module"),
    (
        {"code": 0x139, "parameters": (3, 0, 0, 0), "exception": OURS + 0x42},
        "pmctest.sys is implicated: the exception's address is pmctest.sys+0x42",
    ),
    ({"code": 0x999, "parameters": (0, 0, OURS, 0)}, "pmctest.sys is implicated: parameter 3 is"),
    ({"code": 0xE2, "parameters": (0, 0, 0, 0)}, "no module of ours is implicated: no parameter points"),
    (
        {"parameters": (HAL, 2, 0, NT)},
        "no module of ours is implicated: parameter 4, the code at fault, is nto",
    ),
]


@pytest.mark.parametrize(("fields", "words"), SENTENCES)
def test_is_ours_implicated(fields: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in triage(windows(tmp_path, dump_files.triage(**fields)))  # type: ignore[arg-type]


def test_a_call_into_a_driver_that_is_gone(tmp_path: Path) -> None:
    left = ("pmctest.sys", OURS, 0x6000)
    data = dump_files.triage(MODULES[:2], unloaded=(left,), code=0xCE, parameters=(OURS + 8, 8, OURS + 8, 0))
    sentence = triage(windows(tmp_path, data))
    assert "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS" in sentence
    assert "pmctest.sys is implicated" in sentence
    assert sentence.endswith("which was unloaded before")


def test_what_is_loaded_now_counts_before_what_was_there_earlier(tmp_path: Path) -> None:
    data = dump_files.triage(unloaded=(("pmctest.sys", HAL, 0x8000),), parameters=(0, 0, 0, HAL + 4))
    assert "no module of ours is implicated" in triage(windows(tmp_path, data))
    assert "hal.dll+0x4" in triage(windows(tmp_path, data))


def test_a_range_of_an_unloaded_driver_that_is_none_is_left_out(tmp_path: Path) -> None:
    data = dump_files.triage(unloaded=(("x.sys", OURS, -0x1000), ("old.sys", 0xFFFFF80009000000, 0x1000)))
    dump = windows(tmp_path, data)
    assert [module.name for module in dump.modules if module.unloaded] == ["old.sys"]


def test_an_exception_that_the_kernel_did_not_fill_in_is_none(tmp_path: Path) -> None:
    data = bytearray(dump_files.triage(exception=OURS + 0x42, parameters=(0, 0, 0, 0)))
    assert windows(tmp_path, bytes(data)).exception_address == OURS + 0x42
    dump_files.put(data, 0xF00, "4s", b"PAGE")
    assert windows(tmp_path, bytes(data)).exception_address == 0


def test_the_name_of_a_module_counts_in_any_case(tmp_path: Path) -> None:
    data = dump_files.triage((MODULES[0], ("PMCTEST.SYS", OURS, 0x6000)))
    assert "PMCTEST.SYS is implicated" in triage(windows(tmp_path, data))


def test_other_modules_can_be_ours(tmp_path: Path) -> None:
    data = dump_files.triage(parameters=(0, 0, 0, HAL))
    assert "HAL.DLL is implicated".lower() in triage(windows(tmp_path, data), ["HAL.dll"]).lower()


@pytest.mark.parametrize(
    ("data", "kind"), [(elf(), "elf"), (kdump(), "kdump"), (kdump(flat=False), "kdump"), (elf(cpus=2), "elf")]
)
def test_memory_that_qemu_wrote(data: bytes, kind: str, tmp_path: Path) -> None:
    core = read(tmp_path, data)
    assert isinstance(core, VmCore)
    assert (core.dump_type, core.machine, core.cpus) == (kind, "x86_64", 2)
    assert core.physical_end == (0x6000 if kind == "elf" else 0x200000)
    assert "names no bugcheck" in triage(core)


REFUSED = [
    (b"", "empty"),
    (b"MZ", "no memory dump that is known; it starts with b'MZ'"),
    (bytes(range(256)) * 40, "no memory dump that is known"),
    (b"PAGEDUMP" + bytes(9000), "32-bit Windows"),
    (b"MDMP" + bytes(9000), "one program"),
    (b"\x1f\x8b" + bytes(100), "gunzip"),
    (dump_files.triage(machine=0x14C), "a dump of i386"),
    (dump_files.triage(machine=0x1234), "machine type 0x1234"),
    (bytes(dump_files.header(77)), "unknown type (77)"),
    (dump_files.triage()[:0x1FFF], "truncated"),
    (dump_files.triage()[:-1], "truncated"),
    (
        bytes(dump_files.header(1, runs=((0, 0),) * 43, module_list=NT)) + bytes(PAGE),
        "its list of memory runs is not filled in",
    ),
    (dump_files.triage()[:-4] + b"oops", "its end mark is not where"),
    (machine_dump("full")[:-1], "truncated"),
    (machine_dump("bitmap")[:-1], "truncated"),
    (elf()[:-1], "truncated"),
    (elf(machine=8), "machine 8"),
    (elf(kind=2), "no core dump"),
    (b"\x7fELF\x01\x01" + bytes(60), "not 64-bit"),
    (kdump()[:-1], "truncated"),
    (kdump(flat=False)[:400], "truncated"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED)
def test_what_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DumpError) as caught:
        read(tmp_path, data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_dump_still_tells_its_bugcheck(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"truncated.*header says bugcheck 0xD1 DRIVER_IRQL.*build 20348"):
        read(tmp_path, machine_dump("full")[:-1])


@pytest.mark.parametrize(
    "data", [dump_files.triage(), machine_dump("full"), machine_dump("bitmap"), elf(), kdump()]
)
def test_damage_never_surprises(data: bytes, tmp_path: Path) -> None:
    """Whatever is broken: a dump, or DumpError with the reason; nothing else, and it ends."""
    chance = random.Random(7)  # noqa: S311 - the same damage every time
    for _ in range(100):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            start = chance.choice((0, 0, 0x2000, len(broken) - 8))
            at = min(len(broken) - 8, start + chance.randrange(0x140))
            broken[at : at + chance.choice((1, 4, 8))] = chance.choice((b"\0" * 8, b"\xff" * 8, b"\x10"))
        try:
            assert triage(read(tmp_path, bytes(broken[: chance.choice((None, len(data) // 2))])))
        except DumpError as error:
            assert str(tmp_path) in str(error)


def test_the_table_of_bugchecks() -> None:
    assert len(table()) > 300
    assert bugcheck(0xC4, (0, 0, 0, 0)).name == "DRIVER_VERIFIER_DETECTED_VIOLATION"
    assert bugcheck(0x139, (0, 0, 0, 0)).name == "KERNEL_SECURITY_CHECK_FAILURE"
    assert bugcheck(0x7777, (0, 0, 0, 0)).name == ""
    assert all(0 <= known.code_parameter <= 4 and known.name.isidentifier() for known in table().values())


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "MEMORY.DMP"
    path.write_bytes(dump_files.triage(unloaded=(("old.sys", 0xFFFFF80009000000, 0x1000),)))
    done = CliRunner().invoke(app, ["dump", str(path)])
    assert done.exit_code == 0
    assert "pmctest.sys is implicated" in done.output
    assert "0xfffff80003000000      6000  pmctest.sys" in done.output
    assert "old.sys  (unloaded)" in done.output


def test_the_command_in_json(tmp_path: Path) -> None:
    path = tmp_path / "MEMORY.DMP"
    path.write_bytes(machine_dump("bitmap"))
    done = CliRunner().invoke(app, ["dump", str(path), "--json", "--ours", "hal.dll"])
    found = json.loads(done.output)
    assert found["bugcheck"]["code"] == "0xd1"
    assert found["bugcheck"]["parameters"][3] == "0xfffff80003001234"
    assert [module["name"] for module in found["modules"]] == [name for name, _, _ in MODULES]
    assert "no module of ours is implicated" in found["triage"]


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing")
    done = CliRunner().invoke(app, ["dump", str(path)])
    assert isinstance(done.exception, DumpError)
    assert done.exception.exit_code == EXIT_USAGE
