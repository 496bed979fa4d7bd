"""report.html in a real browser: what it shows, how it filters, where its addresses lead, that guests stay text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from harness.contract.clauses import SUITE
from harness.contract.outcomes import Outcome, Verdict
from harness.report.write import write_reports
from tests.report.browser import Watched
from tests.report.pictures import png
from tests.report.synthetic import RunBuilder, guest_cell, series

BAD = "embedded-max-pmu_on-shared-grant"
OTHER = "embedded-nehalem+rdrand-pmu_on-shared-grant"
DEFECT = {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL, "ALLOC-5": Outcome.ERROR}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last of six runs of the demo: a violated clause, evidence with a picture, earlier runs."""
    runs = tmp_path_factory.mktemp("runs")
    folders = series(runs, 6, {5: DEFECT})
    evidence = folders[-1] / "cells" / BAD / "evidence" / "test_x"
    evidence.mkdir(parents=True)
    (evidence / "screen.png").write_bytes(png(320, 200))
    (evidence / "serial-tail.log").write_text("Booting <b>now</b>\n")
    (evidence / "index.json").write_text(
        json.dumps(
            {
                "triage": "the guest hangs on CPU 1",
                "files": [
                    {"name": "screen.png", "what": "the screen", "size": 9},
                    {"name": "serial-tail.log", "what": "end of the serial log", "size": 9},
                    {"name": "../../../../secret", "what": "not ours", "size": 9},
                ],
                "notes": [{"step": "NMI", "why": "no reaction"}],
            }
        )
    )
    write_reports(folders[-1], history=True)
    return folders[-1]


def cells_shown(page: Page) -> int:
    return page.locator("table.cells tr[data-cell]:visible").count()


def grid_rows(page: Page) -> int:
    return page.locator(".matrix .row:not(.top):not(.group):visible").count()


def test_the_overview_filters_by_words_and_axes_and_its_address_keeps_it(run: Path, watched: Watched) -> None:
    page = watched.open(run)
    expect(page.locator("section.status h2")).to_have_text("1 clause violated in 4 cells")
    assert cells_shown(page) == 18
    page.get_by_role("searchbox").fill("pmu_on -max")
    assert cells_shown(page) == 5
    expect(page.locator("#cells output")).to_have_text("5 of 18 cells")
    page.get_by_text("Axes").click()
    page.get_by_label("hal.generation").select_option("exclusive")
    assert cells_shown(page) == 2
    address = page.evaluate("location.hash")
    page = watched.open(run, address)
    assert cells_shown(page) == 2
    assert page.get_by_role("searchbox").input_value() == "pmu_on -max"
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#cells output")).to_have_text("18 cells")


def test_only_cells_with_findings(run: Path, watched: Watched) -> None:
    page = watched.open(run)
    page.get_by_label("only with findings").check()
    shown = page.locator("table.cells tr[data-cell]:visible")
    assert {row.get_attribute("data-cell") for row in shown.all()} == {
        f"embedded-max-pmu_on-{g}-{w}" for g in ("shared", "exclusive") for w in ("grant", "refuse")
    }


