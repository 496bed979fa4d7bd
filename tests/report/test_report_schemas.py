"""The published schemas are those of the code, and what the code writes follows them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from harness.contract.outcomes import Outcome, Verdict
from harness.errors import UsageError
from harness.probe.models import PmuVerdict
from harness.report.schemas import NAMES, json_schema
from harness.report.write import write_reports
from tests.report.synthetic import RunBuilder, demo, guest_cell, probe_answer, probe_cell

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("name", NAMES)
def test_the_published_schema_is_up_to_date(name: str) -> None:
    file = PUBLISHED / f"{name}.schema.json"
    assert file.is_file() and json.loads(file.read_text()) == json_schema(name), (
        f"run: halpmc schema {name} > {file.relative_to(PUBLISHED.parents[1])}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))
    assert json_schema(name)["title"]


def test_an_unknown_name_is_a_usage_error_that_names_all() -> None:
    with pytest.raises(UsageError, match=", ".join(NAMES)):
        json_schema("nope")


def broken_run(folder: Path) -> Path:
    run = RunBuilder(folder, [guest_cell("one"), guest_cell("two")])
    run.cell("one", Verdict.PHANTOM, outcomes={"FREE-2": Outcome.ERROR})
    run.incident("two", "QEMU died", evidence={"log": "x"})
    return folder


@pytest.mark.parametrize("build", [demo, broken_run])
def test_records_and_summary_follow_their_schemas(tmp_path: Path, build: type[Path]) -> None:
    folder = build(tmp_path)
    write_reports(folder)
    line_is_valid = jsonschema.Draft202012Validator(json_schema("records"))
    for line in (folder / "records.jsonl").read_text().splitlines():
        line_is_valid.validate(json.loads(line))
    jsonschema.validate(json.loads((folder / "summary.json").read_text()), json_schema("summary"))


def test_the_schema_of_the_summary_demands_what_it_promises() -> None:
    promised = {"planned", "recorded", "exit_code", "cells", "schema_version", "problems"}
    assert promised <= set(json_schema("summary")["required"])
    cell = {"id", "verdict", "realised", "probe", "clauses", "clause_reasons", "duration_s"}
    assert cell <= set(json_schema("summary")["$defs"]["CellSummary"]["required"])


def test_a_probe_answer_follows_its_schema() -> None:
    answer = probe_answer(probe_cell("one"), PmuVerdict.COUNTING)
    jsonschema.validate(json.loads(answer.model_dump_json()), json_schema("probe"))
    promised = {"arch", "accel", "cpu", "verdict", "counters", "elapsed_s"}
    assert promised <= set(json_schema("probe")["required"])
