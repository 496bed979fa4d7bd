"""The matrices that come with the project, which are called by their names: `halpmc run demo`."""

from __future__ import annotations

from pathlib import Path

from harness.config.suggest import did_you_mean
from harness.errors import UsageError
from harness.paths import shipped_matrices

SUFFIX = ".yaml"


def shipped_names() -> tuple[str, ...]:
    """Their names, sorted."""
    return tuple(sorted(path.stem for path in shipped_matrices().glob(f"*{SUFFIX}")))


def shipped_path(name: str) -> Path:
    """Where the shipped matrix of that name is, or would be."""
    return shipped_matrices() / f"{name}{SUFFIX}"


def find_matrix(given: Path, folder: Path = Path()) -> Path:
    """The file that is meant: `given`, as seen from `folder`; where there is none, the shipped matrix of that name.

    A path with a folder or a suffix is never a name, and is returned whether there is such a file or not. Raises
    UsageError for a name that is neither.
    """
    path = folder / given
    is_there = path.exists() and not path.is_dir()  # a folder is no matrix, and may well be called as one is
    if is_there or len(given.parts) != 1 or given.suffix or given.name == "..":
        return path
    names = shipped_names()
    if given.name in names:
        return shipped_path(given.name)
    raise UsageError(
        f"there is neither a file nor a shipped matrix {str(given)!r}",
        remedy=did_you_mean(given.name, names, plural="shipped matrices"),
    )


def first_words(path: Path) -> str:
    """What a matrix is about: the first line of the comment that it begins with, or nothing."""
    with path.open(encoding="utf-8") as file:
        line = file.readline()
    return line.lstrip("# ").rstrip() if line.startswith("#") else ""
