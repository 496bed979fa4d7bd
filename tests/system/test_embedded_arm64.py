"""The aarch64 guest, booted: it looks like Windows over SSH, and its driver meets a PMU that counts, or none."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.config.load import load_guest
from harness.config.models import Accel, Arch, Cell, Firmware, GuestTimeouts
from harness.deadlines import wait_for
from harness.driver import deploy, protocol
from harness.driver.build import build_driver
from harness.driver.device import Device
from harness.driver.session import ClientSession
from harness.errors import GuestPanicked
from harness.guest.ssh import SshTransport
from harness.imaging.machine import guest_machine
from harness.imaging.store import GuestImage, find_guest, verify
from harness.report.summary import Summary
from harness.runs.start import GuestStarter
from harness.vm.machine import Machine
from harness.vm.vm import Vm

CPU = "neoverse-n1"
CPUS = 2
COMMAND_S = 120.0
READY_S = 180.0
OFF_S = 60.0
STATUS_ILLEGAL_INSTRUCTION = 0xC000001D
CELL = Cell(
    id="clone",
    guest="embedded-arm64",
    arch=Arch.AARCH64,
    machine="virt",
    accel=Accel.TCG,
    cpu=CPU,
    pmu=True,
    memory_mib=768,
)


@dataclass(frozen=True)
class Booted:
    """The running guest, its SSH connection, the log of its serial port, and the client session with its driver."""

    vm: Vm
    ssh: SshTransport
    serial: Path
    session: ClientSession


def said(serial: Path, *marks: str) -> bool:
    """Whether the log of the serial port holds all of these."""
    text = serial.read_text(errors="replace")
    return all(mark in text for mark in marks)


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return find_guest("embedded-arm64")


@pytest.fixture(scope="module", params=["on", "off"])
def pmu(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "on")


@pytest.fixture(scope="module")
def guest(
    image: GuestImage, pmu: bool, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Booted, None, None]:
    definition, folder = image.definition, tmp_path_factory.mktemp("guest")
    machine = Machine(
        arch=definition.arch,
        accel=Accel.TCG,
        machine=definition.machine,
        cpu=f"{CPU},pmu={'on' if pmu else 'off'}",
        smp=CPUS,
        memory_mib=768,
        disk=image.disk,
        disk_device=definition.disk_device,
        net_device=definition.net_device,
        serial_log=folder / "serial.log",
        direct_boot=image.direct_boot,
    )
    with ExitStack() as stack:
        vm = stack.enter_context(Vm(machine, folder))
        ssh = stack.enter_context(
            SshTransport.connect(
                "127.0.0.1", vm.ssh_port, definition.ssh.user, image.key, image.host_key, check=vm.check
            )
        )
        hashes = deploy.upload(ssh, definition, build_driver(definition.arch))
        channel = ssh.open_session(f"{deploy.client_path(definition)} serve")
        session = stack.enter_context(
            ClientSession(channel, greeting_timeout_s=READY_S, log=folder / "client.log")
        )
        deploy.verify(session, hashes)
        deploy.start_drivers(session, definition)
        yield Booted(vm, ssh, folder / "serial.log", session)


@pytest.fixture
def held(guest: Booted) -> Generator[Device, None, None]:
    device = Device.open(guest.session, deploy.SERVICES[0])
    assert device.allocate().succeeded
    yield device
    device.close()


def test_the_manifest_says_what_is_in_it(image: GuestImage) -> None:
    verify(image)
    manifest = image.manifest
    assert manifest.arch is image.definition.arch
    assert manifest.wine_version and manifest.wine_version.startswith("10.")
    assert "cloud-arm64" in manifest.kernel
    assert manifest.kernel_options and "halpmc_root" in manifest.kernel_options
    assert image.key.stat().st_mode & 0o077 == 0


def test_it_looks_like_windows_on_arm(guest: Booted) -> None:
    result = guest.ssh.exec("ver&exit 3", timeout_s=COMMAND_S)
    assert "Windows 10.0" in result.stdout
    assert result.exit_code == 3
    facts = guest.session.call("facts", protocol.Facts)
    assert (facts.arch, facts.cpus, facts.cpuid) == ("aarch64", CPUS, ())
    assert facts.wine and facts.wine.startswith("10.")
    ready = ("halpmc: sshd up", "halpmc: wine ready")
    assert wait_for("Wine's session", READY_S, lambda _: said(guest.serial, *ready) or None)


def test_the_driver_meets_the_pmu_that_the_machine_has(pmu: bool, held: Device) -> None:
    """Without one the first instruction faults, the driver's guard catches it, and the guest lives on."""
    for cpu in range(CPUS):
        counted = held.count(cpu=cpu)
        assert (counted.status, counted.cpu) == (0, cpu)
        if pmu:
            assert (counted.interface, counted.fault) == ("pmuv3", 0)
            assert {c.state for c in counted.counters} == {"counting"}, counted
            assert {c.count for c in counted.counters if c.event == "sw-incr"} == {5}
        else:
            assert (counted.interface, counted.fault) == ("none", STATUS_ILLEGAL_INSTRUCTION)
            assert {c.state for c in counted.counters} == {"faulted"}