def test_the_matrix_groups_by_any_axis_and_counts_what_is_wrong(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/matrix")
    assert grid_rows(page) == 18
    assert page.locator(".matrix .top [role=columnheader] a:visible").count() == len(SUITE)
    page.get_by_label("Group by").select_option("cpu")
    groups = page.locator(".matrix .group")
    expect(groups).to_have_count(2)
    bad = groups.first.locator(f".c{SUITE.index('FREE-2')}")
    expect(bad).to_have_text("4")
    assert "4 violated" in (bad.get_attribute("title") or "")
    page.get_by_label("groups only").check()
    assert grid_rows(page) == 0
    page = watched.open(run, page.evaluate("location.hash"))
    assert grid_rows(page) == 0
    expect(page.locator(".matrix .group")).to_have_count(2)


def test_columns_and_rows_can_be_the_bad_ones_alone(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/matrix?cols=bad&with=a&group=-")
    heads = page.locator(".matrix .top [role=columnheader] a:visible")
    assert {head.get_attribute("aria-label") for head in heads.all()} == {"FREE-2", "ALLOC-5"}
    assert grid_rows(page) == 4


def test_the_matrix_is_one_stop_of_tab_and_arrows_move_in_it(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/matrix?group=-")
    assert page.locator('.matrix a[tabindex="0"]').count() == 1
    page.locator('.matrix a[tabindex="0"]').focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator('.matrix a[tabindex="0"]').count() == 1
    where = page.evaluate("document.activeElement.getAttribute('href')")
    third = page.locator(".matrix [role=rowheader] a.id").nth(2).get_attribute("title")
    assert where == f"#/cell/{third}/{SUITE[2]}"
    page.keyboard.press("Enter")
    expect(page.locator("tr.chosen")).to_have_attribute("data-clause", SUITE[2])
    assert page.evaluate("document.activeElement.textContent") == SUITE[2]


def test_a_link_leads_to_a_clause_in_a_cell(run: Path, watched: Watched) -> None:
    page = watched.open(run, f"#/cell/{BAD}/FREE-2")
    expect(page.locator("#view h2")).to_have_text(BAD)
    chosen = page.locator("tr.chosen")
    expect(chosen).to_contain_text("violated")
    expect(chosen).to_be_in_viewport()
    expect(chosen.locator("details dd").first).to_be_visible()
    assert BAD in page.title()


def test_the_page_of_a_cell_has_everything(run: Path, watched: Watched) -> None:
    page = watched.open(run, f"#/cell/{BAD}")
    view = page.locator("#view")
    for text in (
        "Nearest good cell",  # what is different where it works
        "pmu on → off",
        "hal.without pmu",  # configuration
        "reference HAL",  # what it really ran on
        "PMU probe",
        "contract",  # a phase
        "the guest hangs on CPU 1",  # triage
        "NMI: no reaction",
        "exec qemu-system-x86_64",  # run.sh
        "Duration in 6 runs.",
    ):
        expect(view).to_contain_text(text)
    picture = view.get_by_role("img", name="the screen of the guest")
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 320
    assert view.locator("table.results tbody tr").count() == len(SUITE)
    assert "secret" not in view.inner_text(), "a file outside the evidence's folder is none of it"


def test_ids_that_need_escapes_work_as_addresses(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/matrix?q=rdrand-pmu_on-shared-grant")
    page.locator(".matrix [role=rowheader] a.id:visible").click()
    expect(page.locator("#view h2")).to_have_text(OTHER)
    assert quote(OTHER, safe="") in page.evaluate("location.hash")


def test_the_page_of_a_clause(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/clause/FREE-2")
    view = page.locator("#view")
    expect(view).to_contain_text("Freeing a handle twice is an invalid parameter.")
    expect(view).to_contain_text("HalFreeHardwareCounters (ntddk.h), return value")
    expect(view).to_contain_text("test_free_2")
    expect(view.locator("table.results tbody tr").first).to_contain_text("violated")
    expect(view.get_by_role("heading", name="Where it fails")).to_be_visible()
    links = view.locator("table.results a.id").all()
    assert len(links) == 16


def test_trends_are_plots_with_a_table(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/trends")
    assert page.locator("#view svg[role=img]").count() >= 3
    assert page.locator("#view svg .dot").count() == 12
    page.get_by_text("The same as a table").click()
    assert page.locator("#view details table tbody tr").count() == 6
    expect(page.locator("#view")).to_contain_text("1 in 5 (20 %)")


def test_what_changed_since_the_last_run_is_told(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#changes")
    changes = page.locator("#changes")
    expect(changes).to_be_in_viewport()
    expect(changes).to_contain_text("Newly violated: FREE-2 in 4 of 18 cells.")
    expect(changes).to_contain_text("phantom → broken")


@pytest.mark.parametrize(
    "address", ["#/cell/nobody", "#/clause/NONE-1", "#/cell/%E0%A4%A", "#/nowhere", "#nowhere", "#/cell"]
)
def test_an_address_that_leads_nowhere_breaks_nothing(run: Path, watched: Watched, address: str) -> None:
    page = watched.open(run, address)
    assert page.locator("main h2:visible").count() >= 1
    page.locator("nav.views a", has_text="Overview").click()
    assert cells_shown(page) == 18


def test_back_and_forward_are_the_browsers_own(run: Path, watched: Watched) -> None:
    page = watched.open(run)
    page.locator("nav.views a", has_text="Trends").click()
    expect(page.locator("#view h2")).to_have_text("Trends")
    page.go_back()
    assert cells_shown(page) == 18
    page.go_forward()
    expect(page.locator("#view h2")).to_have_text("Trends")


def test_without_javascript_the_overview_is_complete(run: Path, chromium: Browser) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(f"file://{run}/report.html")
    assert cells_shown(page) == 18
    expect(page.locator("section.status")).to_contain_text("1 clause violated in 4 cells")
    expect(page.locator("noscript, .note").last).to_contain_text("JavaScript is off")
    assert not page.locator("button:visible, input:visible").count(), "no control that does nothing"
    page.goto(f"file://{run}/report.html#/cell/{BAD}")
    expect(page.locator(f'tr[data-cell="{BAD}"]')).to_be_in_viewport()
    page.context.close()


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"><svg onload='alert(1)'>",
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
    "]]>\u2028alert(1)//${alert(1)}",
    "__proto__",
)


def test_what_a_guest_writes_stays_text_wherever_it_is_shown(tmp_path: Path, watched: Watched) -> None:
    """Every text of a run is hostile, a file's name and the evidence's too; every view is opened, and hovered."""
    run = RunBuilder(
        tmp_path, [guest_cell("one"), guest_cell("two")], clauses={"one": ("PRES-1", *HOSTILE), "two": ()}
    )
    run.probe("one")
    evidence = tmp_path / "cells" / "one" / "evidence" / "x"
    evidence.mkdir(parents=True)
    (evidence / "serial.log").write_text("\n".join(HOSTILE))
    (evidence / "screen.png").write_text("<svg onload=alert(1)>")
    (evidence / "<img src=x onerror=alert(1)>").write_text("x")
    files = [{"name": name, "what": HOSTILE[1]} for name in ("serial.log", "screen.png")]
    notes = [{"step": text, "why": text} for text in HOSTILE]
    (evidence / "index.json").write_text(json.dumps({"triage": HOSTILE[0], "files": files, "notes": notes}))
    for text in HOSTILE:
        run.start("one", kind=text)
        run.phase("one", text, 1.0)
        run.clause(
            "one",
            text,
            Outcome.FAIL,
            text,
            test=f"t::{text}",
            observations=((text, text), ("x", {text: [text]})),
        )
        run.incident("one", text, branch=text, evidence={text: text})
    run.end("one", Verdict.BROKEN, "".join(HOSTILE), not_realised=HOSTILE)
    write_reports(run.finish(1), history=False)
    addresses = [
        "#/",
        "#/matrix",
        "#/trends",
        "#/cell/one",
        *(f"#/clause/{quote(text, safe='')}" for text in HOSTILE),
    ]
    addresses += [f"#/cell/{quote(text, safe='')}" for text in HOSTILE] + [f"#/matrix?q={quote(HOSTILE[1])}"]
    addresses += [f"#/cell/one/{quote(text, safe='')}" for text in HOSTILE]
    for address in addresses:
        page = watched.open(tmp_path, address)
        for link in page.locator(".matrix [role=gridcell] a:visible").all()[:4]:
            link.hover()
        assert (
            page.evaluate(
                "document.querySelectorAll('main img, main script, main iframe, main [onload]').length"
            )
            == 0
        )
        assert not page.evaluate(
            "[...document.links].filter((a) => !/^(file:|data:)/.test(a.protocol)).length"
        )
    page = watched.open(tmp_path, "#/cell/one")
    text = page.locator("#view").inner_text()
    for line in HOSTILE:
        assert line.replace("\u2028", "\\u2028") in text, "the reader sees what the guest wrote"


VIEWS = ("#/", "#/matrix", f"#/cell/{BAD}/FREE-2", "#/clause/FREE-2", "#/trends")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(run: Path, chromium: Browser, view: str, scheme: Any) -> None:
    """axe: names, roles, contrast, order of headings, keyboard; in both colour schemes, with all details open."""
    page = chromium.new_page(color_scheme=scheme)
    Watched(page).open(run, view)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(run: Path, chromium: Browser, view: str, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    Watched(page).open(run, view)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_a_long_word_of_a_reason_breaks_on_a_phone(tmp_path: Path, chromium: Browser) -> None:
    for name, outcome in (("a", Outcome.PASS), ("b", Outcome.FAIL)):
        run = RunBuilder(tmp_path / name, [guest_cell("one")], clauses={"one": ("FREE-1",)})
        run.start("one")
        run.clause("one", "FREE-1", outcome, f"again: halpmc replay {'/runs/folder' * 9}")
        run.end("one", Verdict.BROKEN if outcome is Outcome.FAIL else Verdict.PHANTOM)
        write_reports(run.finish(), history=True)
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    Watched(page).open(tmp_path / "b")
    for part in (".findings > li", ".changes > div"):
        assert page.locator(part).count()
        assert page.evaluate(
            f"[...document.querySelectorAll('{part}')].every((one) => one.getBoundingClientRect().right <= 390)"
        )
    page.close()


@pytest.mark.parametrize("runs", [2, 24])
def test_plots_show_the_latest_run_on_a_phone(tmp_path: Path, chromium: Browser, runs: int) -> None:
    folders = series(tmp_path, runs, {runs - 1: DEFECT})
    write_reports(folders[-1], history=True)
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    Watched(page).open(folders[-1], "#/trends")
    for last in (page.locator(".plot rect").last, page.locator(".plot circle").last):
        box = last.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.close()


def test_a_plot_of_cells_has_no_half_cells(tmp_path: Path, watched: Watched) -> None:
    for name, cells in (("odd", ("a", "b", "c")), ("even", ("a", "b", "c", "d"))):
        run = RunBuilder(
            tmp_path / name / "r", [guest_cell(c) for c in cells], clauses=dict.fromkeys(cells, ("FREE-1",))
        )
        for cell in cells:
            run.start(cell)
            run.clause(cell, "FREE-1")
            run.end(cell, Verdict.PHANTOM)
        write_reports(run.finish(), history=True)
    for name, ticks in (("odd", ["0", "3"]), ("even", ["0", "2", "4"])):
        page = watched.open(tmp_path / name / "r", "#/trends")
        assert page.locator(".plot").first.locator(".tick").all_text_contents() == ticks


def test_the_theme_can_be_switched(run: Path, watched: Watched) -> None:
    page = watched.open(run)
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(colour) != before


def test_it_prints_without_controls_and_with_the_whole_matrix(run: Path, watched: Watched) -> None:
    page = watched.open(run, "#/matrix")
    page.emulate_media(media="print")
    assert not page.locator("nav:visible, button:visible, input:visible, select:visible").count()
    assert page.evaluate(
        "document.querySelector('.scroll').scrollHeight <= document.querySelector('.scroll').clientHeight + 1"
    )
    assert re.match(rb"%PDF-", page.pdf(format="A4", landscape=True))
