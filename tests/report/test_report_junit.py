"""junit.xml: a violation is a failure, trouble is an error, and nothing that was planned is missing."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from harness.contract.clauses import PROBE_SUITE, SUITE
from harness.contract.outcomes import Outcome, Verdict
from harness.report.write import write_reports
from tests.report.synthetic import RunBuilder, demo, guest_cell


def junit(folder: Path) -> ET.Element:
    write_reports(folder)
    return ET.parse(folder / "junit.xml").getroot()


def properties(element: ET.Element) -> dict[str, str]:
    return {item.attrib["name"]: item.attrib["value"] for item in element.findall("properties/property")}


def case(root: ET.Element, suite: str, name: str) -> ET.Element:
    [found] = [
        c
        for s in root
        if s.attrib["name"] == suite
        for c in s.findall("testcase")
        if c.attrib["name"] == name
    ]
    return found


def test_a_suite_per_cell_and_a_case_per_clause(tmp_path: Path) -> None:
    root = junit(
        demo(
            tmp_path, {"embedded-max-pmu_on-shared-grant": {"FREE-2": Outcome.FAIL, "VIRT-3": Outcome.ERROR}}
        )
    )
    assert root.tag == "testsuites"
    assert [suite.attrib["tests"] for suite in root] == [
        *[str(len(PROBE_SUITE) + 1)] * 2,
        *[str(len(SUITE) + 1)] * 16,
    ]
    for suite in (*root, root):
        cases = list(suite.iter("testcase"))
        assert int(suite.attrib["tests"]) == len(cases)
        for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[attribute]) == sum(c.find(tag) is not None for c in cases)
    assert root.attrib["failures"] == "2"  # the clause, and the verdict broken
    assert root.attrib["errors"] == "1"
    bad = "embedded-max-pmu_on-shared-grant"
    failure = case(root, bad, "FREE-2").find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "FREE-2 was fail for a reason"
    skipped = case(root, bad, "PARAM-X").find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"]


def test_properties_say_what_the_result_is_worth(tmp_path: Path) -> None:
    root = junit(demo(tmp_path))
    suite = next(s for s in root if s.attrib["name"] == "embedded-max-pmu_on-shared-grant")
    found = properties(suite)
    assert found["verdict"] == "phantom"
    assert found["realised"] == "no"
    assert found["probe"] == "absent"
    assert found["provenance.guest_kind"] == "wine"
    assert found["provenance.image_sha256"] == "1f" * 32
    assert (
        properties(case(root, suite.attrib["name"], "FREE-2"))["title"]
        == "Freeing a handle twice is an invalid parameter."
    )


def test_shortage_incident_and_damage_are_errors(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1", "ALLOC-1")})
    run.clause("one", "PRES-1")
    run.incident("one", "QEMU died", evidence={"serial": "last words"})
    run.tear_last_line()
    root = junit(tmp_path)
    error = case(root, "one", "ALLOC-1").find("error")
    assert error is not None
    assert error.attrib["message"] == "planned, and not recorded"
    verdict = case(root, "one", "cell verdict").find("error")
    assert verdict is not None
    assert verdict.attrib["message"] == "infrastructure: QEMU died"
    assert "last words" in (verdict.text or "")
    assert case(root, "records", "records").find("error") is not None


def test_what_xml_cannot_carry_is_written_as_an_escape(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1",)})
    run.clause("one", "PRES-1", Outcome.FAIL, 'a\x00b\x1b[31m]]> <script>"&\ufffe \u202egnp.exe\nsecond line')
    run.end("one", Verdict.BROKEN)
    failure = case(junit(tmp_path), "one", "PRES-1").find("failure")
    assert failure is not None
    assert failure.attrib["message"] == 'a\\x00b\\x1b[31m]]> <script>"&\\ufffe \\u202egnp.exe second line'
    assert (failure.text or "").endswith("\nsecond line")


def test_a_cell_without_a_verdict_is_an_error(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1",)})
    run.clause("one", "PRES-1")
    run.end("one", Verdict.UNKNOWN, "granted, but whether counters count was not seen")
    root = junit(run.finish())
    assert (root.attrib["errors"], root.attrib["failures"]) == ("1", "0")
    error = case(root, "one", "cell verdict").find("error")
    assert error is not None
    assert error.attrib["message"] == "unknown: granted, but whether counters count was not seen"


def test_names_and_properties_from_a_guest_cannot_break_the_document(tmp_path: Path) -> None:
    run = RunBuilder(
        tmp_path, [guest_cell("one")], name="n\x01<", clauses={"one": ("X\x02",)},
        provenance={"guest_title": 'Windows\x00 "11"\x1b[0m\n<b>'},
    )  # fmt: skip
    run.start("one")
    run.clause("one", "X\x02", test="t::\x03")
    run.end("one", Verdict.PHANTOM)
    root = junit(run.finish())
    assert root.attrib["name"] == "n\\x01<"
    suite = next(s for s in root if s.attrib["name"] == "one")
    assert properties(suite)["provenance.guest_title"] == 'Windows\\x00 "11"\\x1b[0m <b>'
    assert properties(case(root, "one", "X\\x02"))["tests"] == "t::\\x03"


def test_the_time_of_a_clause_is_that_of_all_its_tests(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1",)})
    for number in range(3):
        run.clause("one", "PRES-1", test=f"t::{number}")
    run.end("one", Verdict.PHANTOM)
    assert case(junit(run.finish()), "one", "PRES-1").attrib["time"] == "0.300"
