"""The client's JSON and SHA-256 modules against Python's own, with generated lines."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.driver.client_code import ClientCode

# The C end of text is a NUL, and the client has no use for one.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
READABLE = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**32 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
PIECES = st.sampled_from(
    (*'{}[],:"', "0", "-0", "01", "1.5", "1.", ".5", "1e9", "1e", "+1", "true", "tru", "null", "false", "NaN",
     '"a"', r"\u12", r'"\ud83d\ude00"', r'"\ud83d"', r'"\n"', '"\x01"', " ", "\t", "\n", "\r", "\f", "é", "\ufeff")
)  # fmt: skip
MAX_DEPTH = 32
thorough = settings(deadline=None, max_examples=300)


def python_accepts(line: bytes) -> bool:
    """What RFC 8259 calls JSON, less unpaired surrogates and deep nesting."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=-1)

    def keys_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {f"{number}{key}": value for number, (key, value) in enumerate(pairs)}

    try:
        value = json.loads(line.decode("utf-8"), parse_constant=refuse, object_pairs_hook=keys_of)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except ValueError:
        return False
    return depth(value) <= MAX_DEPTH


@thorough
@given(value=READABLE, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_reads_what_python_writes(
    client_code: ClientCode, value: Any, ascii_only: bool, indent: int | None
) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    parsed = client_code.parse(line)
    assert parsed is not None
    assert parsed.value() == value


@thorough
@given(value=READABLE)
def test_python_reads_what_it_writes(client_code: ClientCode, value: Any) -> None:
    line, full = client_code.write(value)
    assert not full
    assert b"\n" not in line
    assert json.loads(line) == value


@thorough
@given(
    line=st.lists(PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode()) | st.binary(max_size=20)
)
@example(line=b"")
@example(line=b'{"id":1,}')
@example(line=b'{"a":1}{')
@example(line=b'"\xc0\x80"')
@example(line=b'"\xed\xa0\x80"')
@example(line=b'"\xf4\x90\x80\x80"')
@example(line=b'"\xe2\x82"')
@example(line=rb'"\ud83d\u0041"')
@example(line=rb'"\ud83d\ud83d"')
@example(line=rb'"\ude00"')
@example(line=b'"\\')
@example(line=b"-")
def test_accepts_exactly_what_is_json(client_code: ClientCode, line: bytes) -> None:
    assert (client_code.parse(line) is not None) == python_accepts(line)


@thorough
@given(value=READABLE, cut=st.integers(0, 200), put=st.binary(max_size=2))
def test_accepts_exactly_what_is_json_after_damage(
    client_code: ClientCode, value: Any, cut: int, put: bytes
) -> None:
    whole = json.dumps(value, ensure_ascii=False).encode()
    line = whole[:cut] + put + whole[cut + 1 :]
    assert (client_code.parse(line) is not None) == python_accepts(line)


def test_nesting_is_bounded(client_code: ClientCode) -> None:
    assert client_code.parse(b"[" * 33 + b"]" * 33) is not None
    assert client_code.parse(b"[" * 34 + b"]" * 34) is None
    assert client_code.parse(b"[" * 1_000_000) is None


def test_finds_members_by_name(client_code: ClientCode) -> None:
    parsed = client_code.parse(rb' { "ab" : {"x":[1,{"a":2}]} , "\u0061":"first","a":7 } ')
    assert parsed is not None
    first, missing, nested = parsed.member("a"), parsed.member("x"), parsed.member("ab")
    assert first is not None and first.string() == "first"
    assert missing is None
    assert nested is not None and nested.value() == {"x": [1, {"a": 2}]}


def test_numbers_are_bounded(client_code: ClientCode) -> None:
    def read(text: str) -> tuple[int | None, int | None]:
        parsed = client_code.parse(text.encode())
        assert parsed is not None
        return parsed.u32(), parsed.hex()

    assert read("0") == (0, None)
    assert read("4294967295") == (0xFFFF_FFFF, None)
    for text in ("4294967296", "-1", "1.0", "1e3", "99999999999999999999", "true", "null", "[]", '"1"'):
        assert read(text) == (None, None), text
    assert read('"0xffffffffffffffff"') == (None, 2**64 - 1)
    assert read('"0xAb"') == (None, 0xAB)
    for text in ('"0x"', '"0x10000000000000000"', '"ab"', '"0xg"', '"0x1 "', '" 0x1"', '"0X1"'):
        assert read(text) == (None, None), text


@thorough
@given(number=st.integers(0, 2**64 - 1))
def test_hexadecimal_numbers_survive(client_code: ClientCode, number: int) -> None:
    assert json.loads(client_code.put_hex(number)) == hex(number)


def test_strings_with_nul_or_without_room_are_refused(client_code: ClientCode) -> None:
    parsed = client_code.parse(rb'"a\u0000b"')
    assert parsed is not None and parsed.string() is None
    parsed = client_code.parse(b'"' + b"a" * 100 + b'"')
    assert parsed is not None and parsed.string(room=100) is None
    assert parsed.string(room=105) == "a" * 100


@thorough
@given(value=READABLE, room=st.integers(0, 60))
def test_never_writes_behind_the_buffer(client_code: ClientCode, value: Any, room: int) -> None:
    whole, _ = client_code.write(value)
    line, full = client_code.write(value, room)
    assert full == (len(whole) > room)
    assert full or line == whole


@thorough
@given(pieces=st.lists(st.binary(max_size=200), max_size=6))
def test_sha256(client_code: ClientCode, pieces: list[bytes]) -> None:
    assert client_code.sha256(pieces) == hashlib.sha256(b"".join(pieces)).hexdigest()
