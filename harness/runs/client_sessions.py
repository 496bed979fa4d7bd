"""From a running VM to a client in its guest that answers: over SSH, or at the serial lane."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from harness.config.models import GuestDefinition
from harness.driver import deploy
from harness.driver.build import DriverBuild
from harness.driver.session import ClientSession
from harness.guest.lane import LaneChannel
from harness.guest.ssh import SshTransport
from harness.guest.transport import Transport
from harness.imaging.store import GuestImage
from harness.vm.vm import Vm

LANE_S = 30.0


def client_over_ssh(transport: Transport, definition: GuestDefinition, folder: Path) -> ClientSession:
    """A new client, whose binary is in the guest already; its log goes to `folder`."""
    return ClientSession(
        transport.open_session(f"{deploy.client_path(definition)} serve"),
        greeting_timeout_s=definition.timeouts.client_s,
        log=folder / "client.log",
    )


class ClientSessions:
    """The ways to a client in the guests of one image; `folder` always gets the logs."""

    def __init__(self, definition: GuestDefinition, image: GuestImage, build: DriverBuild) -> None:
        self._definition = definition
        self._image = image
        self._build = build

    def connect(self, vm: Vm, folder: Path) -> SshTransport:
        """Log in to the guest; the VM is watched meanwhile."""
        return SshTransport.connect(
            "127.0.0.1",
            vm.ssh_port,
            self._definition.ssh.user,
            self._image.key,
            self._image.host_key,
            check=vm.check,
            timeouts=self._definition.timeouts,
            log_path=folder / "ssh.log",
        )

    @contextmanager
    def deployed(
        self, transport: SshTransport, folder: Path, *, again: bool = False
    ) -> Generator[ClientSession, None, None]:
        """Copy the binaries, start a client over SSH and the drivers through it.

        `again`: the services of an earlier boot may be there, and are made anew.
        """
        hashes = deploy.upload(transport, self._definition, self._build)
        with client_over_ssh(transport, self._definition, folder) as session:
            deploy.verify(session, hashes)
            if again:
                deploy.remove_drivers(session)
            deploy.start_drivers(session, self._definition)
            yield session

    def join(self, vm: Vm, folder: Path) -> ClientSession:
        """The client that waits at the serial lane."""
        channel = LaneChannel(vm.ends.lane, vm.check)
        channel.discard()
        return ClientSession(channel, greeting_timeout_s=LANE_S, log=folder / "client.log", runs=True)

    @contextmanager
    def rejoined(self, vm: Vm, folder: Path, *, at_lane: bool) -> Generator[ClientSession, None, None]:
        """A client of a guest whose drivers are loaded: the one that waits at the lane, else a new one over SSH."""
        if at_lane:
            with self.join(vm, folder) as session:
                yield session
            return
        with (
            self.connect(vm, folder) as transport,
            client_over_ssh(transport, self._definition, folder) as session,
        ):
            yield session
