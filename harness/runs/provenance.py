"""What a reader must know to believe a result: what the guest really is, and the hashes of all parts."""

from __future__ import annotations

from harness.config.models import Accel, Cell, GuestDefinition, HalKind, Kd
from harness.driver.build import DriverBuild
from harness.imaging.store import GuestImage
from harness.vm.hyperv import offered


def provenance(
    cell: Cell,
    definition: GuestDefinition,
    image: GuestImage,
    build: DriverBuild,
    *,
    accel: Accel,
    how: str,
    cloned: bool,
    isolated: bool,
) -> dict[str, str]:
    """By names that reports show. `how` is how guests start; `cloned`: from a saved state."""
    reference = definition.hal is HalKind.REFERENCE
    return {
        "guest": definition.name,
        "guest_kind": str(definition.kind),
        "guest_title": definition.title,
        "hal": "reference HAL (our model of the documentation)" if reference else "system",
        **({"pmu access": definition.pmu_access} if definition.pmu_access else {}),
        "firmware": str(definition.firmware),
        "enlightenments": offered(definition.enlightenments, accel),
        "start": how,
        "clock": "of the saved state" if cloned and not definition.clock_can_be_set else "true",
        "isolation": "a pristine clone per test" if isolated else "one VM for all tests",
        "image_sha256": image.manifest.disk_sha256,
        "driver_sha256": build.sys.sha256,
        "client_sha256": build.client.sha256,
        **({"hal_sha256": build.hal.sha256} if reference else {}),
        **({"kd": f"a port for the kernel debugger: {cell.kd}"} if cell.kd is not Kd.NONE else {}),
        **({"gdb": "the VM could be stopped by a debugger"} if cell.gdb else {}),
    }
