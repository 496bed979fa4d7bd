"""Tools of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.models import Arch
from harness.errors import InfrastructureError, QemuError, ToolMissing
from harness.host import tools
from harness.host.tools import host_facts, qemu_binary, qemu_version, require_tool, tool_version


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but this folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", ())
    return tmp_path


def install(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_tool_on_the_path(only_path: Path) -> None:
    installed = install(only_path, "zstd", "exit")
    assert require_tool("zstd") == installed


def test_a_tool_in_a_system_folder(only_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "sbin"
    home.mkdir()
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", (str(home),))
    installed = install(home, "mke2fs", "exit")
    assert require_tool("mke2fs") == installed


@pytest.mark.parametrize(
    ("name", "package"), [("mcopy", "mtools"), ("qemu-img", "qemu-utils"), ("zstd", "zstd")]
)
def test_a_missing_tool_names_its_package(only_path: Path, name: str, package: str) -> None:
    with pytest.raises(ToolMissing, match=f"{name} is not installed") as caught:
        require_tool(name)
    assert (caught.value.package, caught.value.tool) == (package, name)
    assert package in caught.value.remedy


def test_qemu_of_each_architecture(only_path: Path) -> None:
    with pytest.raises(ToolMissing, match="qemu-system-aarch64") as caught:
        qemu_binary(Arch.AARCH64)
    assert caught.value.package == "qemu-system-arm"


def test_the_version_keeps_the_distributions_suffix(only_path: Path) -> None:
    install(
        only_path,
        "qemu-system-x86_64",
        "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)'; echo Copyright",
    )
    assert qemu_version(Arch.X86_64) == "7.2.22 (Debian 1:7.2+dfsg-7)"


def test_the_version_without_a_suffix(only_path: Path) -> None:
    install(
        only_path, "qemu-system-x86_64", "echo 'QEMU emulator version 10.0.2'; echo '(c) Fabrice Bellard'"
    )
    assert qemu_version(Arch.X86_64) == "10.0.2"


@pytest.mark.parametrize("script", ["echo hello", "echo 'QEMU emulator version 7.2.22'; exit 1"])
def test_something_that_is_not_qemu(only_path: Path, script: str) -> None:
    install(only_path, "qemu-system-x86_64", script)
    with pytest.raises(QemuError, match="does not answer like QEMU"):
        qemu_version(Arch.X86_64)


def test_a_file_that_is_no_program(only_path: Path) -> None:
    broken = only_path / "qemu-system-x86_64"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    with pytest.raises(QemuError, match="does not run: Exec format error"):
        qemu_version(Arch.X86_64)


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'cpio (GNU cpio) 2.13'; echo more", "cpio (GNU cpio) 2.13"),
        ("echo; echo 'kmod version 30' >&2", "kmod version 30"),
        ("echo 'no such option'; exit 1", ""),
    ],
)
def test_the_version_of_any_tool(only_path: Path, script: str, version: str) -> None:
    assert tool_version(install(only_path, "tool", script)) == version


def test_a_tool_that_cannot_tell_its_version_is_not_started(only_path: Path) -> None:
    assert tool_version(only_path / "ssh-keygen") == ""


def test_a_tool_that_does_not_run_names_its_package(only_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="does not run") as caught:
        tool_version(only_path / "mformat")
    assert "mtools" in caught.value.remedy


def test_facts_name_a_missing_emulator_and_are_all_text(only_path: Path) -> None:
    install(only_path, "qemu-system-x86_64", "echo 'QEMU emulator version 7.2.22'")
    facts = host_facts()
    assert (facts["qemu-x86_64"], facts["qemu-aarch64"]) == ("7.2.22", "not installed")
    assert set(facts) >= {"kernel", "machine", "cpu", "cores", "memory_mib", "python", "halpmc"}
    assert all(isinstance(value, str) and value for value in facts.values())
    assert int(facts["memory_mib"]) > 0
