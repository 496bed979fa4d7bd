"""docs/windows.md: its matrix is one, its table has every Windows definition as it is."""

from __future__ import annotations

import re
from pathlib import Path

from harness.config.load import guest_names, guests_folder, load_guest, load_matrix
from harness.paths import project_root

#: The project's definitions, whatever is in this machine's store.
PROJECTS = [load_guest(name, guests_folder()) for name in guest_names(guests_folder())]
PAGE = project_root() / "docs" / "windows.md"


def test_its_matrix_is_one(tmp_path: Path) -> None:
    begin = PAGE.read_text().index("    schema: 1\n")
    block = PAGE.read_text()[begin:].split("\n\n", maxsplit=1)[0]
    path = tmp_path / "first-windows.yaml"
    path.write_text(re.sub("^    ", "", block, flags=re.MULTILINE) + "\n")
    cells = load_matrix(path).cells
    assert [(cell.guest, cell.pmu) for cell in cells] == [
        ("windows-server-2022", True),
        ("windows-server-2022", False),
    ]


def test_its_table_has_every_definition() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| windows-")
    ]
    expected = []
    for guest in PROJECTS:
        if guest.windows is not None:
            tpm = "TPM 2.0" if guest.tpm else "none"
            row = (
                guest.name,
                str(guest.windows.build),
                str(guest.windows.generation),
                tpm,
                guest.windows.edition,
            )
            expected.append(row)
    shown = [
        (row[0], *re.findall(r"\((\d+)\)", row[1]), row[2], row[3].split(", ")[1], row[4]) for row in rows
    ]
    assert sorted(shown) == sorted(expected)
