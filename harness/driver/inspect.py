"""Reads a driver file and says, before any guest boots, what would keep a Windows from loading it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from harness.config.models import GuestDefinition
from harness.driver import inspect_image
from harness.driver.inspect_imports import check_imports, read_imports
from harness.driver.inspection import Finding, Inspection, Signature, Status, Target
from harness.driver.signature import BadSignature, read_signature
from harness.errors import UsageError

SIGN_REMEDY = "sign it: halpmc driver sign FILE"
STRONG = frozenset({"sha256", "sha384", "sha512"})


def inspect_driver(path: Path, target: Target | None = None, *, now: datetime | None = None) -> Inspection:
    """Inspect any driver file for a target (by default the oldest supported Windows, of the file's architecture).

    Raises UsageError with one reason when the file is no 64-bit kernel image that could be inspected.
    """
    target = target or Target()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", remedy="give a driver's .sys file"
        ) from None
    image = inspect_image.open_image(path, data)
    imports = read_imports(image)
    findings = inspect_image.check_image(image, target)
    findings += check_imports(imports, target)
    signature: Signature | None = None
    try:
        signature = read_signature(image, data)
        findings += check_signature(signature, now or datetime.now(UTC))
    except BadSignature as error:
        findings.append(Finding(check="signature", status=Status.FAIL, detail=str(error), remedy=SIGN_REMEDY))
    findings.append(inspect_image.check_hvci(findings))
    header = image.OPTIONAL_HEADER
    arch, machine = inspect_image.MACHINES[image.FILE_HEADER.Machine]
    return Inspection(
        path=str(path),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        arch=arch,
        machine=machine,
        subsystem_version=f"{header.MajorSubsystemVersion}.{header.MinorSubsystemVersion:02}",
        entry=f"{header.AddressOfEntryPoint:#x}",
        image_base=f"{header.ImageBase:#x}",
        section_alignment=header.SectionAlignment,
        timestamp=inspect_image.timestamp(image),
        sections=inspect_image.read_sections(image),
        imports=imports,
        signature=signature,
        target=target,
        findings=tuple(findings),
    )


def check_signature(signature: Signature | None, now: datetime) -> list[Finding]:
    """Findings about the signature; trust is the target's to decide and is only described."""
    if signature is None:
        return [
            Finding(
                check="signature",
                status=Status.FAIL,
                detail="there is none; 64-bit Windows loads no unsigned driver, also not with test signing on",
                remedy=SIGN_REMEDY,
            )
        ]
    return [_intact(signature), _trust(signature), _validity(signature, now)]


def _intact(signature: Signature) -> Finding:
    algorithm = signature.digest_algorithm
    if not signature.hash_matches:
        problem = "the file was changed after it was signed"
    elif not signature.signature_valid:
        problem = "it was not made with its certificate's key"
    elif algorithm not in STRONG:
        problem = f"its digest is {algorithm}, which current Windows refuses"
    else:
        return Finding(
            check="signature", status=Status.OK, detail=f"{algorithm} {signature.file_hash[:16]}…, intact"
        )
    return Finding(check="signature", status=Status.FAIL, detail=problem, remedy=SIGN_REMEDY)


def _trust(signature: Signature) -> Finding:
    if not signature.code_signing:
        return Finding(
            check="signer",
            status=Status.WARN,
            detail=f"{signature.signer}: its certificate is not for code signing",
            remedy=SIGN_REMEDY,
        )
    if signature.self_signed:
        return Finding(
            check="signer",
            status=Status.WARN,
            detail=f"{signature.signer}: a test certificate",
            remedy="in the guest: Secure Boot off, `bcdedit /set testsigning on`, reboot",
        )
    return Finding(
        check="signer",
        status=Status.OK,
        detail=f"{signature.signer}, issued by {signature.issuer}; whether it is trusted, the guest decides",
    )


def _validity(signature: Signature, now: datetime) -> Finding:
    begin, end = (datetime.fromisoformat(text) for text in (signature.not_before, signature.not_after))
    said = f"{begin.date()} to {end.date()}"
    if not begin <= now <= end:
        return Finding(
            check="certificate validity",
            status=Status.WARN,
            detail=f"{said}: not valid on {now.date()}",
            remedy="sign with a certificate that is valid now",
        )
    return Finding(check="certificate validity", status=Status.OK, detail=said)


def preflight(path: Path, definition: GuestDefinition, build: int | None = None) -> Inspection:
    """What would keep this Windows guest from loading the file, said before it boots.

    `build` is the guest's Windows build where it is known. Raises UsageError that names every failure.
    """
    target = Target(arch=definition.arch) if build is None else Target(arch=definition.arch, build=build)
    inspection = inspect_driver(path, target)
    if inspection.failures:
        problems = "; ".join(f"{finding.check}: {finding.detail}" for finding in inspection.failures)
        raise UsageError(
            f"guest {definition.name} would not load {path.name}: {problems}",
            remedy=inspection.failures[0].remedy,
        )
    return inspection
