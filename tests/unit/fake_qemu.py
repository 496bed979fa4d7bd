#!/usr/bin/env python3
"""A scripted QEMU: speaks QMP on the inherited socket and does as $FAKE_QEMU says (a JSON list of steps).

Steps: greet, say OBJECT, raw TEXT, stderr TEXT, exit STATUS, signal NUMBER, hear COMMAND (answer commands
until this one came), answer {COMMAND: REPLY} (from now on; null is silence; the replies of a list serve once
each), deaf (nothing more, not even SIGTERM). After the last step it answers commands until it hears `quit`.
A "file" in a reply is no part of the answer: it is written into the file that the command names.
"""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

GREETING = {
    "QMP": {"version": {"qemu": {"major": 9, "minor": 8, "micro": 7}, "package": "fake"}, "capabilities": []}
}
REPLIES: dict[str, Any] = {
    "human-monitor-command": {"return": "  TCP[HOST_FORWARD]  3  127.0.0.1 40022  10.0.2.15  22  0  0\r\n"},
    "query-status": {"return": {"status": "running", "running": True}},
}


def write(arguments: dict[str, str], text: str) -> None:
    name = arguments.get("filename") or arguments["protocol"].removeprefix("file:")
    Path(name).write_text(text, encoding="latin-1")


def main() -> None:
    fd = re.search(r"socket,id=qmp,fd=(\d+)", " ".join(sys.argv))
    assert fd is not None
    connection = socket.socket(fileno=int(fd.group(1)))
    heard = ""
    replies = dict(REPLIES)

    def say(message: object) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")

    def hear() -> str:
        nonlocal heard
        while True:  # commands come as JSON objects with nothing between them
            try:
                request, end = json.JSONDecoder().raw_decode(heard)
                break
            except ValueError:
                more = connection.recv(65536)
                if not more:
                    sys.exit(0)
                heard += more.decode()
        heard = heard[end:].lstrip()
        name = request["execute"]
        reply = replies.get(name, {"return": {}})
        if isinstance(reply, list):
            reply = reply.pop(0)
        if reply is not None:
            reply = dict(reply)
            if "file" in reply:
                write(request["arguments"], reply.pop("file"))
            say({**reply, **({"id": request["id"]} if "id" in request else {})})
        if name == "quit":
            sys.exit(0)
        return str(name)

    for step in json.loads(os.environ["FAKE_QEMU"]):
        ((kind, value),) = step.items()
        if kind == "greet":
            say(GREETING)
            hear()
        elif kind == "say":
            say(value)
        elif kind == "raw":
            connection.sendall(value.encode())
        elif kind == "stderr":
            print(value, file=sys.stderr, flush=True)
        elif kind == "exit":
            sys.exit(value)
        elif kind == "signal":
            os.kill(os.getpid(), value)
        elif kind == "hear":
            while hear() != value:
                pass
        elif kind == "answer":
            replies.update(value)
        elif kind == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
    while True:
        hear()


main()
