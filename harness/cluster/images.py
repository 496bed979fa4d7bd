"""Guest images on their way to a worker: offered with the hash of each file, taken once per host, never half there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from harness.caching import Say, built_once
from harness.config.base import Model
from harness.config.load import load_guest
from harness.errors import CacheBusy, HalpmcError, InfrastructureError
from harness.imaging.manifest import sha256_of
from harness.imaging.store import DISK, GuestImage, find_guest
from harness.imaging.use import hold
from harness.paths import cache_dir

KIND = "fetched"
CHUNK_BYTES = 4 << 20
LOCK_TICK_S = 1.0
MIB = 1 << 20


class ImageFile(Model):
    """One file of an image. Its time is kept: the manifest knows the disk by it, too."""

    name: str
    bytes: int
    sha256: str
    mode: int
    mtime_ns: int


class ImageOffer(Model):
    """A guest's image by its content. `disk_sha256` is the hash by which a worker knows that it has it already."""

    guest: str
    disk_sha256: str
    files: tuple[ImageFile, ...]

    @property
    def digest(self) -> str:
        """One hash over all files."""
        parts = (f"{file.name}\0{file.bytes}\0{file.sha256}\0" for file in self.files)
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)


#: A piece of a file: the file's number in the offer, the offset in it, its bytes.
Chunk = tuple[int, int, bytes]
#: Called by a worker that has to wait; raises when it shall not any more.
Check = Callable[[], None]


def offer(image: GuestImage) -> ImageOffer:
    """What a run can send of an image. The disk's hash is the manifest's: whoever receives it will compare."""
    files = []
    for path in sorted(path for path in image.folder.iterdir() if path.is_file()):
        status = path.stat()
        digest = image.manifest.disk_sha256 if path.name == DISK else sha256_of(path)
        files.append(
            ImageFile(
                name=path.name,
                bytes=status.st_size,
                sha256=digest,
                mode=status.st_mode & 0o777,
                mtime_ns=status.st_mtime_ns,
            )
        )
    return ImageOffer(guest=image.definition.name, disk_sha256=image.manifest.disk_sha256, files=tuple(files))


def chunks(folder: Path, wanted: ImageOffer) -> Iterator[Chunk]:
    """The content of an offer's files in their order; an empty file has one empty chunk."""
    for number, file in enumerate(wanted.files):
        with (folder / file.name).open("rb") as source:
            offset = 0
            while True:
                data = source.read(CHUNK_BYTES)
                if data or not offset:
                    yield number, offset, data
                offset += len(data)
                if offset >= file.bytes or not data:
                    break


def present(wanted: ImageOffer) -> bool:
    """Whether this host has the image itself, built or imported here: the same disk."""
    try:
        return find_guest(wanted.guest).manifest.disk_sha256 == wanted.disk_sha256
    except HalpmcError:
        return False


def take(wanted: ImageOffer, receive: Callable[[], Iterator[Chunk]], *, check: Check, say: Say) -> Path:
    """The guest store with the image alone in it, filled from `receive` if no one on this host did before.

    Processes of one host wait for each other. Raises InfrastructureError when what comes is not what was offered:
    nothing of it stays; NoSpace; what `receive` and `check` raise.
    """
    name = wanted.guest
    if not all(_is_name(text) for text in (name, *(file.name for file in wanted.files))):
        raise InfrastructureError("an image was offered with names that are paths: refused")
    entry = cache_dir() / KIND / f"{name}-{wanted.digest}"

    def build(scratch: Path) -> None:
        say(f"fetching guest {name} from the run's host: {wanted.bytes / MIB:.0f} MiB")
        (scratch / name).mkdir()
        _fill(scratch / name, wanted, receive())
        say(f"guest {name} is here, and verified")

    while True:
        check()
        try:
            built_once(
                entry,
                f"{KIND}/{name}",
                build,
                needs_bytes=wanted.bytes,
                say=say,
                lock_wait_s=LOCK_TICK_S,
            )
        except CacheBusy:
            continue  # someone else on this host fetches it
        hold(entry / name)
        return entry


def _is_name(text: str) -> bool:
    return PurePosixPath(text).name == text and text not in ("", ".", "..")


def _fill(folder: Path, wanted: ImageOffer, received: Iterator[Chunk]) -> None:
    for number, file in enumerate(wanted.files):
        digest, offset = hashlib.sha256(), 0
        path = folder / file.name
        with path.open("xb") as target:
            while offset < file.bytes or not target.tell():
                which, where, data = next(received)
                if (which, where) != (number, offset) or offset + len(data) > file.bytes:
                    raise _corrupted(wanted, f"{file.name} came out of step")
                target.write(data)
                digest.update(data)
                offset += len(data)
                if not data:
                    break
            target.flush()
            os.fsync(target.fileno())
        if offset != file.bytes or digest.hexdigest() != file.sha256:
            raise _corrupted(
                wanted, f"{file.name} arrived with SHA-256 {digest.hexdigest()}, not {file.sha256}"
            )
        path.chmod(file.mode)
        os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


def _corrupted(wanted: ImageOffer, why: str) -> InfrastructureError:
    return InfrastructureError(
        f"the image of guest {wanted.guest!r} was refused: {why}",
        remedy="run again; if it stays, is the image on the run's host still what was built? (halpmc doctor)",
    )


def offers(guests: Collection[str], spare: Collection[str] = ()) -> dict[str, tuple[ImageOffer, Path]]:
    """What a run can send of these guests, with the folder of each. Raises what is missing here, but of `spare`."""
    found = {}
    for name in sorted({*guests, *spare}):
        try:
            image = find_guest(load_guest(name).name)
        except HalpmcError:
            if name in guests:
                raise
            continue
        found[name] = (offer(image), image.folder)
    return found
