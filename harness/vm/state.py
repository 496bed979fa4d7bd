"""Saving and loading a machine's device state by an open file, while its RAM stays in a file of its own."""

from __future__ import annotations

from harness.deadlines import Deadline, wait_for
from harness.errors import QemuError
from harness.vm.qmp import Qmp

STATE_S = 60.0
FILE = "state"
#: RAM that is a shared file is left out of the stream.
CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]


def save_state(qmp: Qmp, fd: int) -> None:
    """Write the state of a paused machine to an open file. Raises QemuError, DeadlineExceeded."""
    qmp.execute("migrate-set-capabilities", capabilities=CAPABILITIES)
    qmp.pass_file(fd, FILE)
    qmp.execute("migrate", uri=f"fd:{FILE}")

    def saved(deadline: Deadline) -> bool | None:
        answer = qmp.execute("query-migrate")
        deadline.last_seen = str(answer.get("status"))
        if answer.get("status") == "failed":
            raise QemuError(f"QEMU cannot save its state: {answer.get('error-desc', 'no reason given')}")
        return True if answer.get("status") == "completed" else None

    wait_for("saving the machine's state", STATE_S, saved, interval=0.005)


def load_state(qmp: Qmp, fd: int) -> None:
    """Have a machine that waits for a state load it from an open file. Raises QemuError, DeadlineExceeded."""
    qmp.execute("migrate-set-capabilities", capabilities=CAPABILITIES)
    qmp.pass_file(fd, FILE)
    qmp.execute("migrate-incoming", uri=f"fd:{FILE}")

    def loaded(deadline: Deadline) -> bool | None:
        status = str(qmp.execute("query-status")["status"])
        deadline.last_seen = status
        return None if status == "inmigrate" else True

    wait_for("loading the machine's state", STATE_S, loaded, interval=0.002)
