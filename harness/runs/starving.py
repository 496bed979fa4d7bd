"""The host's counters while a cell runs: shared with other cells, or held so that its virtual PMU gets none."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.config.models import Accel, Cell
from harness.errors import InfrastructureError
from harness.host.counter_use import counter_use
from harness.host.starve import KernelPerf, Perf, online_cpus, starved

ONLINE = Path("/sys/devices/system/cpu/online")


@contextmanager
def host_counters(cell: Cell, accel: Accel, perf: Perf | None = None) -> Generator[str, None, None]:
    """What is done with the host's counters in this context, in words; empty where nothing is.

    Cells whose PMU lives on them never run beside one that starves. Raises InfrastructureError where they cannot be
    held, or were not held all the time; DeadlineExceeded.
    """
    if accel is not Accel.KVM:
        if cell.starve_pmu:
            raise InfrastructureError("starve_pmu needs KVM: nothing else uses the host's counters")
        yield ""
        return
    if not cell.pmu:
        yield ""
        return
    with counter_use(alone=cell.starve_pmu):
        if not cell.starve_pmu:
            yield ""
            return
        with starved(online_cpus(ONLINE.read_text()), perf or KernelPerf()) as starvation:
            counts = sorted(set(starvation.held.values()))
            yield f"{'-'.join(map(str, counts))} held on each of {len(starvation.held)} CPUs"
            if lost := starvation.lost():
                raise InfrastructureError(
                    f"the counters of CPU {', '.join(map(str, lost))} of the host were not held all the time"
                )
