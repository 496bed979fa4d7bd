"""Building the guest's binaries: cached, reproducible, and clear about what is wrong with the sources."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.driver import build
from harness.driver.build import DriverBuild, build_driver
from harness.errors import BuildError


def test_is_built_once(driver_build: DriverBuild, arch: Arch) -> None:
    said: list[str] = []
    assert build_driver(arch, say=said.append) == driver_build
    assert said == []


def test_equal_sources_give_equal_files(
    driver_build: DriverBuild, arch: Arch, tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere and later: neither a path nor a time is inside."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(sources, copy)
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    monkeypatch.setattr(build, "cached", _uncached(tmp_path / "built"))
    again = build_driver(arch)
    assert again.folder != driver_build.folder
    assert (again.sys.sha256, again.client.sha256, again.hal.sha256) == (
        driver_build.sys.sha256,
        driver_build.client.sha256,
        driver_build.hal.sha256,
    )


def test_a_mistake_in_the_sources_is_named(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "broken"
    shutil.copytree(sources, copy)
    header = copy / "include" / "pmctest.h"
    header.write_text(header.read_text() + "\n#error unfinished\n")
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    monkeypatch.setattr(build, "cached", _uncached(tmp_path / "built"))
    with pytest.raises(BuildError, match=r"pmctest\.h:\d+:\d+: error: unfinished") as caught:
        build_driver()
    assert "pmctest.h" in caught.value.evidence["last lines"]


def _uncached(folder: Path) -> Callable[..., Path]:
    def cached(kind: str, name: str, digest: str, make: Callable[[Path], None], **_: object) -> Path:
        folder.mkdir()
        make(folder)
        return folder

    return cached
