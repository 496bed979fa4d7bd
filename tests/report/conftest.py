"""Fixtures of the tests of reports."""

from __future__ import annotations

from tests.report.browser import chromium, watched

__all__ = ["chromium", "watched"]
