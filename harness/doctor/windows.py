"""Checks of what only Windows guests need of the host: UEFI firmware, and a TPM."""

from __future__ import annotations

from collections.abc import Iterator

from harness.config.models import Arch, Firmware
from harness.doctor.finding import Finding, ok, warn
from harness.doctor.programs import MACHINES
from harness.errors import ToolMissing
from harness.host.tools import require_tool, tool_version
from harness.vm.firmware import find_uefi
from harness.vm.tpm import PROGRAM


def check_windows_parts() -> Iterator[Finding]:
    """Firmware of each kind for each architecture, and swtpm. What is missing limits nobody who has no Windows."""
    for arch in Arch:
        for kind in (Firmware.UEFI, Firmware.SECURE_BOOT):
            check = f"firmware.{arch}.{kind}"
            try:
                uefi = find_uefi(arch, kind, MACHINES[arch][0])
            except ToolMissing as error:
                yield warn(check, f"{error.message}: no Windows guest that wants it starts", error.remedy)
            else:
                yield ok(check, str(uefi.code) if uefi else "none is needed")
    try:
        yield ok("tpm", f"{tool_version(require_tool(PROGRAM))}")
    except ToolMissing as error:
        yield warn("tpm", f"{error.message}: no guest with a TPM starts", error.remedy)
