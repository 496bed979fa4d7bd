"""What the tests of the guest's C code share: the real build, and parts of the client compiled for the host."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.driver.build import DriverBuild, build_driver
from harness.driver.sign import Identity, default_identity
from harness.paths import driver_sources
from tests.driver.client_code import ClientCode, compile_client_code


@pytest.fixture(scope="session", params=list(Arch))
def arch(request: pytest.FixtureRequest) -> Arch:
    """Both architectures, from the same sources."""
    return Arch(request.param)


@pytest.fixture(scope="session")
def driver_build(arch: Arch) -> DriverBuild:
    return build_driver(arch)


@pytest.fixture(scope="session")
def x86_64_build() -> DriverBuild:
    """What the emulator runs: it is one of x86-64."""
    return build_driver(Arch.X86_64)


@pytest.fixture(scope="session")
def client_code(tmp_path_factory: pytest.TempPathFactory) -> ClientCode:
    library = compile_client_code(tmp_path_factory.mktemp("client"), driver_sources())
    return ClientCode(ctypes.CDLL(str(library)))


@pytest.fixture(scope="session")
def identity() -> Identity:
    """The test certificate."""
    return default_identity()


@pytest.fixture
def sources() -> Path:
    return driver_sources()
