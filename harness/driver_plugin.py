r"""pytest fixtures for drivers of one's own: `load_driver(path)` loads any .sys file into a guest for one test.

Use: `pytest_plugins = ["harness.driver_plugin"]` in conftest.py. The guest is the embedded one, or $HALPMC_GUEST; it
boots when a test first needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.runs.own_driver import LoadedDriver, OwnGuest

GUEST_VARIABLE = "HALPMC_GUEST"
DEFAULT_GUEST = "embedded"


@pytest.fixture(scope="session")
def own_guest(tmp_path_factory: pytest.TempPathFactory) -> Generator[OwnGuest, None, None]:
    """The guest that drivers are loaded into; one for the whole session."""
    from harness.runs import own_driver  # noqa: PLC0415 - no VM code before a test needs a VM

    name = os.environ.get(GUEST_VARIABLE, DEFAULT_GUEST)
    with own_driver.own_guest(name, tmp_path_factory.mktemp("guest")) as guest:
        yield guest


@pytest.fixture
def load_driver(own_guest: OwnGuest) -> Generator[Callable[..., LoadedDriver], None, None]:
    """`load_driver(path, service=None)`: the driver runs until the test ends, then it is unloaded and deleted."""
    with ExitStack() as stack:

        def load(path: Path, service: str | None = None) -> LoadedDriver:
            return stack.enter_context(own_guest.loaded(path, service))

        yield load
