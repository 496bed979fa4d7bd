"""Which firmware is taken: the host's descriptors, and trees of them that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell, Enlightenments, Firmware, GuestDefinition
from harness.doctor.windows import check_windows_parts
from harness.errors import InfrastructureError, ToolMissing
from harness.imaging.machine import guest_cpu_string
from harness.vm.firmware import find_uefi
from harness.vm.hyperv import hyperv_flags, offered


def describe(folder: Path, name: str, **changes: Any) -> None:
    """A descriptor whose files exist."""
    for file in ("code", "vars"):
        (folder / f"{name}.{file}").touch()
    described = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(folder / f"{name}.code"), "format": "raw"},
            "nvram-template": {"filename": str(folder / f"{name}.vars"), "format": "qcow2"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": ["acpi-s3"],
        "tags": [],
    }
    (folder / f"{name}.json").write_text(json.dumps(described | changes))


def chosen(
    folder: Path, firmware: Firmware = Firmware.UEFI, machine: str = "q35,kernel_irqchip=split"
) -> str:
    uefi = find_uefi(Arch.X86_64, firmware, machine, [folder])
    assert uefi is not None
    return uefi.code.stem


def test_this_host_has_all_that_guests_ask_for() -> None:
    for arch, machine in ((Arch.X86_64, "q35"), (Arch.AARCH64, "virt")):
        plain = find_uefi(arch, Firmware.UEFI, machine)
        secure = find_uefi(arch, Firmware.SECURE_BOOT, machine)
        assert plain is not None
        assert secure is not None
        assert plain.variables != secure.variables
        assert (plain.smm, secure.smm) == (False, arch is Arch.X86_64)
    assert find_uefi(Arch.X86_64, Firmware.BIOS, "q35") is None


def test_the_first_that_fits_is_taken(tmp_path: Path) -> None:
    describe(tmp_path, "10-secure", features=["enrolled-keys", "secure-boot", "requires-smm"])
    describe(tmp_path, "20-secure-without-keys", features=["secure-boot"])
    describe(tmp_path, "30-other-machine", targets=[{"architecture": "x86_64", "machines": ["microvm"]}])
    describe(tmp_path, "40-other-cpu", targets=[{"architecture": "aarch64", "machines": ["pc-q35-*"]}])
    describe(tmp_path, "50-memory", mapping={"device": "memory", "filename": "/x"})
    describe(tmp_path, "55-bios", **{"interface-types": ["bios"]})
    describe(tmp_path, "60-gone")
    (tmp_path / "60-gone.vars").unlink()
    describe(tmp_path, "70-plain")
    describe(tmp_path, "80-plain")
    assert chosen(tmp_path) == "70-plain"
    assert chosen(tmp_path, machine="pc-q35-7.2") == "70-plain"
    assert chosen(tmp_path, Firmware.SECURE_BOOT) == "10-secure"
    with pytest.raises(ToolMissing, match=r"UEFI firmware for x86_64 pc is not installed.* ovmf"):
        find_uefi(Arch.X86_64, Firmware.UEFI, "pc", [tmp_path])


def test_an_administrators_descriptor_comes_first(tmp_path: Path) -> None:
    vendor, local = tmp_path / "vendor", tmp_path / "local"
    for folder in (vendor, local):
        folder.mkdir()
    describe(vendor, "10-a")
    describe(vendor, "20-b")
    (local / "10-a.json").touch()  # masked
    uefi = find_uefi(Arch.X86_64, Firmware.UEFI, "q35", [vendor, local])
    assert uefi is not None
    assert uefi.code == vendor / "20-b.code"


def test_a_descriptor_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "10.json").write_text("{")
    with pytest.raises(InfrastructureError, match=r"10\.json is no firmware descriptor"):
        find_uefi(Arch.X86_64, Firmware.UEFI, "q35", [tmp_path])


def test_enlightenments_come_with_what_they_need() -> None:
    """QEMU's table of dependencies: hv-stimer needs hv-synic and hv-time, these hv-vpindex, hv-ipi too."""
    basic = [flag.partition("=")[0] for flag in hyperv_flags(Enlightenments.BASIC)]
    needs = {
        "hv-stimer": ["hv-synic", "hv-time"],
        "hv-synic": ["hv-vpindex"],
        "hv-ipi": ["hv-vpindex"],
        "hv-tlbflush": ["hv-vpindex"],
    }
    assert all(need in basic for flag in basic for need in needs.get(flag, []))
    assert "hv-crash" in basic
    assert hyperv_flags(Enlightenments.NONE) == ()


@pytest.mark.parametrize("wish", [{"vmgenid": True}, {"enlightenments": "basic"}])
def test_what_aarch64_has_not_is_refused(wish: dict[str, object]) -> None:
    guest = {"name": "x", "title": "x", "kind": "windows", "hal": "system", "recipe": "x", "machine": "virt"}
    assert GuestDefinition.model_validate(guest | wish | {"arch": "x86_64"})
    with pytest.raises(ValidationError, match="x86_64 alone"):
        GuestDefinition.model_validate(guest | wish | {"arch": "aarch64"})


def test_the_doctor_tells_what_a_host_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [finding.status for finding in check_windows_parts()] == ["ok"] * 5
    monkeypatch.setattr(find_uefi, "__defaults__", ([tmp_path],))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("harness.host.tools.SYSTEM_FOLDERS", ())
    missing = list(check_windows_parts())
    assert [finding.status for finding in missing] == ["warn"] * 5
    assert all("install the package" in finding.remedy for finding in missing)


def test_enlightenments_are_asked_of_kvm_alone() -> None:
    """QEMU 7.2 does not start under TCG with all of them."""
    guest = load_guest("embedded").model_copy(update={"enlightenments": Enlightenments.BASIC})
    cell = Cell(id="x", cpu="host", pmu=True)
    kvm, tcg = (guest_cpu_string(cell, guest, accel) for accel in (Accel.KVM, Accel.TCG))
    assert kvm.startswith("host,pmu=on,hv-relaxed=on,")
    assert offered(guest.enlightenments, Accel.TCG) == "none: basic needs KVM"
    assert offered(guest.enlightenments, Accel.KVM) == "basic"
    assert tcg == "host,smap=off,rdrand=on,pmu=on"
