"""The site of README.md and docs/: every page is in it, says what it says on GitHub, and needs no network."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from harness.paths import project_root
from tests.documents.commands import page_name
from tests.documents.site import build
from tests.unit.test_docs_links import PAGES, anchors

#: Tags that hold the text of a page; their number is its structure.
STRUCTURE = ("p", "ul", "ol", "li", "table", "tr", "th", "td", "pre", "code", "strong", "em", "blockquote")
VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")


class Parsed(HTMLParser):
    """A page's own part (all of it when it has no theme): tags, words, anchors; and what the whole page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.links: list[str] = []
        self._themed = "<html" in text
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.loads += [named[name] for name in ("src", "srcset", "poster", "data") if name in named]
        if "href" in named:
            (self.links if tag == "a" else self.loads).append(named["href"])
        if self._inside():
            self.tags[tag] += tag in STRUCTURE
            if re.fullmatch(r"h\d", tag) and "id" in named:
                self.ids.add(named["id"])
        if self._themed and tag not in VOID and (self._depth or named.get("itemprop") == "articleBody"):
            self._depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self._depth and tag not in VOID:
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._inside():
            self.words += data.split()

    def _inside(self) -> bool:
        return not self._themed or self._depth > 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def page_of(site: Path, page: Path) -> Path:
    """Where the site has a page."""
    name = page_name(page).removeprefix("docs/").removesuffix(".md")
    return site / (re.sub(r"README$", "index", name) + ".html")


def test_it_is_built_and_has_every_page(site: Path) -> None:
    assert [page_name(page) for page in PAGES if not page_of(site, page).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_says_there_what_it_says_on_github(site: Path, page: Path) -> None:
    """Dialects of Markdown differ in lists, blocks of code and anchors: a page has to be the same in both."""
    there = Parsed(page_of(site, page).read_text())
    github = Parsed(MarkdownIt("commonmark").enable("table").render(page.read_text()))
    assert "".join(there.words) == "".join(github.words)
    assert there.tags == github.tags
    assert there.ids == anchors(page)


def test_nothing_comes_from_the_network_and_every_link_leads_to_a_file(site: Path) -> None:
    elsewhere, dead = set(), set()
    for file in site.rglob("*"):
        if file.suffix == ".html" and file.name not in ("404.html", "search.html"):
            parsed = Parsed(file.read_text())
            targets, links = parsed.loads, parsed.links
        elif file.suffix == ".css":
            pattern = r"(?:url\(\s*|@import\s+)[\"']?([^\"')\s;]+)"
            targets = [found[1] for found in re.finditer(pattern, file.read_text())]
            links = []
        else:
            continue
        own = [target for target in targets if not target.startswith("data:")]
        elsewhere |= {target for target in own if re.match(r"[a-z]+:|/", target)}
        for target in [*own, *(link for link in links if not re.match(r"[a-z]+:", link))]:
            name = unquote(re.split(r"[?#]", target)[0])
            if name and not (file.parent / name).is_file():
                dead.add(f"{file.relative_to(site)}: {target}")
    assert (elsewhere, dead) == (set(), set())


def test_what_is_wrong_with_a_page_fails_the_build(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for folder in ("docs", "ci", "guest_driver", "harness/driver"):
        shutil.copytree(project_root() / folder, checkout / folder, ignore=shutil.ignore_patterns("*.py[co]"))
    for name in ("mkdocs.yml", "README.md"):
        shutil.copy(project_root() / name, checkout / name)
    (checkout / "docs" / "unlisted.md").write_text("# Unlisted\n")
    with (checkout / "docs" / "faults.md").open("a") as page:
        page.write("\n[a](gone.md) [b](doctor.md#gone) [c](../ci/gone.yaml) [d](/absolute.md)\n")
    done = build(tmp_path / "site", checkout)
    assert done.returncode != 0
    for culprit in ("unlisted.md", "'gone.md'", "'doctor.md#gone'", "'../ci/gone.yaml'", "'/absolute.md'"):
        assert [line for line in done.stderr.splitlines() if "WARNING" in line and culprit in line] or (
            re.search(rf"WARNING[^\n]*\n\s+- {re.escape(culprit)}", done.stderr)
        ), f"{culprit}: {done.stderr}"
    assert not re.search(r"Aborted with [1-4] warnings", done.stderr), done.stderr
