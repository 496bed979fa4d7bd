"""A VM that does not end. Not collected by itself: test_signals.py interrupts the harness that waits for its end."""

from __future__ import annotations

import os
import signal

import pytest

from harness.runs.guest import Guest


@pytest.mark.clause("ALLOC-1")
def test_whose_qemu_is_deaf_afterwards(guest: Guest) -> None:
    os.kill(guest.vm.process.pid, signal.SIGSTOP)
