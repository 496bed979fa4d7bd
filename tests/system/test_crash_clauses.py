"""A HAL that takes whatever it is given for an address: the crash clauses have to see its guests stop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch
from harness.contract.crash import Aftermath, CrashClass, judge_garbage_free
from harness.contract.outcomes import Outcome
from harness.contract.status import STATUS_INVALID_PARAMETER, documented_free
from harness.driver import build
from harness.driver.device import Device
from harness.errors import HalpmcError
from harness.host.tools import host_arch
from harness.paths import driver_sources
from harness.runs.crash import attempt
from harness.runs.start import GuestStarter
from tests.system.driver_guest import CELL

pytestmark = pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="the embedded guest is slow elsewhere")

CHANGES = {
    "	if (handle == NULL)\n		return STATUS_INVALID_PARAMETER;\n": "",
    "	freed = (asking": "	if (value != 0)\n		(void)*(volatile UCHAR *)handle;\n	freed = (asking",
}


def trusting_hal(folder: Path) -> Path:
    """A copy of the driver's sources whose reference HAL checks no pointer."""
    copy = folder / "guest_driver"
    shutil.copytree(driver_sources(), copy)
    hal = copy / "reference_hal" / "hal.c"
    text = hal.read_text()
    for old, new in CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    hal.write_text(text)
    return copy


def test_a_hal_that_trusts_its_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = trusting_hal(tmp_path)
    monkeypatch.setattr(build, "driver_sources", lambda: copy)
    definition = load_guest("embedded")
    starter = GuestStarter(CELL, definition, accel=Accel.TCG)
    starter.prepare(tmp_path)
    examined: list[HalpmcError] = []

    def ask(what: str) -> Aftermath:
        with starter.start(tmp_path / what) as guest:
            guest.allow_destructive()
            device = Device.open(guest.session, "pmctest")
            calls = {
                "null": lambda: device.allocate(null_cell=True),
                "one": lambda: device.free(1, any_value=True),
                "pool": device.free_pool,
            }
            return attempt(calls[what], documented_free(), examined.append)

    for stops in ("null", "one"):
        seen = ask(stops)
        assert seen.kind is CrashClass.BUGCHECK, seen
        assert "the guest's kernel panicked" in seen.detail
    assert len(examined) == 2
    assert judge_garbage_free("1", seen).outcome is Outcome.FAIL
    survived = ask("pool")  # an address that can be read
    assert survived.call is not None and survived.call.status == STATUS_INVALID_PARAMETER
