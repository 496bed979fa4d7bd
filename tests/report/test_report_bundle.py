"""halpmc bundle: planted secrets are gone, everywhere; what is left is still a run."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from pathlib import Path

import jsonschema
import pytest

from harness.contract.outcomes import Outcome
from harness.errors import InfrastructureError, UsageError
from harness.report import redact
from harness.report.bundle import make_bundle
from harness.report.embed import unpacked
from harness.report.redact import Redactor, names_in
from harness.report.schemas import json_schema
from harness.report.summary import summarize
from harness.report.write import write_reports
from tests.report.pictures import png
from tests.report.synthetic import demo
from tests.unit.test_cli import halpmc

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----"
SECRETS = {
    "key": ("b3BlbnNzaC1rZXktdjEAAAAA", KEY),
    "public key": (
        "AAAAC3NzaC1lZDI1NTE5AAAAIJ",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+x/y quill@workbench",
    ),
    "product key": ("QX7PK-", "the key is QX7PK-2B9TT-ABCDE-12345-ZZZZZ."),
    "user": ("quill", r"C:\Users\Quill\AppData and /home/quill/x, says QUILL"),
    "user with a space": ("pat q. roe", r"C:\Users\Pat Q. Roe\x and C:/Users/pat q. roe/y"),
    "host": ("workbench", "reached workbench.example.org (workbench)"),
    "windows name": ("DESKTOP-8F3K2LQ", "logon DESKTOP-8F3K2LQ\\quill"),
    "named machine": ("GAMMA7", "COMPUTERNAME=GAMMA7, then gamma7"),
    "password": ("hunter2", 'password: hunter2, PASSWORD=hunter2 "passwd": "hunter2"'),
    "mail": ("quill.major@example.org", "by quill.major@example.org"),
    "project": ("bluebird", "Project Bluebird"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in which every secret stands in the records, in logs, in a file's name, in UTF-16, and in old reports."""
    names = {"host name": {"workbench.example.org", "workbench"}, "user name": {"quill"}}
    monkeypatch.setattr(
        "harness.report.bundle.names_of_this_host", lambda: {k: set(v) for k, v in names.items()}
    )
    folder = demo(tmp_path / "20250314-demo", {"embedded-max-pmu_on": {"FREE-2": Outcome.FAIL}})
    everything = "\n".join(text for _, text in SECRETS.values())
    home = folder / "cells" / "embedded-max-pmu_on-shared-grant"
    records = (folder / "records.jsonl").read_text().splitlines()
    clause = next(json.loads(line) for line in records if '"FREE-2"' in line and '"clause"' in line)
    clause["reason"] = everything
    clause["observations"] = [
        ["nested", json.dumps({"deep": json.dumps({"deeper": everything})})],
        [everything, 1],
    ]
    incident = {"type": "incident", "time": clause["time"], "cell": clause["cell"], "branch": "guest"}
    incident |= {"message": everything, "evidence": {everything: everything}}
    records[-1:-1] = [json.dumps(clause), json.dumps(incident)]
    (folder / "records.jsonl").write_text("\n".join(records) + "\n")
    (home / "serial.log").write_text(everything)
    (home / "of quill.log").write_text("x")
    (home / "system.txt").write_bytes(everything.encode("utf-16"))
    (home / "plain16.txt").write_bytes(everything.encode("utf-16-le"))
    (home / "cut.log").write_text(KEY[:60])
    (home / "memory.dmp").write_bytes(b"PAGEDU64" + everything.encode())
    (home / "vmcore.elf").write_bytes(everything.encode())
    (home / "screen.png").write_bytes(png(8, 8))
    (home / "data.bin").write_bytes(b"\0\0\0\0" + everything.encode())
    (home / "linked").symlink_to("/etc/passwd")
    write_reports(folder)
    return folder


