"""report.html: complete, self-contained, and guest-made text stays text."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from harness.contract.clauses import PROBE_SUITE, SUITE
from harness.contract.outcomes import Outcome, Verdict
from harness.probe.models import PmuVerdict
from harness.report import words
from harness.report.embed import unpacked
from harness.report.html import cell_link
from harness.report.write import write_reports
from tests.report.synthetic import RunBuilder, demo, guest_cell, probe_cell

VOID = {"meta", "link", "br", "wbr", "input"}


@dataclass
class Element:
    """An element of the page: its tag, its attributes, and all text inside it."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


class Page(HTMLParser):
    """A page read strictly: every element that was opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (
            f"an attribute twice: {self.get_starttag_text()}"
        )
        inside = tuple(f"{e.tag}.{e.attributes.get('class', '')}" for e in self._open)
        element = Element(tag, {name: value or "" for name, value in attrs}, inside)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>, line {self.getpos()[0]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.parts.append(data)

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script draws from."""
        [script] = self.all("script", id="data")
        data: dict[str, Any] = json.loads(script.text)
        return data

    def details(self, cell: str) -> dict[str, Any]:
        """The details of a cell, unpacked as its page does."""
        packed = self.all("script", class_="details")
        [index] = [index for index, one in enumerate(self.data["cells"]) if one["id"] == cell]
        found: dict[str, Any] = unpacked(packed[index].text)
        return found

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements with this tag and these attributes (class_ for class)."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attributes.items()]

    def within(self, tag: str, container: str) -> list[Element]:
        """Elements with this tag inside an element written as tag.class."""
        return [element for element in self.elements if element.tag == tag and container in element.inside]


def report(folder: Path) -> Page:
    write_reports(folder)
    return Page((folder / "report.html").read_text())


def test_every_cell_and_every_result_is_there(tmp_path: Path) -> None:
    page = report(demo(tmp_path))
    assert len([e for e in page.within("tr", "table.cells") if "data-cell" in e.attributes]) == 18
    cells = page.data["cells"]
    assert len(cells) == len(page.all("script", class_="details")) == 18
    shown = Counter("".join(cell["o"] for cell in cells))
    assert sum(shown.values()) == 18 * len(SUITE)
    assert shown[" "] == 2 * (len(SUITE) - len(PROBE_SUITE))
    letters = [words.LETTERS[outcome] for outcome in (Outcome.PASS, Outcome.RECORDED, Outcome.SKIPPED)]
    assert [shown[letter] for letter in letters] == [356, 184, 152]
    assert len(page.within("th", "table.clauses")) == 2 * (4 + len(SUITE)), "clauses, and traceability"
    recorded = sum(len(page.details(cell["id"])["results"]) for cell in cells)
    assert recorded == 16 * len(SUITE) + 2 * len(PROBE_SUITE)


def test_all_ids_are_unique_and_all_links_lead_somewhere(tmp_path: Path) -> None:
    folder = demo(tmp_path, {"embedded-max": {"FREE-2": Outcome.FAIL}})
    page = report(folder)
    ids = Counter(e.attributes["id"] for e in page.elements if "id" in e.attributes)
    assert max(ids.values()) == 1
    links = [e.attributes["href"] for e in page.all("a")]
    assert links
    for link in links:
        if link.startswith(("#/cell/", "#/clause/")):
            assert unquote(link[1:]) in ids, "without JavaScript it leads to the line in the overview"
        elif link.startswith("#") and not link.startswith("#/"):
            assert link[1:] in ids, link
        elif not link.startswith("#"):
            assert (folder / unquote(link)).is_file(), link
    files = page.details("embedded-nehalem+rdrand-pmu_on-shared-grant")["files"]
    assert [name for name, _, _ in files] == ["run.sh", "config.json", "serial.log"]
    for _, href, size in files:
        assert (folder / unquote(href)).stat().st_size == size


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = report(demo(tmp_path))
    assert not page.all("img")
    assert not page.all("iframe")
    active = [e for e in page.all("script") if not e.attributes.get("type", "").endswith(("/json", "/plain"))]
    assert [e.attributes for e in active] == [{}]
    assert [e.attributes["href"] for e in page.all("link")] == ["data:,"]
    [style] = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    [policy] = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)


def test_a_wine_guest_is_never_called_windows(tmp_path: Path) -> None:
    page = report(demo(tmp_path))
    groups = [e.text for e in page.all("tr", class_="group")]
    assert [words.WINE_LABEL in text for text in groups] == [False, True]
    assert sum(words.WINE_LABEL in cell["g"] for cell in page.data["cells"]) == 16
    assert any(words.WINE_NOTE in e.text for e in page.all("aside"))


