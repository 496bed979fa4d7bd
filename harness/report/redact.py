"""Taking names and secrets out of text. What has a known form is found; a secret without a form is not."""

from __future__ import annotations

import getpass
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SEPARATOR = r"(?:\\+|/+)"  # in JSON a backslash is written twice, in JSON inside JSON four times
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf]))"  # an escaped line feed in front of a name is no letter of it
_END = r"(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"  # a key that was cut off is a key
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(rf"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?{_END}", re.DOTALL)),
    (
        "public key",
        re.compile(
            _START + r"(?:ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9]+) AAAA[A-Za-z0-9+/=]+(?: [^\s\"\\]+@[^\s\"\\]+)?"
        ),
    ),
    ("product key", re.compile(_START + r"(?<!-)[A-Za-z0-9]{5}(?:-[A-Za-z0-9]{5}){4}(?![A-Za-z0-9-])")),
    (
        "password",
        re.compile(
            r"(?i)((?:password|passwd|passphrase|secret|token)[\\\"']*\s*[=:]\s*[\\\"']*)(?![\\\"'\[])[^\s\"'\\,;<>]+"
        ),
    ),
    (
        "mail address",
        re.compile(_START + r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"),
    ),
    ("host name", re.compile(_START + r"(?:DESKTOP|LAPTOP|WIN)-[A-Z0-9]{7,11}\b")),
)
"""Secrets by their form; a group in front is kept. The last is what Windows calls a machine that nobody named."""
_USER_PATHS = re.compile(
    rf"(?i)(?:/home/|[a-z]:{_SEPARATOR}(?:users|documents and settings){_SEPARATOR}|/users/)"
    r"([^\\/\s\"':;<>|]+(?: [^\\/\s\"':;<>|]+)+(?=[\\/])|[^\\/\s\"':;<>|]+)"  # one with spaces ends at a separator
)
_HOST_NAMES = re.compile(r"(?i)(?:computername|hostname|userdomain)\s*[=:]\s*\"?([A-Za-z0-9_-]+)")
# fmt: off
_NOBODY = frozenset({
    "root", "administrator", "admin", "public", "default", "defaultuser0", "all", "users", "user", "nobody",
    "systemprofile", "halpmc", "wine", "name", "none", "unknown", "localhost", "localdomain", "host", "guest", "vm",
    "test", "ci", "runner", "build", "debian", "ubuntu", "fedora",
})
# fmt: on
"""Names that tell nothing of anybody."""


class Redactor:
    """Replaces what is secret by what it was, such as [user name], and counts it.

    `words` are names by their kind: they are replaced wherever they stand alone, in any case of letters.
    """

    def __init__(self, words: Mapping[str, Iterable[str]]) -> None:
        self.counts: Counter[str] = Counter()
        self._forms = list(_FORMS)
        for kind, names in words.items():
            # The longest first: of host.example.org not only the first part.
            wanted = sorted(
                {name for name in names if name.lower() not in _NOBODY and name}, key=len, reverse=True
            )
            if wanted:
                any_of = "|".join(map(re.escape, wanted))
                self._forms.append((kind, re.compile(rf"(?i){_START}(?:{any_of})(?![A-Za-z0-9])")))

    def redact(self, text: str) -> str:
        """The text without what is known to be secret."""
        for kind, form in self._forms:
            text, number = form.subn(rf"\g<1>[{kind}]" if form.groups else f"[{kind}]", text)
            self.counts[kind] += number
        return text

    def redact_json(self, value: Any) -> Any:
        """The same for every text in what JSON can say, keys included: no escape hides the beginning of a name."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(key): self.redact_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact_json(item) for item in value]
        return value

    def left(self, text: str, *, forms_only: bool = False) -> str:
        """The kind of the first secret that is still in a text, or an empty text.

        With `forms_only` names are not looked for: in a report they may be words of our own.
        """
        forms = _FORMS if forms_only else self._forms
        return next((kind for kind, form in forms if form.search(text)), "")


def names_of_this_host() -> dict[str, set[str]]:
    """Who runs this and on which machine: the names that must not leave it."""
    host = socket.gethostname()
    return {
        "host name": {host, host.split(".")[0], socket.getfqdn()},
        "user name": {getpass.getuser(), Path.home().name},
    }


def names_in(text: str) -> dict[str, set[str]]:
    """Names of users that paths tell, and of machines that environment variables tell."""
    return {"user name": set(_USER_PATHS.findall(text)), "host name": set(_HOST_NAMES.findall(text))}