def files_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert all(member.isfile() and member.mtime == 0 and member.uname == "" for member in members)
        return {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def texts_of(files: dict[str, bytes]) -> str:
    """All text of an archive, names of files and what is packed inside of the page included."""
    parts = [*files]
    for name, data in files.items():
        parts.append(data.decode("utf-8", "replace").replace("\0", ""))  # a text in UTF-16 hides nothing
        if name.endswith("report.html"):
            packed = re.findall(r'class="details">([^<]+)<', data.decode())
            assert packed
            parts += [json.dumps(unpacked(text), ensure_ascii=False) for text in packed]
    return "\n".join(parts)


def test_no_planted_secret_is_left_anywhere(run: Path) -> None:
    path, manifest = make_bundle(run, hide=["Bluebird"])
    text = texts_of(files_of(path)).lower()
    for kind, (secret, _) in SECRETS.items():
        where = text.find(secret.lower())
        assert where < 0, f"{kind}: {text[max(0, where - 200) : where + 100]}"
    assert "root:" not in text
    assert KEY[30:60].rsplit("\n", maxsplit=1)[-1] not in text, "a key that was cut off"
    assert set(manifest.redacted) >= {
        "private key",
        "public key",
        "product key",
        "user name",
        "host name",
        "password",
    }


def test_it_is_still_the_same_run(run: Path, tmp_path: Path) -> None:
    path, manifest = make_bundle(run)
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    folder = tmp_path / "out" / run.name
    before, after = summarize(run), summarize(folder)
    assert (after.exit_code, after.counts, after.planned) == (before.exit_code, before.counts, before.planned)
    assert [cell.verdict for cell in after.cells] == [cell.verdict for cell in before.cells]
    listed = json.loads((folder / "manifest.json").read_text())
    jsonschema.validate(listed, json_schema("bundle"))
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert {file.name for file in manifest.files} == there
    assert there >= {"report.html", "summary.json", "records.jsonl", "junit.xml", "report.md", "results.csv"}


def test_what_cannot_be_redacted_stays_out_and_is_named(run: Path) -> None:
    _, manifest = make_bundle(run)
    out = {Path(one.name).name: one.reason for one in manifest.left_out}
    assert set(out) == {"memory.dmp", "vmcore.elf", "screen.png", "data.bin", "linked"}
    assert "memory dump" in out["memory.dmp"]
    files = files_of(make_bundle(run, screens=True)[0])
    assert any(name.endswith("screen.png") for name in files)


def test_the_same_run_gives_the_same_archive(run: Path, tmp_path: Path) -> None:
    first, _ = make_bundle(run, tmp_path / "a.tar.gz")
    second, _ = make_bundle(run, tmp_path / "b.tar.gz")
    assert gzip.decompress(first.read_bytes()) == gzip.decompress(second.read_bytes())


def test_a_secret_that_is_still_there_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look finds what an earlier step let through, and then there is no archive."""
    monkeypatch.setattr(Redactor, "redact", lambda _self, text: text)
    with pytest.raises(InfrastructureError, match="still in"):
        make_bundle(run)
    assert not list(run.parent.glob("*.tar.gz"))


def test_a_name_that_is_a_word_of_the_format_is_refused(run: Path) -> None:
    with pytest.raises(InfrastructureError, match="also a word of the format"):
        make_bundle(run, hide=["clause"])


def test_ordinary_words_and_names_of_nobody_stay() -> None:
    text = r"root Administrator C:\Users\Public /home/user vm-1 embedded-max-pmu_on-shared-grant 1f2e3-4d5c6"
    redactor = Redactor(names_in(text))
    assert redactor.redact(text) == text
    assert not redactor.left(text)


def test_the_names_of_this_host_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gamma.lab")
    monkeypatch.setattr("getpass.getuser", lambda: "quill")
    names = redact.names_of_this_host()
    assert names["host name"] >= {"gamma.lab", "gamma"}
    assert "quill" in names["user name"]


def test_the_command(tmp_path: Path) -> None:
    folder = demo(tmp_path / "run")
    out = tmp_path / "x.tar.gz"
    done = halpmc("bundle", str(folder), "--out", str(out), "--json", "--hide", "embedded")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    jsonschema.validate(manifest, json_schema("bundle"))
    assert manifest["redacted"]["word"] > 0
    assert out.is_file()
    done = halpmc("bundle", str(tmp_path))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    with pytest.raises(UsageError):
        make_bundle(tmp_path)
