"""What a guest says of its own machine and system, against what its cell asked for."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.models import Boot, Cell


@dataclass(frozen=True)
class MachineSeen:
    """None: the guest does not tell. `verified` says whether Driver Verifier watches the test driver.

    `enlightenments` says what is wrong with them, empty where nothing is. `vbs` and `memory_integrity` say whether they
    run, not whether they are set. `group_cpus` has the CPUs of each processor group.
    """

    firmware: Boot | None = None
    secure_boot: bool | None = None
    tpm: bool | None = None
    enlightenments: str | None = None
    vbs: bool | None = None
    memory_integrity: bool | None = None
    verified: bool | None = None
    group_cpus: tuple[int, ...] = ()


def unlike(cell: Cell, seen: MachineSeen) -> tuple[str, ...]:
    """What the cell asked for and its guest does not have, as far as the guest tells."""
    found = []
    if cell.firmware and seen.firmware and cell.firmware is not seen.firmware:
        found.append(f"firmware={cell.firmware} was asked for, the guest was started by {seen.firmware}")
    for name, asked, there, what in (
        ("secure_boot", cell.secure_boot, seen.secure_boot, "Secure Boot"),
        ("tpm", cell.tpm, seen.tpm, "a TPM"),
        ("vbs", cell.vbs, seen.vbs, "virtualization-based security"),
        ("vbs", cell.vbs, seen.memory_integrity, "memory integrity"),
        ("verifier", cell.verifier, seen.verified, "Driver Verifier for the test driver"),
    ):
        if asked is not None and there is not None and asked is not there:
            has = "has" if there else "does not have"
            found.append(f"{name}={_on_off(asked)} was asked for, the guest {has} {what}")
    if cell.enlightenments and seen.enlightenments:
        found.append(f"enlightenments={cell.enlightenments} was asked for, {seen.enlightenments}")
    size = cell.group_size
    if size is not None and seen.group_cpus:
        cpus = sum(seen.group_cpus)
        if max(seen.group_cpus) > size or len(seen.group_cpus) != -(-cpus // size):
            groups = "+".join(map(str, seen.group_cpus))
            found.append(
                f"group_size={size} was asked for, the guest's {cpus} CPUs are in groups of {groups}"
            )
    return tuple(found)


def untold(cell: Cell, seen: MachineSeen) -> tuple[str, ...]:
    """The settings that the cell asks for and that its guest does not tell: nobody knows whether it has them."""
    asked = {
        "firmware": (cell.firmware, seen.firmware),
        "secure_boot": (cell.secure_boot, seen.secure_boot),
        "tpm": (cell.tpm, seen.tpm),
        "enlightenments": (cell.enlightenments, seen.enlightenments),
        "vbs": (cell.vbs, seen.vbs),
        "verifier": (cell.verifier, seen.verified),
        "group_size": (cell.group_size, seen.group_cpus or None),
    }
    return tuple(name for name, (wanted, told) in asked.items() if wanted is not None and told is None)


def words(seen: MachineSeen) -> str:
    """What the guest tells, in a line."""
    told = [f"firmware {seen.firmware}"] if seen.firmware else []
    told += [
        f"{what} {_on_off(there)}"
        for what, there in (
            ("Secure Boot", seen.secure_boot),
            ("TPM", seen.tpm),
            ("VBS", seen.vbs),
            ("memory integrity", seen.memory_integrity),
            ("Driver Verifier", seen.verified),
        )
        if there is not None
    ]
    if len(seen.group_cpus) > 1:
        told.append(f"processor groups of {'+'.join(map(str, seen.group_cpus))} CPUs")
    return ", ".join(told) or "nothing"


def _on_off(value: bool) -> str:
    return "on" if value else "off"
