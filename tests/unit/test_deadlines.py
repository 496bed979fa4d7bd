"""Waits have names, say what they last saw, and scale by one factor."""

from __future__ import annotations

import time

import pytest

from harness.deadlines import Deadline, timeout_factor, wait_for
from harness.errors import DeadlineExceeded, UsageError


def test_expiry_names_the_wait_and_what_was_seen_last() -> None:
    def attempt(deadline: Deadline) -> int | None:
        deadline.last_seen = "connection refused"
        return None

    with pytest.raises(
        DeadlineExceeded, match=r"SSH banner: no answer within 0\.1 s; last seen: connection refused"
    ):
        wait_for("SSH banner", 0.1, attempt, interval=0.01)


def test_an_error_ends_the_wait_at_once() -> None:
    def attempt(_: Deadline) -> int | None:
        raise KeyError("dead")

    began = time.monotonic()
    with pytest.raises(KeyError):
        wait_for("anything", 30, attempt)
    assert time.monotonic() - began < 5


def test_falsy_results_are_results() -> None:
    assert wait_for("zero", 5, lambda _: 0) == 0


def test_the_factor_scales_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_TIMEOUT_FACTOR", "3")
    assert Deadline("x", 10).seconds == 30


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "1e9"])
def test_a_bad_factor_is_a_usage_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALPMC_TIMEOUT_FACTOR", text)
    with pytest.raises(UsageError, match="HALPMC_TIMEOUT_FACTOR"):
        timeout_factor()
