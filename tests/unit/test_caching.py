"""The build cache: built once, whole or not at all, and a busy lock ends in a clear error."""

from __future__ import annotations

import multiprocessing
from collections import namedtuple
from pathlib import Path

import filelock
import pytest

from harness.caching import cached, content_hash
from harness.errors import BuildError, CacheBusy, NoSpace


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _slow_build(folder: Path) -> None:
    counter = folder.parent / "builds"
    with filelock.FileLock(folder.parent / "builds.lock"):
        counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
    (folder / "artifact").write_bytes(b"a" * 1_000_000)


def _build_in_process(cache_dir: str) -> None:
    import os

    os.environ["HALPMC_CACHE"] = cache_dir
    assert (cached("kind", "name", "d" * 16, _slow_build) / "artifact").stat().st_size == 1_000_000


def test_several_processes_build_an_entry_once(cache: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_build_in_process, args=(str(cache),))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (cache / "kind" / "builds").read_text() == "x"


def test_a_failed_build_leaves_nothing_and_the_next_one_works(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise BuildError("compiler said no")

    with pytest.raises(BuildError, match="compiler said no"):
        cached("kind", "name", "0" * 16, fail)
    assert [p.name for p in (cache / "kind").iterdir() if not p.name.endswith(".lock")] == []
    assert (
        cached("kind", "name", "0" * 16, lambda folder: (folder / "whole").touch()).joinpath("whole").exists()
    )


def test_what_a_killed_builder_left_is_removed(cache: Path) -> None:
    (cache / "kind" / (".name-" + "0" * 16 + ".tmp-dead")).mkdir(parents=True)
    cached("kind", "name", "0" * 16, lambda folder: (folder / "whole").touch())
    assert not list((cache / "kind").glob("*.tmp-*")) + list((cache / "kind").glob(".*.tmp-*"))


def test_a_busy_lock_says_who_waits_for_what(cache: Path) -> None:
    (cache / "kind").mkdir(parents=True)
    said: list[str] = []
    with (
        filelock.FileLock(cache / "kind" / (".name-" + "0" * 16 + ".lock")),
        pytest.raises(CacheBusy, match="kind/name"),
    ):
        cached("kind", "name", "0" * 16, lambda _: None, say=said.append, lock_wait_s=0.1)
    assert said == ["another process is building kind/name; waiting for it"]


def test_too_little_space_is_said_before_anything_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 10, 1 << 28))
    with pytest.raises(NoSpace, match=r"needs 2\.0 GiB .* has 0\.2 GiB free.*HALPMC_CACHE"):
        cached("kind", "name", "0" * 16, lambda _: pytest.fail("built"), needs_bytes=2 << 30)


def test_the_hash_sees_names_contents_modes_and_extras(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "a.c"
    file.write_text("int x;")
    seen = {content_hash([tree])}
    file.chmod(0o755)
    seen.add(content_hash([tree]))
    file.write_text("int y;")
    seen.add(content_hash([tree]))
    file.rename(tree / "b.c")
    seen.add(content_hash([tree]))
    seen.add(content_hash([tree], ["toolchain 2"]))
    assert len(seen) == 5
