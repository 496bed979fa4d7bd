"""Bringing the test driver into a guest: files by SFTP, checked by hash, services by API through the client."""

from __future__ import annotations

import time

from harness.caching import Say
from harness.config.models import Generation, GuestDefinition, GuestKind, HalKind, HalSettings, WithoutPmu
from harness.driver import protocol
from harness.driver.build import DriverBuild, build_driver
from harness.driver.inspect import preflight
from harness.driver.session import ClientSession
from harness.driver.sign import signed_build
from harness.errors import ClientError, DriverError, GuestError
from harness.guest import win32
from harness.guest.transport import Transport

#: Two instances of one binary: the second one is the "second driver" of the contract.
SERVICES = ("pmctest", "pmctest2")
LANE_SERVICE = "pmclane"
SERVICE_DOES_NOT_EXIST = 1060  # Win32
SYSTEM_HAL = r"C:\windows\system32\hal.dll"
START_TIMEOUT_MS = 30_000
SERVICE_EXISTS = 1073  # ERROR_SERVICE_EXISTS
#: 1970 as a FILETIME: 100 ns since 1601.
EPOCH_100NS = 116_444_736_000_000_000


def build_for(definition: GuestDefinition, *, say: Say = lambda _: None) -> DriverBuild:
    """The binaries for a guest, before it boots.

    For Windows the driver is signed, and what would keep it from loading is an error.
    Raises as build_driver(), signed_build() and preflight().
    """
    build = build_driver(definition.arch, say=say)
    if definition.kind is GuestKind.WINDOWS:
        build = signed_build(build)
        preflight(build.sys.path, definition)
    return build


def upload(transport: Transport, definition: GuestDefinition, build: DriverBuild) -> dict[str, str]:
    """Copy driver and client (and, where the guest has no HAL of its own, the reference HAL); path → sha256."""
    files = [(build.client, client_path(definition))]
    files += [(build.sys, driver_path(definition, service)) for service in SERVICES]
    if definition.hal is HalKind.REFERENCE:
        files.append((build.hal, SYSTEM_HAL))
    for file, path in files:
        transport.put(file.path, path)
    return {path: file.sha256 for file, path in files}


def client_path(definition: GuestDefinition) -> str:
    """Where the client lies in the guest."""
    return definition.drop_folder + r"\pmcctl.exe"


def driver_path(definition: GuestDefinition, service: str) -> str:
    """Where the driver file of an instance lies: a copy each, since Windows loads a file only once."""
    return rf"{definition.drop_folder}\{service}.sys"


def verify(session: ClientSession, hashes: dict[str, str]) -> None:
    """Compare what arrived with what was sent. Raises GuestError naming the file that differs."""
    for path, expected in hashes.items():
        seen = session.call("file.hash", protocol.FileHash, path=path).sha256
        if seen != expected:
            raise GuestError(
                f"{path} differs in the guest after the transfer: sha256 {seen}, sent {expected}"
            )


def remove_drivers(session: ClientSession) -> None:
    """Delete the services of both instances, which do not run, where there are any: they outlive a reboot."""
    for service in SERVICES:
        try:
            session.call("service.delete", protocol.ServiceState, name=service)
        except ClientError as error:
            if error.code != SERVICE_DOES_NOT_EXIST:
                raise


def start_drivers(session: ClientSession, definition: GuestDefinition) -> None:
    """Create and start both instances of the test driver. Raises DriverError with the remedy."""
    for service in SERVICES:
        try:
            # The load-order group keeps both instances in one kernel process on a guest that has several;
            # a demand-start driver on Windows ignores it.
            session.call(
                "service.create",
                protocol.Empty,
                name=service,
                path=driver_path(definition, service),
                group=definition.service_group,
            )
            start(session, service)
        except ClientError as error:
            raise DriverError(
                f"the test driver does not start as service {service}: {error.message}",
                remedy=START_REMEDIES.get(error.code) or win32.remedy(error.code, SEE_LOGS),
            ) from error


def configure_hal(session: ClientSession, hal: HalSettings) -> None:
    """Set the reference HAL, which the running drivers have loaded; counts from the next call on."""
    session.call(
        "hal.configure",
        protocol.Empty,
        shared=int(hal.generation is Generation.SHARED),
        refuse=int(hal.without_pmu is WithoutPmu.REFUSE),
        defect=hal.defect or "",
    )


def start_lane(session: ClientSession, definition: GuestDefinition, port: str) -> None:
    """Start the client as a service that answers at a serial port, also when this session has ended.

    An image that was installed from a medium has the service already.
    """
    command = f"{client_path(definition)} serve --port {port}"
    try:
        try:
            session.call("service.create", protocol.Empty, name=LANE_SERVICE, path=command, type="program")
        except ClientError as error:
            if error.code != SERVICE_EXISTS:
                raise
        start(session, LANE_SERVICE)
    except ClientError as error:
        raise GuestError(f"the client does not start at {port}: {error.message}") from error


def set_clock(session: ClientSession) -> None:
    """Set the guest's clock by the host's: after a restore it is where the saved state was."""
    since_1601 = EPOCH_100NS + time.time_ns() // 100
    session.call("clock.set", protocol.Empty, time=since_1601)


def start(session: ClientSession, service: str) -> None:
    """Start an instance and wait until it runs."""
    session.call("service.start", protocol.ServiceState, name=service, timeout_ms=START_TIMEOUT_MS)


def stop(session: ClientSession, service: str) -> None:
    """Stop an instance and wait until it is unloaded."""
    session.call("service.stop", protocol.ServiceState, name=service, timeout_ms=START_TIMEOUT_MS)


SEE_LOGS = "see the guest's logs in the cell's folder"
#: Where a driver is the reason, and not what the number says by itself.
START_REMEDIES = {2: "the driver's file is not where the service points"}
