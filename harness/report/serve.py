"""Runs in a browser, on this machine only: a list, each run's files, and the progress of one that goes on.

Everything is read-only. A page of another site cannot read it (the Host header has to be ours, so a name that was
made to point here does not help), nothing outside the folder can be asked for, and no file that a guest may have
written is ever served as something that a browser runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.errors import HalpmcError, InfrastructureError, UsageError
from harness.report.embed import clean
from harness.report.html import FILE_NAME as REPORT
from harness.report.progress import list_runs, progress
from harness.report.serve_pages import LIST_PAGE, LIVE_PAGE, Page
from harness.runs.record_file import FILE_NAME as RECORDS

ADDRESS = "127.0.0.1"
_PICTURES = {".png": "image/png"}
_BASE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_INERT = "default-src 'none'; sandbox"


def server_for(directory: Path, port: int) -> ThreadingHTTPServer:
    """A server that shows the runs in a folder. Raises UsageError, and InfrastructureError when the port is taken."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is no folder of runs", remedy="give the folder behind --runs-dir")
    root = directory.resolve()

    class Bound(_Handler):
        runs = root

    try:
        return ThreadingHTTPServer((ADDRESS, port), Bound)
    except OSError as error:
        raise InfrastructureError(
            f"{ADDRESS}:{port} cannot be used: {error.strerror}", remedy="choose another --port, or 0 for any"
        ) from None


class _Handler(BaseHTTPRequestHandler):
    """One request. Paths: /, /live/RUN, /api/runs, /api/runs/RUN, /runs/RUN/FILE."""

    runs: Path
    server_version = "halpmc"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request, or say plainly why not."""
        if not self._is_ours():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"this server is only for 127.0.0.1\n")
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        try:
            self._route(parts)
        except (HalpmcError, OSError) as error:
            message = error.message if isinstance(error, HalpmcError) else "cannot be read"
            self._send(HTTPStatus.NOT_FOUND, f"{clean(message)}\n".encode("utf-8", "replace"))

    do_HEAD = do_GET

    def _route(self, parts: list[str]) -> None:
        match parts:
            case []:
                self._page(LIST_PAGE)
            case ["live", name] if self._folder(name):
                self._page(LIVE_PAGE)
            case ["api", "runs"]:
                self._json(list_runs(self.runs))
            case ["api", "runs", name] if folder := self._folder(name):
                self._json(progress(folder))
            case ["runs", name, *rest] if rest and (folder := self._folder(name)):
                self._file(folder, rest)
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"there is nothing here\n")

    def _is_ours(self) -> bool:
        port = self.connection.getsockname()[1]
        return self.headers.get("Host", "") in {f"{name}:{port}" for name in (ADDRESS, "localhost")}

    def _folder(self, name: str) -> Path | None:
        """The folder of a run by its name, which is one name and no path."""
        folder = self.runs / name
        plain = name not in ("", ".", "..") and "/" not in name and "\0" not in name
        return folder if plain and not folder.is_symlink() and (folder / RECORDS).is_file() else None

    def _file(self, folder: Path, rest: list[str]) -> None:
        """A file of a run. Only the page that we wrote is a page; all else is text, a picture, or a download."""
        if any(part in (".", "..") or "/" in part or "\0" in part for part in rest):
            raise UsageError("that is no name of a file")
        path = folder.joinpath(*rest)
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError("there is no such file")
        data = path.read_bytes()
        if rest == [REPORT]:
            self._send(HTTPStatus.OK, data, "text/html; charset=utf-8")  # brings its own policy
            return
        kind = _PICTURES.get(path.suffix, "text/plain; charset=utf-8")
        self._send(HTTPStatus.OK, data, kind, {"Content-Security-Policy": _INERT})

    def _page(self, page: Page) -> None:
        self._send(
            HTTPStatus.OK, page.html, "text/html; charset=utf-8", {"Content-Security-Policy": page.policy}
        )

    def _json(self, data: Any) -> None:
        body = json.dumps(clean(data), ensure_ascii=False).encode("utf-8", "replace")
        self._send(
            HTTPStatus.OK, body, "application/json; charset=utf-8", {"Content-Security-Policy": _INERT}
        )

    def _send(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **_BASE, **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    log_message: Callable[..., None] = lambda *_: None
