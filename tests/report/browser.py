"""A real Chromium for the tests of pages, without a network: what is not in the page is not there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from harness.deadlines import timeout_factor

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def chromium() -> Generator[Browser, None, None]:
    """Debian's Chromium; a session has one. Its absence is an error, no skip: the pages would go untested."""
    assert Path(CHROMIUM).is_file(), "install the package chromium, or run ci/bootstrap"
    expect.set_options(timeout=20_000 * timeout_factor())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page whose errors are kept, and whose requests beyond its own file are counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, folder: Path, address: str = "") -> Page:
        """Open a run's report at an address such as #/matrix, and wait until it is drawn."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{folder}/report.html{address}")
        self.page.wait_for_function("document.documentElement.classList.contains('with-js')")
        self.page.wait_for_function("!document.querySelector('.later > p.muted')")
        return self.page


@pytest.fixture
def watched(chromium: Browser) -> Generator[Watched, None, None]:
    """A new page. At its end nothing may have gone wrong in it, and nothing may have been fetched."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page)
    yield watched
    page.close()
    assert watched.errors == []
    assert watched.dialogs == []
    assert [
        url for url in watched.requests if not url.startswith(("file:", "data:", "about:", "blob:"))
    ] == []
