"""Both sides of the protocol, and its document, say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from harness.config.defects import DEFECTS, NAME_ROOM
from harness.driver import protocol

CALL = {
    "transport": 0,
    "status": 0xC000009A,
    "handle": "0x0",
    "irql_before": 0,
    "irql_after": 0,
    "cpu": 1,
    "group": 0,
    "written": True,
}


def defines(header: Path) -> dict[str, int]:
    found = re.findall(r"^#define (\w+) (0x[0-9a-fA-F]+|\d+)u\b", header.read_text(), re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def test_the_client_knows_the_same_operations_and_arguments(sources: Path) -> None:
    table = re.findall(
        r'\{ "([a-z.]+)", " ([a-z_ ]*)", op_\w+ \}', (sources / "client" / "serve.c").read_text()
    )
    client = {name: set(words.split()) for name, words in table}
    harness = {op: set(args.model_fields) for op, (args, _) in protocol.REQUESTS.items()}
    assert client == harness


def test_the_document_names_the_same_operations(sources: Path) -> None:
    text = (sources / "PROTOCOL.md").read_text()
    documented = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z.]+)`", line.split("|")[1])
    }
    assert documented == set(protocol.REQUESTS)


@pytest.mark.parametrize("op", protocol.REQUESTS)
def test_the_document_names_every_field(sources: Path, op: str) -> None:
    text = (sources / "PROTOCOL.md").read_text()
    (row,) = [
        line for line in text.splitlines() if line.startswith("| `") and f"`{op}`" in line.split("|")[1]
    ]
    args, result = protocol.REQUESTS[op]
    fields = set(args.model_fields)
    fields |= set() if result is protocol.CallResult else set(result.model_fields)
    assert {field for field in fields if not re.search(rf"`{field}`", row)} == set()


def test_bounds_and_versions_agree(sources: Path) -> None:
    wire = defines(sources / "include" / "pmctest.h")
    assert wire["PMCTEST_MAX_CYCLES"] == protocol.MAX_CYCLES
    assert wire["PMCTEST_MAX_THREADS"] == protocol.MAX_RACE_THREADS
    assert wire["PMCTEST_MAX_ROUNDS"] == protocol.MAX_RACE_ROUNDS
    assert defines(sources / "client" / "client.h")["PROTOCOL_VERSION"] == protocol.PROTOCOL_VERSION


def test_each_defect_of_the_catalogue_is_asked_for_in_one_place(sources: Path) -> None:
    code = "".join(path.read_text() for path in sorted((sources / "reference_hal").glob("*.c")))
    asked = [name for name in re.findall(r'\bdefect\("([^"]*)"\)', code) if name]
    assert sorted(set(asked)) == sorted(DEFECTS)
    room = defines(sources / "include" / "reference_settings.h")["REFERENCE_DEFECT_ROOM"]
    assert room == NAME_ROOM > max(map(len, DEFECTS))


def test_the_documents_examples_are_of_the_protocol(sources: Path) -> None:
    text = (sources / "PROTOCOL.md").read_text()
    validator = jsonschema.Draft202012Validator(protocol.json_schema())
    lines = [line.strip() for line in text.splitlines() if line.startswith("    {")]
    assert lines
    for line in lines:
        validator.validate(json.loads(line))
        protocol.Hello.model_validate_json(line)
    inline = re.findall(r"`(\{\"id\":7,\"ok\":false.*?\}\})`", text)
    assert inline
    for line in inline:
        validator.validate(json.loads(line))
        assert protocol.Answer.model_validate_json(line).error is not None


def test_64_bit_values_are_hexadecimal_on_the_wire() -> None:
    args = protocol.AllocateArgs(device=1, poison=2**64 - 1, affinity=(protocol.Affinity(mask=3),))
    wire = args.model_dump(mode="json")
    assert wire["poison"] == "0xffffffffffffffff"
    assert wire["affinity"] == [{"mask": "0x3", "group": 0, "reserved": [0, 0, 0]}]
    assert protocol.AllocateArgs.model_validate(wire) == args
    assert protocol.CallResult.model_validate({**CALL, "handle": "0xAb"}).handle == 0xAB


@pytest.mark.parametrize("change", [{"group": 2**16}, {"group": -1}, {"reserved": (0, 0, 2**16)}])
def test_what_fits_into_no_16_bits_is_refused(change: dict[str, Any]) -> None:
    assert protocol.Affinity(mask=1, group=2**16 - 1, reserved=(0, 0, 2**16 - 1)).group == 65535
    with pytest.raises(ValidationError):
        protocol.Affinity.model_validate({"mask": 1, **change})


@pytest.mark.parametrize("handle", ["ab", "0x", "0x10000000000000000", -1, 2**64, 1.5, None, "0x1 "])
def test_what_is_no_64_bit_value_is_refused(handle: Any) -> None:
    with pytest.raises(ValidationError):
        protocol.CallResult.model_validate({**CALL, "handle": handle})


@pytest.mark.parametrize(
    "change",
    [
        {"status": -1},
        {"status": 2**32},
        {"status": "0x0"},
        {"cpu": "1"},
        {"group": True},
        {"written": 2},
        {"more": 1},
    ],
)
def test_what_is_no_call_is_refused(change: dict[str, Any]) -> None:
    protocol.CallResult.model_validate(CALL)
    with pytest.raises(ValidationError):
        protocol.CallResult.model_validate({**CALL, **change})
    schema = protocol.json_schema()
    call = {**schema, "anyOf": [schema["operations"]["free"]["result"]]}
    jsonschema.validate(CALL, call)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**CALL, **change}, call)


def test_looking_needs_read_access_and_changing_needs_both(sources: Path) -> None:
    """CTL_CODE's access bits are what the I/O manager checks before the driver is asked; all requests are buffered."""
    text = (sources / "include" / "pmctest.h").read_text()
    access = dict(re.findall(r"#define PMCTEST_(\w+) PMCTEST_CODE\(0x\w+u, PMCTEST_(\w+)\)", text))
    reads = {name for name, kind in access.items() if kind == "READS"}
    assert reads == {"INFO", "HOLDINGS", "OVERFLOWS"}
    assert {kind for name, kind in access.items() if name not in reads} == {"CHANGES"}
    wire = defines(sources / "include" / "pmctest.h")
    assert (wire["PMCTEST_READS"], wire["PMCTEST_CHANGES"]) == (1, 3)
    served = set(re.findall(r"\{ PMCTEST_(\w+), ", (sources / "driver" / "dispatch.c").read_text()))
    assert served == set(access)
