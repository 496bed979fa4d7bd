"""Signs drivers for test guests: a self-signed test certificate, made once per user, or one that the user brings.

The signing time is the certificate's first valid second, not the clock's, and RSA signatures are deterministic: the
same file, certificate and RSA key give the same bytes. Not reproducible are the test certificate (a random key per
user) and ECDSA signatures; what can be compared between users is the unsigned build.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.caching import cached, content_hash
from harness.deadlines import Deadline
from harness.driver.build import DriverBuild, hashed
from harness.driver.inspect import inspect_driver
from harness.driver.inspection import Inspection, Status
from harness.errors import BuildError, UsageError
from harness.host.tools import require_tool
from harness.toolchain import run_build

SIGN_DEADLINE_S = 60.0
COMMON_NAME = "halpmc test certificate"
YEARS = 10
#: Part of the cache entry's name: raise it when the certificate's contents change.
CERTIFICATE_VERSION = "1"
CERTIFICATE, KEY = "certificate.pem", "key.pem"


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, both PEM files."""

    certificate: Path
    key: Path


def default_identity() -> Identity:
    """This user's test certificate, made on first use. The key is readable by the user only."""
    folder = cached("signing", "test", CERTIFICATE_VERSION, _make_certificate)
    return Identity(folder / CERTIFICATE, folder / KEY)


def _make_certificate(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    begin = datetime.now(UTC) - timedelta(days=1)  # a guest's clock may be behind
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)


def user_identity(certificate: Path | None, key: Path | None) -> Identity:
    """The pair that the user names, or the test certificate when none is named. Raises UsageError."""
    if certificate is None and key is None:
        return default_identity()
    if certificate is None or key is None:
        raise UsageError("--cert and --key go together", remedy="give both, or none for the test certificate")
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{certificate} and {key} are no PEM certificate and key without a passphrase: {reason}",
            remedy="convert them with openssl x509 and openssl pkey",
        ) from None
    if private.public_key() != loaded.public_key():
        raise UsageError(
            f"{key} is not the key of {certificate}", remedy="give the pair that belongs together"
        )
    return Identity(certificate, key)


def sign_driver(path: Path, out: Path, identity: Identity) -> Inspection:
    """Write a copy of `path` with an embedded SHA-256 signature into the folder `out`, and inspect it.

    The copy appears whole or not at all; `out` may be the file's own folder. A signature that is there
    already is replaced.

    Raises UsageError when the file is no driver, BuildError when signing fails or gives a file that does not verify,
    DeadlineExceeded, ToolMissing.
    """
    inspect_driver(path)
    program = require_tool("osslsigncode")
    deadline = Deadline(f"signing {path.name}", SIGN_DEADLINE_S)
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    signing_time = int(certificate.not_valid_before_utc.timestamp())
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".signing-", dir=out) as scratch:
        signed = Path(scratch) / path.name
        run_build(
            [
                *(str(program), "sign", "-h", "sha256", "-time", str(signing_time)),
                *("-certs", str(identity.certificate), "-key", str(identity.key)),
                *("-in", str(path), "-out", str(signed)),
            ],
            deadline,
        )
        _require_intact(signed)
        signed.chmod(0o644)
        signed.replace(out / path.name)
    return inspect_driver(out / path.name)


def sign_drivers(files: list[Path], out: Path, identity: Identity) -> list[Inspection]:
    """sign_driver() for each file. All are looked at before the first is signed; two of one name are a UsageError."""
    names = [file.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"two files are called {twice}", remedy="sign them into different folders, one by one"
        )
    for file in files:
        inspect_driver(file)
    return [sign_driver(file, out, identity) for file in files]


def _require_intact(signed: Path) -> None:
    wanted = ("checksum", "signature")
    wrong = [
        finding
        for finding in inspect_driver(signed).findings
        if finding.check in wanted and finding.status is not Status.OK
    ]
    if wrong:
        raise BuildError(
            f"signing {signed.name} gave a file that does not verify: {wrong[0].detail}",
            remedy="see the version of osslsigncode: 2.5 and later are known to work",
        )


def signed_build(build: DriverBuild, identity: Identity | None = None) -> DriverBuild:
    """The same build with its driver signed, by default with the test certificate; kept in the cache.

    Raises as sign_driver().
    """
    identity = identity or default_identity()
    digest = content_hash([identity.certificate], [build.sys.sha256])

    def sign(folder: Path) -> None:
        sign_driver(build.sys.path, folder, identity)

    folder = cached("signed", build.sys.path.stem, digest, sign)
    return replace(build, sys=hashed(folder / build.sys.path.name))
