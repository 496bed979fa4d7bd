"""halpmc serve over real HTTP: what it shows, and all that it does not."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.contract.outcomes import Verdict
from harness.errors import InfrastructureError, UsageError
from harness.report.serve import ADDRESS, server_for
from harness.report.write import write_reports
from tests.report.synthetic import RunBuilder, demo, guest_cell

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run that ended, one that goes on, and a secret beside them."""
    folder = tmp_path / "runs"
    write_reports(demo(folder / "one"))
    (folder / "one" / "cells" / "page.html").write_text("<script>alert(1)</script>")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "one" / "link").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "secret.txt").write_text("secret")
    (tmp_path / "records.jsonl").write_text("secret")
    return folder


@pytest.fixture
def server(runs: Path) -> Generator[ThreadingHTTPServer, None, None]:
    with server_for(runs, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(
    server: ThreadingHTTPServer, path: str, host: str = "", method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """The answer to a path that is sent exactly as it is written."""
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"{ADDRESS}:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_runs_and_their_files(server: ThreadingHTTPServer, runs: Path) -> None:
    status, headers, body = get(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "halpmc" in body.decode()
    [run] = json.loads(get(server, "/api/runs")[2])
    assert (run["folder"], run["finished"], run["exit_code"], run["report"]) == ("one", True, 0, True)
    assert get(server, "/runs/one/report.html")[2] == (runs / "one" / "report.html").read_bytes()
    assert get(server, "/runs/one/records.jsonl")[2] == (runs / "one" / "records.jsonl").read_bytes()
    status, headers, body = get(server, "/", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_nothing_that_a_guest_may_have_written_is_run(server: ThreadingHTTPServer) -> None:
    status, headers, _ = get(server, "/runs/one/cells/page.html")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]


OUTSIDE = (
    "/runs/one/../../secret.txt",
    "/runs/../secret.txt",
    "/runs/one/%2e%2e/%2e%2e/secret.txt",
    "/runs/one/..%2f..%2fsecret.txt",
    "/runs/%2e%2e/records.jsonl",
    "/runs/one%2f..%2f..",
    "/runs/one/cells/../../../secret.txt",
    "/runs/one//etc/passwd",
    "/runs/one/%2fetc%2fpasswd",
    "/runs/one/link",
    "/runs/linked/secret.txt",
    "/runs/linked/records.jsonl",
    "/runs/secret.txt",
    "/runs/./secret.txt",
    "/runs/one/%00",
    "/runs/one/cells",
    "/runs/one/",
    "/runs/%00/records.jsonl",
    "/live/..",
    "/api/runs/..",
    "/api/runs/linked",
    "//etc/passwd",
    "/secret.txt",
    "/" + "a" * 5000,
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_of_runs_can_be_asked_for(server: ThreadingHTTPServer, path: str) -> None:
    status, _, body = get(server, path)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", " "]
)
def test_a_name_that_was_made_to_point_here_gets_nothing(server: ThreadingHTTPServer, host: str) -> None:
    for path in ("/", "/api/runs", "/runs/one/records.jsonl"):
        status, _, body = get(server, path, host.format(port=server.server_port))
        assert status == 421
        assert b"one" not in body.replace(b"only", b"")
    assert get(server, "/api/runs", f"localhost:{server.server_port}")[0] == 200


def test_only_this_machine_and_only_reading(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for method in ("POST", "PUT", "DELETE"):
        assert get(server, "/", method=method)[0] == 501


def test_rubbish_instead_of_http_stops_nothing(server: ThreadingHTTPServer) -> None:
    with socket.create_connection((ADDRESS, server.server_port), timeout=10) as rubbish:
        rubbish.sendall(b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\r\n\r\n")
        rubbish.recv(1000)
    assert get(server, "/")[0] == 200


def test_a_folder_that_is_none_and_a_port_that_is_taken(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of runs"):
        server_for(tmp_path / "gone", 0)
    with pytest.raises(InfrastructureError, match="cannot be used"):
        server_for(tmp_path, server.server_port)


def test_progress_is_seen_in_a_browser_while_it_is_made(
    server: ThreadingHTTPServer, runs: Path, chromium: Browser
) -> None:
    """A page that is only opened once follows a run to its end; what a guest writes stays text."""
    run = RunBuilder(runs / "two", [guest_cell("first"), guest_cell("second")], name="two")
    page = chromium.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://{ADDRESS}:{server.server_port}/")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="two").click()
    expect(page.locator("#sub")).to_contain_text("goes on: 0 of 2 cells done")
    run.phase("first", "boot", 1.0)
    run.incident("first", HOSTILE)
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    expect(page.locator("tbody tr").first).to_contain_text("boot")
    run.cell("first", Verdict.PHANTOM)
    expect(page.locator("#sub")).to_contain_text("1 of 2 cells done")
    run.cell("second", Verdict.REFUSED)
    write_reports(run.finish(3))
    expect(page.locator("#sub")).to_contain_text("ended: 2 of 2 cells done")
    page.get_by_role("link", name="Report").click()
    expect(page.locator("h1")).to_have_text("two")
    assert errors == []
    page.close()


def test_the_command_serves_until_it_is_interrupted(runs: Path) -> None:
    command = [sys.executable, "-m", "harness.cli", "serve", str(runs), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    first = process.stderr.readline()
    port = int(first.split("127.0.0.1:")[1].split("/")[0])
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=20)
    connection.request("GET", "/api/runs")
    assert connection.getresponse().status == 200
    connection.close()
    process.terminate()
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest == "ended\n"
