"""A run as an archive that can be given away: redacted, with its reports made anew from the redacted records."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness import __version__
from harness.caching import Say
from harness.errors import InfrastructureError
from harness.report import html, junit, markdown, summary, table
from harness.report.loading import load_run
from harness.report.redact import Redactor, names_in, names_of_this_host
from harness.report.text import count
from harness.report.write import write_reports
from harness.runs.record_file import FILE_NAME as RECORDS
from harness.runs.record_file import scan_records

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_BYTES = 32 << 20
_REPORTS = frozenset(
    {html.FILE_NAME, summary.FILE_NAME, junit.FILE_NAME, markdown.FILE_NAME, table.FILE_NAME}
)
"""Made anew: what they say is not taken from a page that was made before the redaction."""
_DUMPS = frozenset({".dmp", ".kdump", ".elf"})
_PICTURES = frozenset({".png", ".ppm"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundledFile(_Model):
    """A file in the archive: its name, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


class LeftOut(_Model):
    """A file of the run that is not in the archive, and why."""

    name: str
    reason: str


class Manifest(_Model):
    """What an archive holds. `redacted` counts what was taken out, by its kind."""

    schema_version: int = SCHEMA_VERSION
    run: str
    halpmc: str
    redacted: dict[str, int]
    files: tuple[BundledFile, ...]
    left_out: tuple[LeftOut, ...]


def make_bundle(
    run: Path,
    out: Path | None = None,
    *,
    screens: bool = False,
    hide: Iterable[str] = (),
    say: Say = lambda _: None,
) -> tuple[Path, Manifest]:
    """Write the archive of a run, and say what is in it. `hide` are more words to take out.

    Raises UsageError when the folder holds no run, InfrastructureError when the archive cannot be written, or when
    something secret would still be in it.
    """
    load_run(run)  # no archive of what is no run
    run = run.resolve()
    texts: dict[str, str] = {}
    pictures: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name in _REPORTS:
            continue
        reason = _unfit(path, screens)
        if reason:
            left_out.append(LeftOut(name=name, reason=reason))
        elif path.suffix in _PICTURES:
            pictures[name] = path.read_bytes()
        else:
            text = _text(path.read_bytes())
            if text is None:
                left_out.append(LeftOut(name=name, reason="no text: it cannot be redacted"))
            else:
                texts[name] = text
    say(f"bundle: redacting {count(len(texts), 'file')}")
    redactor = Redactor(_words(texts.values(), hide))
    with tempfile.TemporaryDirectory(prefix="halpmc-bundle-") as scratch:
        folder = Path(scratch) / redactor.redact(run.name)
        _write(
            folder, ((redactor.redact(name), _redacted(redactor, name, text)) for name, text in texts.items())
        )
        _write(folder, ((redactor.redact(name), data) for name, data in pictures.items()))
        _check(run, folder)
        write_reports(folder)
        counts = {kind: number for kind, number in redactor.counts.items() if number}
        manifest = Manifest(
            run=folder.name,
            halpmc=__version__,
            redacted=counts,
            files=tuple(_described(folder, path) for path in _files(folder)),
            left_out=tuple(LeftOut(name=redactor.redact(one.name), reason=one.reason) for one in left_out),
        )
        _refuse_secrets(folder, redactor)
        path = out or run.parent / f"{run.name}.halpmc.tar.gz"
        _archive(folder, manifest, path)
    return path, manifest


def _unfit(path: Path, screens: bool) -> str:
    """Why a file stays out, or an empty text."""
    if path.is_symlink() or not path.is_file():
        return "no file of its own"
    if path.suffix in _DUMPS or path.name.startswith("vmcore"):
        return "a memory dump: it holds everything that the guest's memory held"
    if path.suffix in _PICTURES and not screens:
        return "a picture of a screen, which cannot be redacted (--screens takes it in)"
    if path.stat().st_size > MAX_BYTES:
        return f"larger than {MAX_BYTES >> 20} MiB"
    return ""


def _text(data: bytes) -> str | None:
    """A file's text; UTF-16, in which Windows writes some logs, becomes UTF-8. None for what is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\0\0" in data:
        return None
    if data.count(0) * 3 > len(data):
        return data.decode("utf-16-le", "replace")
    return data.decode("utf-8", "replace")


def _redacted(redactor: Redactor, name: str, text: str) -> bytes:
    """A file without its secrets. JSON stays JSON, a line at a time where it is one of lines."""
    if Path(name).suffix == ".jsonl":
        lines = text.split("\n")
        return "\n".join(_redacted_json(redactor, line) if line else "" for line in lines).encode()
    if Path(name).suffix == ".json":
        return _redacted_json(redactor, text, indent=2).encode()
    return redactor.redact(text).encode()


def _redacted_json(redactor: Redactor, text: str, indent: int | None = None) -> str:
    try:
        value = redactor.redact_json(json.loads(text))
    except ValueError:
        return redactor.redact(text)  # half a line that a kill left
    separators = (",", ": ") if indent else (",", ":")
    line = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return line.encode("utf-8", "replace").decode()


def _words(texts: Iterable[str], hide: Iterable[str]) -> dict[str, set[str]]:
    """Names to take out: of this host and its user, and those that the files themselves tell."""
    words = names_of_this_host()
    for text in texts:
        for kind, names in names_in(text).items():
            words[kind] |= names
    return {**words, "word": set(hide)}


def _write(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for name, data in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _check(run: Path, folder: Path) -> None:
    """The records have to be as good as they were: a name that is also a word of the format would break them."""
    before, after = scan_records(run), scan_records(folder)
    if len(before[0]) != len(after[0]) or len(before[1]) != len(after[1]):
        raise InfrastructureError(
            f"{RECORDS} cannot be read after the redaction: a name of a user or host is also a word of the format",
            remedy="copy the run to a machine with other names, and bundle it there",
        )


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def _described(folder: Path, path: Path) -> BundledFile:
    data = path.read_bytes()
    return BundledFile(
        name=str(path.relative_to(folder)), size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


def _refuse_secrets(folder: Path, redactor: Redactor) -> None:
    """Look once more at what would be given away."""
    for path in _files(folder):
        name = str(path.relative_to(folder))
        kind = redactor.left(name)
        if not kind and path.suffix not in _PICTURES:
            kind = redactor.left(path.read_text(encoding="utf-8"), forms_only=name in _REPORTS)
        if kind:
            raise InfrastructureError(
                f"a {kind} is still in {name}: nothing was written",
                remedy="this is a mistake in halpmc; please report it without the run",
            )


def _archive(folder: Path, manifest: Manifest, path: Path) -> None:
    """The same bytes for the same run: no times, no owners."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        with (
            scratch.open("wb") as file,
            gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            _add(tar, f"{folder.name}/{MANIFEST}", manifest.model_dump_json(indent=2).encode() + b"\n")
            for one in _files(folder):
                _add(tar, f"{folder.name}/{one.relative_to(folder)}", one.read_bytes())
        shutil.move(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise InfrastructureError(
            f"{path} cannot be written: {error.strerror}", remedy="choose another place with --out"
        ) from None


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = 0o755 if name.endswith("/run.sh") else 0o644
    tar.addfile(entry, io.BytesIO(data))
