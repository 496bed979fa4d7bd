"""What a result stands on: if none of it differs, the same result is expected again."""

from __future__ import annotations

import hashlib
import json

from harness.report.summary import CellSummary, Summary

TITLES = {
    "matrix": "matrix file",
    "configuration": "configuration of the cell",
    "accelerator": "accelerator",
    "qemu": "QEMU",
    "host_kernel": "host kernel",
    "host_cpu": "host CPU",
    "halpmc": "halpmc",
    "guest_title": "guest",
    "guest_build": "guest build",
    "image_sha256": "guest image",
    "driver_sha256": "test driver",
    "client_sha256": "client",
    "hal_sha256": "reference HAL",
}
"""What each part is called where people read of it."""


def ground(summary: Summary, cell: CellSummary) -> dict[str, str]:
    """The parts that a cell's results stand on, by the keys of TITLES; what was not recorded is left out."""
    config = {key: value for key, value in cell.config.items() if key != "id"}
    told = {
        "configuration": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "accelerator": cell.provenance.get("accelerator", "").split(" ")[0],
        "qemu": cell.probe_answer.qemu_version if cell.probe_answer else "",
        "host_kernel": summary.host.get("kernel", ""),
        "host_cpu": summary.host.get("cpu", ""),
        "halpmc": summary.versions.get("halpmc", ""),
        **{key: cell.provenance.get(key, "") for key in TITLES if key in cell.provenance},
    }
    return {key: value for key, value in told.items() if value}
