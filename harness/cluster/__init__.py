"""Cells on other hosts: workers that say what they have, and an executor that brings cells to them (docs/lab.md)."""
