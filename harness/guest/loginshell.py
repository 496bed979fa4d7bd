"""A Unix login shell at a serial console: with or without a login, commands with their output and exit codes."""

from __future__ import annotations

import contextlib
import secrets
import shlex
from itertools import cycle

from harness.deadlines import Deadline
from harness.errors import DeadlineExceeded, HalpmcError, TransportError
from harness.guest.console import ENTER, INTERRUPT, Console, lines, one_line
from harness.guest.transport import ExecResult

WAKE_S = 1.0
LOGIN, PASSWORD = r"(?i)(?<!last )\blogin: ?\Z", r"(?i)\bpassword: ?\Z"
REFUSED = r"(?i)login incorrect|authentication fail|login timed out"
#: How prompts of shells end. Other text may, too: whether it is one, the shell itself has to say.
PROMPT = r"[#$%>] ?\Z"


class LoginShell:
    """A shell as harness.guest.console.ConsoleShell. Every command runs in a subshell of its own, without input.

    What the guest's kernel prints on its console meanwhile stands in the output. Not for output that is no text.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = True

    @classmethod
    def open(cls, console: Console, *, user: str | None, password: str, timeout_s: float) -> LoginShell:
        """Wake whatever sits at the console, log in if it asks for that, and have the shell answer.

        Steps: "console prompt", "console login". Raises TransportError and DeadlineExceeded.
        """
        shell = cls(console)
        deadline = Deadline("console prompt", timeout_s)
        # The second time it may be a new shell, in the place of the last one; the third time something runs there.
        for keys in cycle((ENTER, ENTER, INTERRUPT + ENTER)):
            console.send(keys, deadline.name)
            seen = console.try_expect([LOGIN, PASSWORD, PROMPT], deadline, WAKE_S)
            if seen is not None and seen.index == 0:
                shell._log_in(user, password, deadline)
            if seen is not None and seen.index in (0, 2) and shell._answers(deadline):
                return shell
        raise AssertionError  # the deadline ends the loop

    def _log_in(self, user: str | None, password: str, deadline: Deadline) -> None:
        if user is None:
            self._console.fail(
                "console login",
                "the guest asks for a user",
                remedy="name one in the guest's definition (console: user)",
            )
        step = Deadline(f"console login of {user}", deadline.remaining_unscaled())
        self._console.send(user + ENTER, step.name)
        seen = self._console.expect([REFUSED, LOGIN, PASSWORD, PROMPT], step)
        if seen.index == 2:
            self._console.send(password + ENTER, step.name)
            seen = self._console.expect([REFUSED, LOGIN, PASSWORD, PROMPT], step)
        if seen.index != 3:
            self._console.fail(
                step.name, "the guest refused it", remedy="see console: in the guest's definition"
            )

    def _answers(self, deadline: Deadline) -> bool:
        """Whether a shell reads what is typed; the echo of the question is not the answer."""
        mark = secrets.token_hex(4)
        self._console.send(f"printf '%s%s\\n' halpmc- {mark}{ENTER}", deadline.name)
        return self._console.try_expect([f"halpmc-{mark}"], deadline, WAKE_S) is not None

    def run(self, command: str, *, timeout_s: float) -> ExecResult:
        """Run a command to its end. Raises UsageError (not one line), TransportError, DeadlineExceeded, GuestError."""
        deadline = Deadline(f"command {command!r} at the console", timeout_s)
        mark = secrets.token_hex(4)
        # The shell puts the marks together: they stand in its output, and not in the echo of what is typed.
        begin, end = (
            f"printf '\\n%s%s{more}\\n' {word}- {mark}" for word, more in (("begin", ""), ("end", ":%d"))
        )
        body = f"(eval {shlex.quote(one_line(command))}) </dev/null 2>&1"
        try:
            self._console.send(f"{begin}; {body}; {end} $?{ENTER}", deadline.name)
            self._console.expect([rf"begin-{mark}\r*\n"], deadline)
            seen = self._console.expect([rf"\r*\nend-{mark}:(\d+)\r*\n"], deadline)
        except DeadlineExceeded:
            with contextlib.suppress(TransportError):
                self._console.send(INTERRUPT, deadline.name)
            raise
        return ExecResult(int(seen.match.group(1)), lines(seen.before), "", deadline.elapsed())

    def close(self) -> None:
        """Log out, and end the connection. Idempotent."""
        if self._open:
            self._open = False
            leaving = Deadline("leaving the console", WAKE_S)
            with contextlib.suppress(
                HalpmcError
            ):  # what is wrong was said, or will be to the next one who comes
                self._console.send("exit" + ENTER, leaving.name)
                self._console.expect([r"exit\r*\n"], leaving)  # typed is not read yet
            self._console.close()