def test_a_windows_guest_is_no_wine_guest(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one", guest="ws2025")])
    run.cell("one", Verdict.USABLE, probe=PmuVerdict.COUNTING, kind="windows")
    page = report(run.finish())
    assert not page.all("aside")
    assert any("Windows" in e.text for e in page.all("tr", class_="group"))
    assert words.WINE_LABEL not in (tmp_path / "report.html").read_text()


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "' onmouseover='alert(1)",
    "</pre></details><iframe src=javascript:alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "\x1b[2J\x00\u202egnp.exe",
    "&lt;b&gt;",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_guest_made_text_is_inert(tmp_path: Path, text: str) -> None:
    run = RunBuilder(
        tmp_path,
        [guest_cell("one"), guest_cell("two")],
        clauses={"one": ("PRES-1", text), "two": ("PRES-1",)},
    )
    run.probe("one")
    run.start("one", kind=text)
    run.phase("one", text, 1.0)
    run.clause(
        "one",
        "PRES-1",
        Outcome.FAIL,
        text,
        test=f"t::{text}",
        observations=((text, text), ("list", [text, {text: text}])),
    )
    run.clause("one", text, Outcome.SKIPPED, text)
    run.incident("one", text, branch=text, evidence={text: text, "file": f"cells/one/{text}"})
    run.end("one", Verdict.BROKEN, text, not_realised=(text,))
    (tmp_path / "cells" / "one").mkdir(parents=True)
    (tmp_path / "cells" / "one" / text.replace("/", "").replace("\0", "")).write_text("log")
    page = report(run.finish(1))
    tags = Counter(element.tag for element in page.elements)
    assert tags["script"] == 4, "the data, two cells, the script"
    assert not tags.keys() & {"img", "svg", "iframe", "b>"}
    assert not [e for e in page.elements if any(name.startswith("on") for name in e.attributes)]
    assert not [e for e in page.elements if e.attributes.get("href", "").startswith("javascript")]
    raw = (tmp_path / "report.html").read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", raw)
    escaped = text.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\u202e", "\\u202e")
    seen = json.dumps(page.details("one"), ensure_ascii=False)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", seen)
    assert seen.count(json.dumps(escaped, ensure_ascii=False)[1:-1]) >= 8, (
        "the reader sees what the guest wrote"
    )


def test_evidence_that_is_a_file_of_the_run_is_linked_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "cells" / "one").mkdir(parents=True)
    (folder / "cells" / "one" / "serial log.txt").write_text("log")
    (tmp_path / "secret").write_text("secret")
    run = RunBuilder(folder, [guest_cell("one")], clauses={"one": ()})
    run.incident(
        "one",
        "x",
        evidence={
            "a": "cells/one/serial log.txt",
            "b": "../secret",
            "c": str(tmp_path / "secret"),
            "d": "gone",
        },
    )
    run.end("one", Verdict.UNKNOWN)
    [incident] = report(run.finish(3)).details("one")["incidents"]
    assert {one["title"]: one["href"] for one in incident["evidence"]} == {
        "a": "cells/one/serial%20log.txt",
        "b": "",
        "c": "",
        "d": "",
    }


def test_a_shortage_is_shown_where_it_is(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one"), probe_cell("two")])
    run.cell("two", Verdict.COUNTING, probe=PmuVerdict.COUNTING)
    run.tear_last_line()
    page = report(tmp_path)
    assert page.data["cells"][0]["o"] == "?" * len(SUITE)
    assert any("The run was killed, or still goes on" in e.text for e in page.all("section"))
    assert any(f"none of {len(SUITE)} clauses recorded" in e.text for e in page.within("li", "ol.findings"))


def test_a_long_observation_is_shortened_and_says_so(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("ALLOC-6",)})
    run.clause("one", "ALLOC-6", observations=(("log", list(range(100_000))),))
    run.end("one", Verdict.PHANTOM)
    [result] = report(run.finish()).details("one")["results"]["ALLOC-6"]
    [[_, text]] = result["seen"]
    assert re.search(r"… [0-9,]+ more characters are in records\.jsonl", text)
    assert len(text) < 5_000


def test_five_hundred_cells(tmp_path: Path) -> None:
    cells = [
        guest_cell(f"embedded-cpu{n}-pmu_{'on' if n % 2 else 'off'}", pmu=bool(n % 2)) for n in range(500)
    ]
    planned = SUITE[:5]
    run = RunBuilder(tmp_path, cells, clauses=dict.fromkeys((cell.id for cell in cells), planned))
    for cell in cells:
        run.cell(cell.id, Verdict.PHANTOM)
    page = report(run.finish())
    assert len(page.data["cells"]) == len(page.all("script", class_="details")) == 500
    assert all(len(cell["o"].strip()) == len(planned) for cell in page.data["cells"])
    assert cell_link(cells[499].id) in {e.attributes["href"] for e in page.all("a")}


def test_what_stopped_a_guest_is_a_finding(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path, [guest_cell("one")], clauses={"one": ("PRES-1", "PARAM-4")})
    run.clause("one", "PRES-1", test="tests/contract/test_allocate.py::test_both_routines")
    run.clause("one", "PARAM-4", Outcome.RECORDED, "NULL: hang (no answer)", test="t.py::test_null")
    run.end("one", Verdict.PHANTOM)
    page = report(tmp_path)
    (finding,) = page.within("li", "ol.findings")
    assert "PARAM-4 stopped the guest" in finding.text and "NULL: hang (no answer)" in finding.text
    assert "Not judged" not in finding.text
