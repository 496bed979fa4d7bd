"""Images on their way to workers: once per host, known by their hash, and nothing that is not what was offered."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.cluster.images import CHUNK_BYTES, Chunk, ImageOffer, chunks, offer, offers, take
from harness.config.models import Arch, GuestKind
from harness.config.requirements import Requirements
from harness.errors import InfrastructureError
from harness.imaging.manifest import FILE_NAME, Manifest, sha256_of
from harness.imaging.store import DISK, HOST_KEY, KEY, find_guest
from harness.runs.executor import CellJob
from tests.unit.cluster_lab import LabOfTest, Run, cell, lab_in, runs_on

GUEST = "embedded"


def image_in(store: Path) -> Path:
    """An image of the embedded guest in a guest store, as if another host had given it; it takes three pieces."""
    folder = store / GUEST
    folder.mkdir(parents=True)
    disk = folder / DISK
    disk.write_bytes(os.urandom(2 * CHUNK_BYTES + 1))
    disk.chmod(0o444)
    (folder / KEY).write_text("private")
    (folder / KEY).chmod(0o600)
    (folder / HOST_KEY).write_text("ssh-ed25519 AAAA guest\n")
    (folder / "empty").touch()
    manifest = Manifest(
        name=GUEST,
        kind=GuestKind.WINE,
        os="Debian",
        arch=Arch.X86_64,
        built_at=datetime.now(UTC),
        built_by="halpmc 0",
        disk_sha256=sha256_of(disk),
        disk_bytes=disk.stat().st_size,
        disk_mtime_ns=disk.stat().st_mtime_ns,
    )
    (folder / FILE_NAME).write_text(manifest.model_dump_json())
    return folder


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's own image."""
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path / "cache-run"))
    monkeypatch.setenv("HALPMC_GUESTS", str(tmp_path / "guests-run"))
    return image_in(tmp_path / "guests-run")


@pytest.fixture
def lab(tmp_path: Path, image: Path) -> Generator[LabOfTest, None, None]:
    with lab_in(tmp_path) as made:
        yield made


@pytest.fixture
def start(lab: LabOfTest) -> Generator[Callable[..., Run], None, None]:
    with runs_on(lab) as begin:
        yield begin


def worker(lab: LabOfTest, *names: str, slots: int = 1) -> None:
    """Workers that are hosts of their own: each with a guest store, too."""
    for name in names:
        store = {"HALPMC_GUESTS": str(lab.home / f"guests-{name}")}
        lab.worker(name, slots=slots, environment=store, ready=False)
    lab.wait_ready(*names)


def test_an_image_is_fetched_once_per_host(lab: LabOfTest, start: Callable[..., Run], image: Path) -> None:
    worker(lab, "one", "two", slots=2)
    run = start(offers({GUEST}))
    lab.end(*"abcde")
    assert run(*(CellJob(cell(name, guest=GUEST)) for name in "abcde"))
    assert run.incidents() == []
    hosts = {worker for _, worker in lab.began()}
    assert hosts == {"one", "two"}
    for host in hosts:
        assert lab.log(host).count("fetching guest") == 1, lab.log(host)
    for name, host in lab.began():
        store = Path(json.loads(run.text(name, "environment.json"))["HALPMC_GUESTS"])
        assert store.parent == lab.home / f"cache-{host}" / "fetched"
        for file in image.iterdir():
            there = store / GUEST / file.name
            assert there.read_bytes() == file.read_bytes()
            assert (there.stat().st_mode, there.stat().st_mtime_ns) == (
                file.stat().st_mode,
                file.stat().st_mtime_ns,
            )


