"""A small language that chooses cells: `pmu=on and guest~embedded`, `not (smp>2 or tag=slow)`, `nehalem`.

    choice     = either {"or" either}
    either     = part {"and" part}
    part       = "not" part | "(" choice ")" | name operator value | word
    operator   = "=" | "!=" | "~" | "!~" | "<" | "<=" | ">" | ">="

`=` compares whole values, `~` looks for a part of one, both without regard to case; the others compare numbers. A word
alone is a part of a cell's id. A value with other characters than letters, digits and `_+.,:/*-` stands in quotes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.config.suggest import did_you_mean
from harness.errors import UsageError

Facts = Mapping[str, tuple[str, ...]]
"""What is known of a cell: the values of each name, as text. Only `tag` may have another number of them than one."""

Test = Callable[[Facts], bool]

MAX_NESTING = 40
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|!=|!~|[=~<>()])|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<word>[\w+.,:/*-]+))"""
)
_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISONS = ("=", "!=", "~", "!~", *_ORDER)


class ExpressionError(UsageError):
    """An expression is wrong; `column`, from 1, says where."""

    def __init__(self, text: str, column: int, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{text!r}, column {column}: {message}", remedy=remedy)
        self.text, self.column = text, column
        self.evidence["here"] = f"{text}\n{' ' * (column + 7)}^"


@dataclass(frozen=True)
class Name:
    """A name that expressions may use: its possible values where they are known, and whether they are numbers."""

    choices: tuple[str, ...] = ()
    numeric: bool = False


@dataclass(frozen=True)
class Expression:
    """A parsed expression; calling it tells whether a cell with these facts is meant."""

    text: str
    test: Test

    def __call__(self, facts: Facts) -> bool:
        """Whether a cell with these facts is meant."""
        return self.test(facts)


class _Token(NamedTuple):
    text: str
    column: int
    quoted: bool = False


def parse(text: str, names: Mapping[str, Name]) -> Expression:
    """The expression in `text` over these names. ExpressionError, which names the column, for whatever is wrong."""
    return Expression(text, _Parser(text, names).parse())


class _Parser:
    def __init__(self, text: str, names: Mapping[str, Name]) -> None:
        self._text = text
        self._names = names
        self._tokens = self._split()
        self._next = 0

    def parse(self) -> Test:
        test = self._either(0)
        if self._peek() is not None:
            token = self._take()
            raise self._error(token.column, f"{token.text!r} is not expected here", "join parts with and, or")
        return test

    def _split(self) -> list[_Token]:
        tokens, index = [], 0
        end = len(self._text.rstrip())
        while index < end:
            found = _TOKEN.match(self._text, index)
            if found is None:
                start = index + len(self._text[index:]) - len(self._text[index:].lstrip())
                open_quote = self._text[start] in "'\""
                raise self._error(
                    start + 1,
                    "this quote is not closed"
                    if open_quote
                    else f"{self._text[start]!r} does not belong here",
                    "" if open_quote else "put a value with such characters in quotes",
                )
            kind = str(found.lastgroup)
            quoted = kind in ("single", "double")
            tokens.append(_Token(found[kind], found.start(kind) + 1 - quoted, quoted))
            index = found.end()
        return tokens

    def _peek(self, *words: str) -> str | None:
        """The next token's text if there is one (and it is one of `words`, not in quotes)."""
        if self._next == len(self._tokens):
            return None
        token = self._tokens[self._next]
        return token.text if not words or (token.text in words and not token.quoted) else None

    def _take(self) -> _Token:
        if self._next == len(self._tokens):
            raise self._error(len(self._text) + 1, "something is missing at the end")
        self._next += 1
        return self._tokens[self._next - 1]

    def _either(self, depth: int) -> Test:
        if depth > MAX_NESTING:
            raise self._error(self._tokens[self._next - 1].column, "nested too deeply")
        tests = [self._both(depth)]
        while self._peek("or"):
            self._take()
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda facts: any(test(facts) for test in tests)

    def _both(self, depth: int) -> Test:
        tests = [self._part(depth)]
        while self._peek("and"):
            self._take()
            tests.append(self._part(depth))
        return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)

    def _part(self, depth: int) -> Test:
        if self._peek("not"):
            token = self._take()
            if depth > MAX_NESTING:
                raise self._error(token.column, "nested too deeply")
            inner = self._part(depth + 1)
            return lambda facts: not inner(facts)
        if self._peek("("):
            opening = self._take()
            inner = self._either(depth + 1)
            if not self._peek(")"):
                raise self._error(opening.column, "this parenthesis is not closed")
            self._take()
            return inner
        token = self._take()
        if not token.quoted and token.text in (*_COMPARISONS, "(", ")", "and", "or"):
            raise self._error(token.column, f"a name or a word is missing before {token.text!r}")
        if self._peek(*_COMPARISONS):
            return self._comparison(token)
        word = token.text.lower()
        return lambda facts: word in facts["id"][0]

    def _comparison(self, name: _Token) -> Test:
        known = self._names.get(name.text)
        if known is None:
            raise self._error(
                name.column,
                f"there is no name {name.text!r}",
                did_you_mean(name.text, self._names, plural="names"),
            )
        sign = self._take()
        value = self._take()
        if not value.quoted and value.text in (*_COMPARISONS, "(", ")"):
            raise self._error(value.column, f"a value is missing behind {sign.text!r}")
        if sign.text in _ORDER:
            return self._order(name, known, sign.text, value)
        wanted = value.text.lower()
        if sign.text in ("=", "!=") and known.choices and wanted not in known.choices:
            raise self._error(
                value.column,
                f"{name.text} is never {value.text!r}",
                did_you_mean(value.text, known.choices, plural=f"values of {name.text}"),
            )
        key, negated = name.text, sign.text.startswith("!")
        if sign.text in ("=", "!="):
            return lambda facts: any(wanted == seen.lower() for seen in facts[key]) is not negated
        return lambda facts: any(wanted in seen.lower() for seen in facts[key]) is not negated

    def _order(self, name: _Token, known: Name, sign: str, value: _Token) -> Test:
        if not known.numeric:
            raise self._error(name.column, f"{name.text} is no number", "compare it with =, !=, ~ or !~")
        if not re.fullmatch(r"\d{1,18}", value.text, re.ASCII):
            raise self._error(value.column, f"{value.text!r} is no whole number")
        key, number, compare = name.text, int(value.text), _ORDER[sign]
        return lambda facts: any(seen.isdecimal() and compare(int(seen), number) for seen in facts[key])

    def _error(self, column: int, message: str, remedy: str = "") -> ExpressionError:
        return ExpressionError(self._text, column, message, remedy=remedy)
