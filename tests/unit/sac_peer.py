"""A peer that talks as Windows' Special Administration Console does in published sessions, and its misbehaviours."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import dataclass, field

COLUMNS = 80
BOOT = (
    "\r\nComputer is booting, SAC started and initialized.\r\n\r\n"
    'Use the "ch -?" command for information about using channels.\r\n'
)
NOT_YET = (
    "Error: Unable to launch a Command Prompt.  The service responsible for launching\r\n"
    "       Command Prompt channels has not yet registered.\r\n"
)
DISABLED = "Error: Launching of Command Prompt channels is disabled.\r\n"
CREATED = (
    "The Command Prompt session was successfully launched.\r\nSAC>\r\n"
    'EVENT:   A new channel has been created.  Use "ch -?" for channel help.\r\nChannel: {name}\r\nSAC>'
)
GONE = "\r\nEVENT:   A channel has been closed.\r\nChannel: {name}\r\nSAC>"
HEADER = (
    "Name:                  {name}\r\nDescription:           Command Prompt\r\nType:                  VT-UTF8\r\n"
    "Channel GUID:          28de7392-5413-11ea-bb03-c9656a2ed613\r\n"
    "\r\nPress <esc><tab> for next channel.\r\nPress <esc><tab>0 to return to the SAC channel.\r\n"
    "Use any other key to view this channel.\r\n"
)
WELCOME = (
    "Microsoft Windows [Version 10.0.20348.1]\r\n(c) Microsoft Corporation. All rights reserved.\r\n\r\n"
    "C:\\Windows\\system32>"
)


class Ended(Exception):
    """The other side is gone."""


@dataclass
class SacPeer:
    """What a test sets up, and what it then sees in `log`. `commands` maps command lines to output and error level,
    None for a command that leaves the level alone."""

    connection: socket.socket
    commands: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    password: str = "secret"  # noqa: S105 - a scripted one
    questions: tuple[str, str, str] = ("Username: ", "Domain: ", "Password: ")
    deaf: bool = False
    left_in_channel: bool = False
    late_service: bool = False
    disabled: bool = False
    old_channel_closes: bool = False
    piece: int = 1000  # how many bytes are sent at once
    noise: str = ""  # an escape sequence in front of every word
    log: list[str] = field(default_factory=list)

    def start(self) -> SacPeer:
        self._say(BOOT if self.deaf else BOOT + "SAC>")
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self) -> None:
        try:
            if self.deaf:
                while self._key():
                    pass
            self._sac()
        except (Ended, OSError):
            self.log.append("end")

    # -- the line ------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if self.noise:
            text = re.sub(r"(\w+)", lambda word: self.noise + word.group(), text)
        data = text.encode()
        for at in range(0, len(data), self.piece):
            self.connection.sendall(data[at : at + self.piece])

    def _key(self) -> str:
        data = self.connection.recv(1)
        if not data:
            raise Ended
        return data.decode()

    def _line(self, prompt: str = "", *, hidden: bool = False) -> str:
        """A typed line, echoed as a screen of 80 columns shows it. <esc><tab>0 is a line of its own."""
        typed, column = "", len(prompt)
        while (key := self._key()) != "\r":
            typed += key
            if typed.endswith("\x1b\t0"):
                return typed[-3:]
            if key.isprintable() and not hidden:
                column += 1
                self._say(key if column % COLUMNS else key + "\r\n")
        self._say("\r\n")
        return typed

    # -- SAC -----------------------------------------------------------------------------------------

    def _sac(self) -> None:
        name, asked = "Cmd0001", 0
        while self.left_in_channel:
            self.left_in_channel = self._line() != "\x1b\t0"
            if self.left_in_channel:
                self._say("C:\\Users>")
        while True:
            command = self._line("SAC>")
            self.log.append(command)
            if command == "cmd":
                asked += 1
                if self.disabled:
                    self._say(DISABLED + "SAC>")
                elif self.late_service and asked == 1:
                    self._say(NOT_YET + "SAC>\r\nEVENT: The CMD command is now available.\r\nSAC>")
                else:
                    if self.old_channel_closes:
                        self._say(GONE.format(name="Cmd0007"))
                    self._say(CREATED.format(name=name))
            elif command == f"ch -sn {name}":
                self._say(HEADER.format(name=name))
                self._key()
                self._channel()
                self._say(GONE.format(name=name))
            else:
                self._say("SAC>")

    def _channel(self) -> None:
        """Log in, and run commands until the channel ends."""
        self._say("\x1b[2J\x1b[HPlease enter login credentials.\r\n")
        answers = []
        for question in self.questions:
            self._say(question)
            answers.append(self._line(question, hidden=question == self.questions[2]))
        self.log.append("/".join(answers))
        if answers[2] != self.password:
            self._say("Unable to authenticate.\r\n" + self.questions[0])
            self._line()
            return
        self._say(WELCOME)
        prompt, level = "C:\\Windows\\system32>", 0
        while (line := self._line(prompt)) != "exit":
            output = ""
            for part in line.split("&"):
                if part.startswith("prompt "):
                    prompt = part.removeprefix("prompt ").replace("$G", ">")
                elif part == "ver>nul":
                    level = 0
                elif part.startswith("echo "):
                    shown = part.removeprefix("echo ").replace("%errorlevel%", str(level))
                    output += re.sub(r"\^(.)", r"\1", shown) + "\r\n"
                elif part == "leave":
                    return
                elif part == "hang":
                    self._say("so far")
                    while self._key():
                        pass
                elif part:
                    self.log.append(part)
                    said, ended = self.commands.get(part, (f"'{part}' is not recognized\r\n", 9009))
                    level = level if ended is None else ended
                    output += said
            self._say(output + "\r\n" + prompt)
        self.log.append("exit")
