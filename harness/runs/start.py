"""Starting a cell's VM: as a clone of a saved ready state, or cold; and saying truthfully which of the two it was."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.caching import cached
from harness.config.models import Accel, GuestDefinition, Start
from harness.errors import GuestError, HalpmcError, InfrastructureError
from harness.guest.ssh import SshTransport
from harness.imaging.store import GuestImage
from harness.vm.machine import Machine
from harness.vm.template import Template, make_template, template_digest
from harness.vm.vm import Vm

MIB = 1 << 20
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
READY_S = 300.0


@contextmanager
def started(
    machine: Machine, start: Start, definition: GuestDefinition, image: GuestImage, folder: Path
) -> Generator[tuple[Vm, str], None, None]:
    """A running VM, and how it was started: "cold", "clone", or "cold" with the reason why it is no clone.

    A template that cannot be restored is thrown away, so that the next cell makes it anew.
    """
    why = "cold"
    if start is Start.CLONE:
        template = _template(machine, definition, image, folder)
        with ExitStack() as stack:
            try:
                vm = stack.enter_context(Vm(template.clone_of(machine), folder, state=template.state))
            except InfrastructureError as error:
                shutil.rmtree(template.folder, ignore_errors=True)
                why = f"cold (the template could not be restored: {error.message})"
            else:
                yield vm, "clone"
                return
    with Vm(machine, folder) as vm:
        yield vm, why


def connect(vm: Vm, definition: GuestDefinition, image: GuestImage, log: Path) -> SshTransport:
    """Log in to the guest; the VM is watched meanwhile."""
    return SshTransport.connect(
        "127.0.0.1",
        vm.ssh_port,
        definition.ssh.user,
        image.key,
        image.host_key,
        check=vm.check,
        timeouts=definition.timeouts,
        log_path=log,
    )


def _template(machine: Machine, definition: GuestDefinition, image: GuestImage, logs: Path) -> Template:
    """The template of this machine, made when it is not there: SSH answers and a command has run, nothing else.

    When that fails, the logs of the attempt are kept in `logs`.
    """
    boot_id = BOOT_ID.read_text().strip() if machine.accel is Accel.KVM else ""
    digest = template_digest(machine, image=image.manifest.disk_sha256, boot_id=boot_id)

    def make(folder: Path) -> None:
        def ready(vm: Vm) -> None:
            with connect(vm, definition, image, folder / "ssh.log") as transport:
                done = transport.exec("ver", timeout_s=READY_S)
                if done.exit_code != 0:
                    raise GuestError(
                        f"the guest's shell answers `ver` with exit code {done.exit_code}: {done.stderr}"
                    )

        try:
            make_template(machine, folder, ready)
        except HalpmcError:
            for log in folder.glob("*.log"):
                shutil.copyfile(log, logs / f"template-{log.name}")
            raise

    needed = machine.memory_mib * MIB * 2
    return Template(cached("templates", definition.name, digest, make, needs_bytes=needed))
