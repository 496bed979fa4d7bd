"""Guest definitions of stand-ins. What they install is the embedded guest at most: its kind is wine, never windows."""

from __future__ import annotations

from typing import Any

from harness.config.models import Firmware, GuestDefinition
from tests.standin.boot_sector import EDITION

LIMIT_S = 4.0


def standin(name: str = "standin", *, firmware: Firmware = Firmware.BIOS, **windows: Any) -> GuestDefinition:
    """A definition for a stand-in's medium; `windows` changes fields of its section `windows`."""
    limits = dict.fromkeys(("boot", "winpe", "copy", "specialize", "oobe", "logon", "ready"), LIMIT_S)
    section: dict[str, Any] = {
        "build": 20348,
        "generation": "shared",
        "server": True,
        "edition": EDITION,
        "images": [EDITION.split(maxsplit=1)[0]],
        "virtio_folder": "standin/amd64",
        "openssh_inbox": True,
        "reboots": 3,
        "spare_reboots": 1,
        "quiet_phases": [],
        "limits": limits,
        "expected_s": 60,
        "cpus": 1,
        "memory_mib": 512,
        "disk_gib": 2,
        "space_gib": 0,
    }
    return GuestDefinition.model_validate(
        {
            "name": name,
            "title": "Stand-in for Windows Setup",
            "kind": "wine",
            "hal": "reference",
            "arch": "x86_64",
            "recipe": "windows",
            "machine": "q35",
            "firmware": firmware,
            "devices": ["VGA"],
            "clock_can_be_set": False,
            "tcg_cpu_flags": ["smap=off", "rdrand=on"],
            "windows": section | windows,
        }
    )
