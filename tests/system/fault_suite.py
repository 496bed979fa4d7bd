"""Faults, each injected into a pristine VM of its own while a test talks to its guest.

Not collected by itself: test_faults.py runs it inside a cell and looks at what the user gets to see.
"""

from __future__ import annotations

import os
import signal
import threading

import pytest

from harness.config.load import load_guest
from harness.driver import protocol
from harness.driver.deploy import LANE_SERVICE, SERVICES
from harness.errors import DeadlineExceeded
from harness.guest.ssh import SshTransport
from harness.imaging.store import find_guest
from harness.runs.guest import Guest

SHORT_S = 3.0


def ask(guest: Guest) -> None:
    guest.session.call("facts", protocol.Facts, timeout_s=SHORT_S)


@pytest.mark.clause("ALLOC-1")
def test_qemu_killed_while_idle(guest: Guest) -> None:
    os.kill(guest.vm.process.pid, signal.SIGKILL)
    ask(guest)


@pytest.mark.clause("ALLOC-2")
def test_qemu_killed_in_the_middle_of_a_command(guest: Guest) -> None:
    killer = threading.Timer(0.3, os.kill, [guest.vm.process.pid, signal.SIGKILL])
    killer.start()
    with guest.open() as device:
        while True:
            device.race(4, 500)


@pytest.mark.clause("ALLOC-3")
def test_qemu_stopped_by_a_signal(guest: Guest) -> None:
    os.kill(guest.vm.process.pid, signal.SIGSTOP)
    ask(guest)


def login(guest: Guest) -> SshTransport:
    image = find_guest(guest.definition.name)
    user = load_guest(guest.definition.name).ssh.user
    return SshTransport.connect(
        "127.0.0.1", guest.vm.ssh_port, user, image.key, image.host_key, check=guest.vm.check
    )


@pytest.mark.clause("ALLOC-4")
def test_the_guests_kernel_panics(guest: Guest) -> None:
    """Linux's own panic, reported by the real pvpanic device."""
    with login(guest) as transport:
        transport.exec(r"echo c>Z:\proc\sysrq-trigger", timeout_s=60)


@pytest.mark.clause("PARAM-1")
def test_the_guest_freezes(guest: Guest) -> None:
    """Linux's own freeze: the CPUs run, and nothing in the guest ever does again."""
    with login(guest) as transport, pytest.raises(DeadlineExceeded):
        transport.exec(r"echo freeze>Z:\sys\power\state", timeout_s=SHORT_S)
    while True:  # until it has come that far
        ask(guest)


@pytest.mark.clause("PARAM-2")
def test_a_service_is_marked_for_deletion(guest: Guest) -> None:
    """It runs on, with a handle to its device open."""
    with guest.open():
        guest.session.call("service.delete", protocol.ServiceState, name=SERVICES[0])
        guest.session.call(
            "service.create", protocol.Empty, name=SERVICES[0], path=r"C:\halpmc\pmctest.sys", group="halpmc"
        )


@pytest.mark.clause("ALLOC-5")
def test_the_client_is_gone(guest: Guest) -> None:
    """At a serial port nobody tells that the other side has ended: it is silence that tells."""
    guest.session.call(
        "service.stop", protocol.ServiceState, timeout_s=SHORT_S, name=LANE_SERVICE, timeout_ms=1000
    )


@pytest.mark.clause("ALLOC-6")
def test_the_drivers_file_is_missing(guest: Guest) -> None:
    """Windows says 2, file not found; Wine 1114, initialisation failed."""
    guest.session.call(
        "service.create", protocol.Empty, name="nodriver", path=r"C:\halpmc\missing.sys", group="halpmc"
    )
    guest.session.call("service.start", protocol.ServiceState, name="nodriver", timeout_ms=10_000)


@pytest.mark.clause("ALLOC-7")
def test_a_service_of_that_name_is_there(guest: Guest) -> None:
    guest.session.call(
        "service.create", protocol.Empty, name=SERVICES[0], path=r"C:\halpmc\pmctest.sys", group="halpmc"
    )


@pytest.mark.clause("ALLOC-8")
def test_the_guest_shuts_itself_down(guest: Guest) -> None:
    guest.vm.execute("system_powerdown")
    while True:
        ask(guest)


@pytest.mark.clause("FREE-1")
def test_qemu_pauses_the_guest(guest: Guest) -> None:
    guest.vm.execute("stop")
    ask(guest)


@pytest.mark.clause("FREE-2")
def test_that_judges_nothing(guest: Guest) -> None:
    ask(guest)


@pytest.mark.clause("FREE-3")
def test_with_a_mistake_of_its_own(guest: Guest) -> None:
    raise ZeroDivisionError("a mistake")
