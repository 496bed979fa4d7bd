"""The two pages of `halpmc serve`: static, each with its own script and no other; data comes from /api."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from harness.report.html import TEMPLATES


@dataclass(frozen=True)
class Page:
    """A page and the policy that lets it run its own script alone."""

    html: bytes
    policy: str


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _page(title: str, script: str) -> Page:
    code = f'"use strict";\n(() => {{\n{_read("js/dom.js")}\n{_read(script)}}})();\n'
    html = (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title} · halpmc</title><style>{_read("report.css")}</style></head>'
        '<body><header class="top"><div><p class="eyebrow">halpmc</p>'
        f'<h1 id="title">{title}</h1><p class="sub" id="sub" role="status"></p></div></header>'
        '<main id="main"><section id="content"><noscript>This page needs JavaScript; the reports do not.</noscript>'
        f"</section></main><script>{code}</script></body></html>\n"
    )
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return Page(
        html.encode(),
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )


LIST_PAGE = _page("Runs", "serve/list.js")
LIVE_PAGE = _page("Progress", "serve/live.js")