def test_a_host_that_has_the_image_is_sent_nothing(
    lab: LabOfTest, start: Callable[..., Run], image: Path
) -> None:
    """It is known by its hash: another image of the same guest is not the one, and `guest: present` means this one."""
    shutil.copytree(image.parent, lab.home / "guests-has", copy_function=shutil.copy2)
    image_in(lab.home / "guests-other")
    worker(lab, "has", "other")
    run = start(offers({GUEST}))
    lab.end("a", "b")
    present = Requirements(guest="present")
    assert run(*(CellJob(cell(name, guest=GUEST), requires=present) for name in "ab"))
    assert run.incidents() == []
    assert {worker for _, worker in lab.began()} == {"has"}
    assert "fetching" not in lab.log("has") + lab.log("other")
    store = json.loads(run.text("a", "environment.json"))["HALPMC_GUESTS"]
    assert store == str(lab.home / "guests-has")


def test_an_image_that_does_not_arrive_as_it_was_is_refused(
    lab: LabOfTest, start: Callable[..., Run], image: Path
) -> None:
    worker(lab, "one")
    run = start(offers({GUEST}))
    damage(image / DISK)
    lab.end("a", "b")
    assert run(CellJob(cell("a", guest=GUEST)), CellJob(cell("b")))
    (incident,) = run.incidents()
    assert incident.cell == "a"
    assert "image of guest 'embedded' was refused: disk.qcow2 arrived with SHA-256" in incident.message
    assert {name for name, _ in lab.began()} == {"b"}, "no VM boots from it"
    assert [path for path in (lab.home / "cache-one" / "fetched").glob("*") if path.is_dir()] == []


def damage(path: Path) -> None:
    """Other content, the same size and time: only reading it all tells."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# -- without a lab -------------------------------------------------------------------------------------------------


def taken(wanted: ImageOffer, sent: list[Chunk]) -> Path:
    return take(wanted, lambda: iter(sent), check=lambda: None, say=lambda _: None)


def test_what_was_taken_is_found_and_not_asked_for_again(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = offer(find_guest(GUEST))
    store = taken(wanted, list(chunks(image, wanted)))
    assert taken(wanted, []) == store
    monkeypatch.setenv("HALPMC_GUESTS", str(store))
    found = find_guest(GUEST)
    assert found.folder == store / GUEST
    assert found.manifest.disk_sha256 == wanted.disk_sha256


@pytest.mark.parametrize("what", ["missing", "swapped", "twice", "longer"])
def test_pieces_that_are_out_of_step_are_refused(what: str, image: Path, tmp_path: Path) -> None:
    wanted = offer(find_guest(GUEST))
    sent = list(chunks(image, wanted))
    at = next(i for i, (number, _, _) in enumerate(sent) if wanted.files[number].name == DISK)
    match what:
        case "missing":
            del sent[at + 1]
        case "swapped":
            sent[at], sent[at + 1] = sent[at + 1], sent[at]
        case "twice":
            sent.insert(at, sent[at])
        case "longer":
            number, offset, data = sent[at + 2]
            sent[at + 2] = (number, offset, data + b"!")
    with pytest.raises(InfrastructureError, match="came out of step"):
        taken(wanted, sent)
    assert [path for path in (tmp_path / "cache-run" / "fetched").glob("*") if path.is_dir()] == []


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", "a/b", ".."])
def test_names_that_are_paths_are_refused(name: str, image: Path, tmp_path: Path) -> None:
    wanted = offer(find_guest(GUEST))
    first = wanted.files[0].model_copy(update={"name": name})
    with pytest.raises(InfrastructureError, match="names that are paths"):
        taken(wanted.model_copy(update={"files": (first, *wanted.files[1:])}), [])
    with pytest.raises(InfrastructureError, match="names that are paths"):
        taken(wanted.model_copy(update={"guest": name}), [])
    assert not (tmp_path / "cache-run" / "fetched").exists()


def test_the_digest_is_over_names_and_contents(image: Path) -> None:
    wanted = offer(find_guest(GUEST))
    disk = next(file for file in wanted.files if file.name == DISK)
    assert disk.sha256 == hashlib.sha256((image / DISK).read_bytes()).hexdigest()
    (image / KEY).chmod(0o600)
    (image / KEY).write_text("another")
    assert offer(find_guest(GUEST)).digest != wanted.digest
