"""What a wheel carries beside the package: the data that a checkout has in folders of its own (harness/paths.py).

An editable install uses the checkout's folders where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Folder of the checkout → its place in the wheel.
PACKED = {
    "guest_driver": "harness/_data/guest_driver",
    "images": "harness/_data/images",
    "baselines": "harness/_data/baselines",
    "docs": "harness/_data/docs",
    "ci/matrices": "harness/_data/ci/matrices",
    "tests/contract": "harness/suite",
}


class PackedData(BuildHookInterface):  # type: ignore[type-arg]
    """Adds each file of these folders that git does not ignore."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is written."""
        if version == "editable":
            return
        root = Path(self.root)
        for folder, place in PACKED.items():
            for path in sorted((root / folder).rglob("*")):
                name = path.relative_to(root).as_posix()
                if path.is_file() and not self.build_config.path_is_excluded(name):
                    inside = path.relative_to(root / folder).as_posix()
                    build_data["force_include"][str(path)] = f"{place}/{inside}"
