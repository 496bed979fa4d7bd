"""The embedded signature of a PE image (Authenticode), read and checked without asking whom to trust.

Format: Microsoft's "Windows Authenticode Portable Executable Signature Format", public. The certificate table holds a
PKCS #7 SignedData whose content carries the hash of the file without its checksum, the table's directory entry, and
the table itself.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC
from typing import Any

import pefile
from asn1crypto import cms, core, parser
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from harness.driver.inspection import Signature

SECURITY_DIRECTORY = 4
PKCS_SIGNED_DATA = 2  # wCertificateType
INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class BadSignature(Exception):
    """There is a certificate table, and it cannot be read. The message says why."""


def read_signature(image: pefile.PE, data: bytes) -> Signature | None:
    """The embedded signature; None when there is none. Raises BadSignature."""
    directory = image.OPTIONAL_HEADER.DATA_DIRECTORY[SECURITY_DIRECTORY]
    offset, size = directory.VirtualAddress, directory.Size
    if size == 0:
        return None
    if size < 8 or offset + size > len(data):
        raise BadSignature("the certificate table lies outside the file")
    length, _revision, kind = struct.unpack_from("<IHH", data, offset)
    if kind != PKCS_SIGNED_DATA or not 8 < length <= size:
        raise BadSignature(f"the certificate table holds no PKCS #7 signature (type {kind}, {length} bytes)")
    try:
        return _parse(image, data, data[offset + 8 : offset + length])
    except (ValueError, TypeError, LookupError, AttributeError, UnsupportedAlgorithm) as error:
        raise BadSignature(f"its PKCS #7 structure cannot be read: {error}".splitlines()[0]) from error


def _parse(image: pefile.PE, data: bytes, der: bytes) -> Signature:
    signed: Any = cms.ContentInfo.load(der)["content"]
    if signed["encap_content_info"]["content_type"].dotted != INDIRECT_DATA:
        raise ValueError("it signs something that is no file hash")
    # Behind its explicit tag, the content is a SEQUENCE of (what was hashed, DigestInfo).
    content_der: bytes = parser.parse(signed["encap_content_info"]["content"].dump())[4]
    digest_info = core.SequenceOf.load(content_der, spec=core.Any)[1].parse(spec=_DigestInfo)
    algorithm = str(digest_info["algorithm"]["algorithm"].native)
    file_hash = bytes(digest_info["digest"].native)
    if algorithm not in HASHES:
        raise ValueError(f"its digest algorithm {algorithm} is unknown here")
    signer = signed["signer_infos"][0]
    certificate = _signers_certificate(signed, signer)
    return Signature(
        digest_algorithm=algorithm,
        file_hash=file_hash.hex(),
        hash_matches=authenticode_hash(image, data, algorithm) == file_hash,
        signature_valid=_valid(signer, certificate, content_der),
        signer=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        self_signed=certificate.issuer == certificate.subject,
        code_signing=_code_signing(certificate),
        not_before=certificate.not_valid_before_utc.astimezone(UTC).isoformat(),
        not_after=certificate.not_valid_after_utc.astimezone(UTC).isoformat(),
    )


class _DigestInfo(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [("algorithm", cms.DigestAlgorithm), ("digest", core.OctetString)]  # noqa: RUF012


def authenticode_hash(image: pefile.PE, data: bytes, algorithm: str) -> bytes:
    """The hash of the file without checksum, certificate table and the table's directory entry."""
    checksum = image.OPTIONAL_HEADER.get_file_offset() + 64
    directory = image.OPTIONAL_HEADER.DATA_DIRECTORY[SECURITY_DIRECTORY]
    entry = directory.get_file_offset()
    end = directory.VirtualAddress if directory.Size else len(data)
    digest = hashlib.new(algorithm)
    for part in (data[:checksum], data[checksum + 4 : entry], data[entry + 8 : end]):
        digest.update(part)
    if not directory.Size and len(data) % 8:
        digest.update(bytes(8 - len(data) % 8))
    return digest.digest()


def _signers_certificate(signed: Any, signer: Any) -> x509.Certificate:
    serial = signer["sid"].chosen["serial_number"].native
    for choice in signed["certificates"]:
        if choice.chosen.serial_number == serial:
            return x509.load_der_x509_certificate(choice.chosen.dump())
    raise ValueError("the signer's certificate is not in it")


def _valid(signer: Any, certificate: x509.Certificate, content_der: bytes) -> bool:
    """The signed attributes name the content's hash, and the certificate's key signed the attributes."""
    name = str(signer["digest_algorithm"]["algorithm"].native)
    attributes = signer["signed_attrs"]
    hashed = [a["values"][0].native for a in attributes if a["type"].native == "message_digest"]
    # The hash covers the content's value, without its tag and length.
    if hashed != [hashlib.new(name, core.Sequence.load(content_der).contents).digest()]:
        return False
    message = attributes.untag().dump()
    signature, algorithm, key = signer["signature"].native, HASHES[name](), certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(algorithm))
        else:
            raise UnsupportedAlgorithm(f"a key of type {type(key).__name__} signs no drivers")
    except InvalidSignature:
        return False
    return True


def _code_signing(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except x509.ExtensionNotFound:
        return False
    return isinstance(usage, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CODE_SIGNING in usage
