"""Tests whose clones do not start at once. Not collected by itself: test_retries.py refuses the starts."""

from __future__ import annotations

import pytest

from harness.runs.guest import Guest


@pytest.mark.clause("ALLOC-1")
def test_refused_once(guest: Guest) -> None:
    assert guest.facts


@pytest.mark.clause("ALLOC-2")
def test_refused_twice(guest: Guest) -> None:
    assert guest.facts


@pytest.mark.clause("ALLOC-3")
def test_not_refused(guest: Guest) -> None:
    assert guest.facts
