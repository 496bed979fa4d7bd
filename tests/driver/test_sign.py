"""Signing: it verifies, by two programs; it changes nothing else; the key is the user's alone."""

from __future__ import annotations

import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pefile
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.config.load import load_guest
from harness.config.models import GuestKind
from harness.driver import deploy
from harness.driver.build import DriverBuild
from harness.driver.inspect import inspect_driver
from harness.driver.inspection import Status
from harness.driver.sign import Identity, default_identity, sign_driver, signed_build, user_identity
from harness.errors import BuildError, UsageError
from harness.host.tools import require_tool
from tests.unit.test_cli import assert_one_line, halpmc


def verified_by_osslsigncode(file: Path, identity: Identity) -> bool:
    done = subprocess.run(
        [require_tool("osslsigncode"), "verify", "-CAfile", identity.certificate, "-in", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0 and "Signature verification: ok" in done.stdout


def statuses(file: Path) -> dict[str, Status]:
    return {finding.check: finding.status for finding in inspect_driver(file).findings}


def test_a_signed_driver_verifies(driver_build: DriverBuild, tmp_path: Path, identity: Identity) -> None:
    inspection = sign_driver(driver_build.sys.path, tmp_path, identity)
    signed = tmp_path / "pmctest.sys"
    assert verified_by_osslsigncode(signed, identity)
    assert inspection.signature is not None
    assert inspection.signature.digest_algorithm == "sha256"
    assert inspection.signature.hash_matches and inspection.signature.signature_valid
    assert inspection.failures == ()
    assert {check for check, status in statuses(signed).items() if status is Status.WARN} == {"signer"}
    image = pefile.PE(data=signed.read_bytes())
    assert image.OPTIONAL_HEADER.CheckSum == image.generate_checksum()
    assert driver_build.sys.path.read_bytes() != signed.read_bytes()
    assert list(tmp_path.iterdir()) == [signed], "nothing else is left behind"


def test_the_same_file_and_key_give_the_same_bytes(
    driver_build: DriverBuild, tmp_path: Path, identity: Identity
) -> None:
    once = sign_driver(driver_build.sys.path, tmp_path / "a", identity)
    again = sign_driver(driver_build.sys.path, tmp_path / "b", identity)
    in_place = sign_driver(tmp_path / "b" / "pmctest.sys", tmp_path / "b", identity)
    assert once.sha256 == again.sha256 == in_place.sha256


def test_a_change_after_signing_is_seen(
    driver_build: DriverBuild, tmp_path: Path, identity: Identity
) -> None:
    sign_driver(driver_build.sys.path, tmp_path, identity)
    signed = tmp_path / "pmctest.sys"
    data = bytearray(signed.read_bytes())
    data[0x1100] ^= 1  # code
    signed.write_bytes(data)
    seen = statuses(signed)
    assert (seen["signature"], seen["checksum"]) == (Status.FAIL, Status.FAIL)
    assert not verified_by_osslsigncode(signed, identity)


def test_a_signature_of_another_key_is_seen(
    driver_build: DriverBuild, tmp_path: Path, identity: Identity
) -> None:
    """The signature's last bytes are the signer's: the hash still matches, the signature does not."""
    sign_driver(driver_build.sys.path, tmp_path, identity)
    signed = tmp_path / "pmctest.sys"
    data = signed.read_bytes()
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    inspection = inspect_driver(signed)
    assert inspection.signature is not None
    at = len(data.rstrip(b"\0")) - 40
    signed.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    after = inspect_driver(signed).signature
    assert after is not None and after.hash_matches and not after.signature_valid
    assert statuses(signed)["signature"] is Status.FAIL
    assert certificate.subject.rfc4514_string() == after.signer


def test_a_weak_digest_is_refused_though_it_is_intact(
    x86_64_build: DriverBuild, tmp_path: Path, identity: Identity
) -> None:
    signed = tmp_path / "pmctest.sys"
    command: list[str | Path] = [require_tool("osslsigncode"), "sign", "-h", "sha1"]
    command += ["-certs", identity.certificate]
    command += ["-key", identity.key, "-in", x86_64_build.sys.path, "-out", signed]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    inspection = inspect_driver(signed)
    assert inspection.signature is not None and inspection.signature.hash_matches
    (finding,) = inspection.failures
    assert (finding.check, finding.detail) == (
        "signature",
        "its digest is sha1, which current Windows refuses",
    )


def test_the_test_certificate_is_made_once_and_its_key_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALPMC_CACHE", str(tmp_path))
    identity = default_identity()
    assert stat.S_IMODE(identity.key.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    key = identity.key.read_bytes()
    assert default_identity() == identity
    assert identity.key.read_bytes() == key


@pytest.fixture
def own(tmp_path: Path) -> Identity:
    """What a user brings: an elliptic-curve key, and a certificate that is not for code signing."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Drivers")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    pair = Identity(tmp_path / "own.pem", tmp_path / "own.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pair


def test_the_users_certificate(driver_build: DriverBuild, tmp_path: Path, own: Identity) -> None:
    inspection = sign_driver(driver_build.sys.path, tmp_path, user_identity(own.certificate, own.key))
    assert inspection.signature is not None
    assert inspection.signature.signer == "CN=Example Drivers"
    assert inspection.signature.signature_valid
    (signer,) = [finding for finding in inspection.findings if finding.check == "signer"]
    assert signer.status is Status.WARN and "not for code signing" in signer.detail


def test_a_pair_that_does_not_fit(own: Identity, identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the key of"):
        user_identity(own.certificate, identity.key)
    with pytest.raises(UsageError, match="go together"):
        user_identity(own.certificate, None)
    with pytest.raises(UsageError, match="cannot be read"):
        user_identity(own.certificate, tmp_path / "none.key")
    with pytest.raises(UsageError, match="PEM certificate and key"):
        user_identity(own.key, own.key)


def test_a_signing_program_that_fails_leaves_nothing(
    driver_build: DriverBuild, tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "osslsigncode"
    broken.write_text("#!/bin/sh\necho 'error: no'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    out = tmp_path / "out"
    with pytest.raises(BuildError, match=r"signing pmctest\.sys failed: error: no"):
        sign_driver(driver_build.sys.path, out, identity)
    assert list(out.iterdir()) == []
    # One that only copies is found out too.
    broken.write_text('#!/bin/sh\nwhile [ "$1" != -in ]; do shift; done\ncp "$2" "$4"\n')
    with pytest.raises(BuildError, match="does not verify"):
        sign_driver(driver_build.sys.path, out, identity)
    assert list(out.iterdir()) == []


def test_a_windows_guest_gets_a_signed_build(x86_64_build: DriverBuild) -> None:
    definition = load_guest("embedded")
    assert deploy.build_for(definition) == x86_64_build
    build = deploy.build_for(definition.model_copy(update={"kind": GuestKind.WINDOWS}))
    assert build.client == x86_64_build.client
    assert build == signed_build(x86_64_build)
    assert inspect_driver(build.sys.path).failures == ()
    assert inspect_driver(build.sys.path).sha256 == build.sys.sha256 != x86_64_build.sys.sha256


def test_the_command(x86_64_build: DriverBuild, tmp_path: Path, own: Identity) -> None:
    out = tmp_path / "out"
    sys_file = str(x86_64_build.sys.path)
    done = halpmc("driver", "sign", sys_file, "--out", str(out))
    assert (done.returncode, done.stdout.strip()) == (0, str(out / "pmctest.sys")), done.stderr
    assert_one_line(halpmc("driver", "sign", sys_file, "--cert", str(own.certificate)), 2, "--key")
    done = halpmc("driver", "sign", sys_file, "--out", str(out), "--json")
    (signed,) = json.loads(done.stdout)
    assert signed["signature"]["signature_valid"] and signed["path"] == str(out / "pmctest.sys")
    assert_one_line(
        halpmc("driver", "sign", sys_file, sys_file, "--out", str(out)), 2, "two files", "pmctest.sys"
    )
    program = str(x86_64_build.client.path)
    assert_one_line(halpmc("driver", "sign", sys_file, program, "--out", str(tmp_path / "x")), 2, "no driver")
    assert not (tmp_path / "x").exists(), "all files are looked at before the first is signed"
    done = halpmc("driver", "sign", sys_file, PATH=str(tmp_path))
    assert_one_line(done, 3, "osslsigncode is not installed", "package osslsigncode")
