"""Where things are: the cache of built artifacts, and the data that comes with the project."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from harness.errors import UsageError

CACHE_VARIABLE = "HALPMC_CACHE"
GUESTS_VARIABLE = "HALPMC_GUESTS"


def cache_dir() -> Path:
    """Folder of everything that can be built again: $HALPMC_CACHE, else the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("halpmc"))


def guest_store() -> Path:
    """Folder of guests that were imported or installed: $HALPMC_GUESTS, else in the platform's data folder.

    It is no cache: what is in it cannot be built again without the user's disk or installation medium.
    """
    chosen = os.environ.get(GUESTS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("halpmc")) / "guests"


def project_root() -> Path:
    """The checkout that this package runs from."""
    root = Path(__file__).resolve().parent.parent
    if not (root / "guest_driver").is_dir():
        raise UsageError(
            f"{root} is not a checkout of halpmc: guest_driver/ is missing",
            remedy="install with 'pip install -e .' from a checkout",
        )
    return root


def driver_sources() -> Path:
    """C sources: test driver, client, reference HAL, probe."""
    return project_root() / "guest_driver"


def image_sources() -> Path:
    """Guest definitions and image recipes."""
    return project_root() / "images"


def contract_suite() -> Path:
    """The tests that run inside cells."""
    return project_root() / "tests" / "contract"