@pytest.fixture
def clone(tmp_path: Path) -> Generator[tuple[Vm, SshTransport], None, None]:
    """A clone of its own, which a test may end, and its SSH connection."""
    starter = GuestStarter(CELL, load_guest("embedded-arm64"), accel=Accel.TCG)
    starter.prepare(tmp_path)
    with starter.vm(tmp_path) as vm, starter.clients.connect(vm, tmp_path) as ssh:
        yield vm, ssh


def test_the_power_button_ends_it(clone: tuple[Vm, SshTransport], tmp_path: Path) -> None:
    vm, _ = clone
    vm.power_down(OFF_S)
    assert said(tmp_path / "serial.log", "halpmc: power button")


def test_its_disk_boots_by_itself(image: GuestImage, tmp_path: Path) -> None:
    """By UEFI alone, without the kernel beside it. There is ACPI then, and the power button is another one."""
    definition = image.definition.model_copy(update={"firmware": Firmware.UEFI})
    machine = guest_machine(
        definition,
        accel=Accel.TCG,
        cpu=f"{CPU},pmu=on",
        smp=CPUS,
        memory_mib=CELL.memory_mib,
        disk=image.disk,
        serial_log=tmp_path / "serial.log",
    )
    assert machine.direct_boot is None
    with Vm(machine, tmp_path) as vm:
        with SshTransport.connect(
            "127.0.0.1",
            vm.ssh_port,
            definition.ssh.user,
            image.key,
            image.host_key,
            check=vm.check,
            timeouts=GuestTimeouts(banner_s=READY_S),
        ) as ssh:
            firmware = ssh.exec(r"dir /b Z:\sys\firmware\efi", timeout_s=COMMAND_S)
            assert (firmware.exit_code, "systab" in firmware.stdout) == (0, True), firmware
            kernel = ssh.exec(r"type Z:\proc\cmdline", timeout_s=COMMAND_S).stdout
            assert image.direct_boot and image.direct_boot.options in kernel
        vm.power_down(OFF_S)
    assert said(tmp_path / "serial.log", "halpmc: power button")


def test_the_host_hears_of_a_panic(clone: tuple[Vm, SshTransport]) -> None:
    _, ssh = clone
    with pytest.raises(GuestPanicked):
        ssh.exec(r"echo c>Z:\proc\sysrq-trigger", timeout_s=COMMAND_S)


def test_a_cell_whose_pmu_counts_is_usable(
    write_matrix: Callable[[str], Path], run_matrix: Callable[..., tuple[int, Summary, str]]
) -> None:
    settings = f"guest: embedded-arm64, accel: tcg, cpu: {CPU}, pmu: on, memory_mib: 768, start: cold, suite: [basic]"
    code, summary, output = run_matrix(write_matrix(f"include: [{{id: a, {settings}}}]\n"))
    (cell,) = summary.cells
    assert (code, cell.verdict, cell.realised) == (0, "usable", True), output
    assert cell.clauses["VIRT-1"] == "pass"
    assert cell.provenance["pmu access"] == "el0 shim"
    assert cell.provenance["guest_kind"] == "wine"
