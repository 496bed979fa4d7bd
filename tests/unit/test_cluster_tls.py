"""A lab with TLS as docs/lab.md has it: the example's settings work, and who has no certificate of the lab is out."""

from __future__ import annotations

import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.paths import project_root
from tests.unit.cluster_lab import STEP_S, LabOfTest, lab_in

EXAMPLE = project_root() / "ci" / "lab" / "lab.env.example"


def certificate(
    name: str, signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate of that name, signed by an authority, or by itself as one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signer[1] if signer else key, hashes.SHA256())
    )
    return built, key


def write(
    folder: Path, ca: x509.Certificate, own: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
) -> None:
    folder.mkdir()
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "host.pem").write_bytes(own[0].public_bytes(pem))
    key = own[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "host.key").write_bytes(key)


def settings(folder: Path) -> dict[str, str]:
    """The example's settings for dask, with the files in another folder."""
    lines = (line for line in EXAMPLE.read_text().splitlines() if line.startswith("DASK_"))
    return dict(line.replace("/etc/halpmc", str(folder)).split("=", 1) for line in lines)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[LabOfTest, None, None]:
    authority = certificate("lab", None)
    write(tmp_path / "tls", authority[0], certificate("host", authority))
    write(tmp_path / "stranger", authority[0], certificate("stranger", certificate("another", None)))
    for name, value in settings(tmp_path / "tls").items():
        monkeypatch.setenv(name, value)
    with lab_in(tmp_path, protocol="tls") as made:
        yield made


PROGRAM = """
import pathlib, sys
from tests.unit.cluster_lab import CellJob, Run, cell, open_lab
with open_lab(sys.argv[1], None, say=print) as lab:
    assert Run(pathlib.Path(sys.argv[2]), lab, {})(CellJob(cell("a")))
"""


def test_a_cell_runs_over_tls_and_strangers_stay_out(lab: LabOfTest, tmp_path: Path) -> None:
    assert lab.address.startswith("tls://")
    lab.worker("one")
    lab.end("a")
    argv = [sys.executable, "-c", PROGRAM, lab.address]
    cache = {"HALPMC_CACHE": str(tmp_path / "cache-run")}
    member = lab.start("member", [*argv, str(tmp_path / "run")], cache)
    assert member.wait(STEP_S) == 0, lab.log("member")
    assert lab.began() == {("a", "one")}
    for name, address, environment in (
        ("stranger", lab.address, settings(tmp_path / "stranger")),
        ("plain", lab.address.replace("tls:", "tcp:"), dict.fromkeys(settings(tmp_path / "tls"), "")),
    ):
        other = lab.start(name, [*argv[:-1], address, str(tmp_path / name)], {**cache, **environment})
        assert other.wait(STEP_S) == 1
        assert "no scheduler answers" in lab.log(name), lab.log(name)
        assert not (tmp_path / name / "records.jsonl").exists()
