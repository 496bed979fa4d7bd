"""Where things are: the cache of built artifacts, and the data that comes with the project."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from harness.errors import UsageError

CACHE_VARIABLE = "HALPMC_CACHE"
GUESTS_VARIABLE = "HALPMC_GUESTS"

PACKAGE = Path(__file__).resolve().parent
#: Where a wheel has what lies beside the package in a checkout (hatch_build.py puts it there).
PACKED = PACKAGE / "_data"
PACKED_SUITE = PACKAGE / "suite"


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
    """The checkout that this package runs from. Raises UsageError in an installed wheel, which has none."""
    root = PACKAGE.parent
    if is_installed() or not (root / "guest_driver").is_dir():
        raise UsageError(
            f"{root} is not a checkout of halpmc", remedy="run this from a checkout (docs/install.md)"
        )
    return root


def is_installed() -> bool:
    """Whether this is an installed wheel, which carries the project's data in the package and is never written to."""
    return PACKED.is_dir()


def data_root() -> Path:
    """The folder with guest_driver/, images/, baselines/, docs/ and ci/matrices/. Nothing is written there.

    Raises UsageError when the package was copied without its data.
    """
    return PACKED if is_installed() else project_root()


def driver_sources() -> Path:
    """C sources: test driver, client, reference HAL, probe."""
    return data_root() / "guest_driver"


def image_sources() -> Path:
    """Guest definitions and image recipes."""
    return data_root() / "images"


def shipped_baselines() -> Path:
    """The baselines that come with the project."""
    return data_root() / "baselines"


def shipped_matrices() -> Path:
    """The folder of the matrices that come with the project."""
    return data_root() / "ci" / "matrices"


def documentation() -> dict[str, Path]:
    """The pages of the documentation by name, sorted."""
    return {path.stem: path for path in sorted((data_root() / "docs").glob("*.md"))}


def contract_suite() -> Path:
    """The tests that run inside cells."""
    return PACKED_SUITE if is_installed() else project_root() / "tests" / "contract"
