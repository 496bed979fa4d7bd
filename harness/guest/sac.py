"""Windows' Special Administration Console (EMS) at a serial port: a command prompt in a channel of its own.

The dialogue is the documented one (Emergency Management Services; the public clouds' guides to their consoles): `cmd`
makes a channel and tells its name, `ch -sn NAME` shows it, it asks for user, domain and password. Words of Windows are
only looked for where there is nothing else: names of channels, prompts and numbers are the same in every language.
Never tried on a real Windows.
"""

from __future__ import annotations

import contextlib
import re
import secrets

from harness.deadlines import Deadline
from harness.errors import DeadlineExceeded, HalpmcError, TransportError
from harness.guest.console import ENTER, INTERRUPT, Console, Seen, lines, one_line
from harness.guest.transport import ExecResult

WAKE_S = 2.0
CHANNEL_S = 15.0
TO_SAC = "\x1b\t0"
SAC = r"SAC>\s*\Z"
CLOSED = r"(?i)has been closed[^\n]*\n[^\n]*\bCmd\d+"
CHANNEL = r"\b(Cmd\d{4})\b"
NOT_YET = r"(?i)has not yet registered"
UNABLE = (
    r"(?i)command prompt[^\n]*(?:disabled|locked)|failed to be created|has timed out|channels is disabled"
)
AVAILABLE = r"(?i)CMD command is now available"
SHOWN = r"(?i)<esc><tab>0"
QUESTION = r"\w{3,}:[ \t]*\Z"
AUTHENTICATE = r"(?i)unable to (?:authenticate|log)|logon failure"
PROMPT = r"[A-Za-z]:\\[^\r\n>]*>\Z"
#: What says, while a command runs, that its channel is gone.
LEFT = rf"{SHOWN}|(?:\A|\n){SAC}"


class SacShell:
    """A command prompt as harness.guest.console.ConsoleShell.

    Exit codes are cmd's %errorlevel%, as unsigned 32 bits. The channel's screen is narrow: lines that fill it are taken
    to go on in the next one.
    """

    def __init__(self, console: Console, columns: int) -> None:
        self._console = console
        self._columns = columns
        self._mark = "h" + secrets.token_hex(4)
        self._prompt = f"{self._mark}>"
        self._in_channel = False

    @classmethod
    def open(
        cls, console: Console, *, user: str, domain: str, password: str, timeout_s: float, columns: int = 80
    ) -> SacShell:
        """Find SAC, make a channel, log in, and have its command prompt answer.

        Steps: "SAC prompt", "SAC channel", "SAC login", "SAC command prompt". Raises TransportError, DeadlineExceeded.
        """
        shell = cls(console, columns)
        whole = Deadline("SAC", timeout_s)
        shell._find(Deadline("SAC prompt", whole.remaining_unscaled()))
        name = shell._make_channel(Deadline("SAC channel", whole.remaining_unscaled()))
        step = Deadline(f"SAC channel {name}", min(CHANNEL_S, whole.remaining_unscaled()))
        console.send(f"ch -sn {name}{ENTER}", step.name)
        console.expect([SHOWN], step)
        shell._in_channel = True
        console.send(ENTER, step.name)
        login = Deadline(f"SAC login of {user}", whole.remaining_unscaled())
        shell._log_in(user, domain, password, login)
        shell._take_over(Deadline("SAC command prompt", whole.remaining_unscaled()))
        return shell

    def _find(self, deadline: Deadline) -> None:
        keys = ENTER
        self._console.skip(deadline)  # a prompt of long ago may stand there
        try:
            while True:
                self._console.send(keys, deadline.name)
                if self._console.try_expect([SAC], deadline, WAKE_S):
                    return
                keys = TO_SAC + ENTER  # somebody left another channel on the screen
        except DeadlineExceeded as error:
            error.remedy = (
                "switch EMS on in the guest (bcdedit /ems on), on its first serial port at 115200 baud"
            )
            raise

    def _make_channel(self, deadline: Deadline) -> str:
        """The name of a new channel. Early in a boot the service that makes them is not there: it is waited for."""
        self._console.send("cmd" + ENTER, deadline.name)
        while True:
            seen = self._console.expect([CLOSED, CHANNEL, NOT_YET, AVAILABLE, UNABLE], deadline)
            if seen.index == 1:
                return str(seen.match.group(1))
            if seen.index == 3:
                self._console.send("cmd" + ENTER, deadline.name)
            if seen.index == 4:
                self._console.fail(
                    deadline.name,
                    "Windows makes no command prompt",
                    remedy="look at the service sacsvr, and at DisableCmdSessions of sacdrv",
                )

    def _log_in(self, user: str, domain: str, password: str, deadline: Deadline) -> None:
        for answer in (user, domain, password):
            self._console.expect([QUESTION], deadline)
            self._console.send(answer + ENTER, deadline.name)
        if self._console.expect([PROMPT, AUTHENTICATE, QUESTION, LEFT], deadline).index != 0:
            self._console.fail(
                deadline.name, "Windows refused it", remedy="see console: in the guest's definition"
            )

    def _take_over(self, deadline: Deadline) -> None:
        """Give the command prompt a prompt that nothing else prints."""
        self._console.send(f"prompt {self._mark}$G{ENTER}", deadline.name)
        self._expect(self._prompt, deadline)

    def _expect(self, pattern: str, deadline: Deadline) -> Seen:
        seen = self._console.expect([pattern, LEFT], deadline)
        if seen.index == 1:
            self._in_channel = False
            self._console.fail(deadline.name, "the channel was closed")
        return seen

    def run(self, command: str, *, timeout_s: float) -> ExecResult:
        """Run a command to its end. Raises UsageError (not one line), TransportError, DeadlineExceeded, GuestError."""
        deadline = Deadline(f"command {command!r} at the console", timeout_s)
        # The caret goes away when cmd prints the mark, and stays in the echo of what is typed. `ver` sets the error
        # level to 0, which some commands leave alone.
        line = f"ver>nul&echo {self._mark}^[&{one_line(command)}"
        try:
            self._console.send(line + ENTER, deadline.name)
            self._expect(rf"{self._mark}\[\s*?\n", deadline)
            output = self._expect(rf"(?:\r*\n)?{self._prompt}", deadline).before
            self._console.send(f"echo {self._mark}]%errorlevel%{ENTER}", deadline.name)
            status = self._expect(rf"{self._mark}\](-?\d+)\s", deadline).match.group(1)
            self._expect(self._prompt, deadline)
        except DeadlineExceeded:
            with contextlib.suppress(TransportError):
                self._console.send(INTERRUPT, deadline.name)
            raise
        return ExecResult(
            int(status) & 0xFFFFFFFF, unwrap(lines(output), self._columns), "", deadline.elapsed()
        )

    def close(self) -> None:
        """Close the channel, go back to SAC, and end the connection. Idempotent."""
        if self._in_channel:
            self._in_channel = False
            leaving = Deadline("leaving the console", WAKE_S)
            with contextlib.suppress(
                HalpmcError
            ):  # what is wrong was said, or will be to the next one who comes
                for keys in ("exit" + ENTER, TO_SAC + ENTER):
                    self._console.send(keys, leaving.name)
                    self._console.expect([LEFT], leaving)  # typed is not read yet
        self._console.close()


def unwrap(output: str, columns: int) -> str:
    """Join the lines that a screen so wide has broken. (One that fits exactly cannot be told apart.)"""
    return re.sub(
        rf"(?m)^((?:[^\n]{{{columns}}}\n)+)", lambda wrapped: wrapped.group().replace("\n", ""), output
    )
