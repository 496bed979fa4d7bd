"""The WDK project, which nothing here can build, does not drift from what is built here."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from harness.config.models import Arch
from harness.deadlines import Deadline
from harness.errors import BuildError
from harness.paths import project_root
from harness.toolchain import zig, zig_package

NAMESPACE = "{http://schemas.microsoft.com/developer/msbuild/2003}"
PLATFORMS = {Arch.X86_64: "x64", Arch.AARCH64: "ARM64"}
WARNINGS = {"-Wall", "-Wextra", "-Werror"}
"""CMake's; clang-cl takes the project's Level4 and TreatWarningAsError for the same."""


@pytest.fixture
def wdk(sources: Path) -> Path:
    return sources / "wdk"


@pytest.fixture
def project(wdk: Path) -> ElementTree.Element:
    return ElementTree.parse(wdk / "pmctest.vcxproj").getroot()


def values(project: ElementTree.Element, name: str) -> list[str]:
    return [element.text or "" for element in project.iter(NAMESPACE + name)]


def cmake_sources(sources: Path, arch: Arch) -> set[str]:
    """Of the target pmctest, with its variables filled in."""
    text = (sources / "CMakeLists.txt").read_text()
    variables = {"HALPMC_ARCH": str(arch)}
    for name, value in re.findall(r"^set\((\w+) ([^)]*)\)", text, re.MULTILINE):
        variables[name] = value
    target = re.search(r"pe_binary\(\s*pmctest .*?SOURCES(.*?)\)\n", text, re.DOTALL)
    assert target is not None
    listed = target[1]
    while (name := re.search(r"\$\{(\w+)\}", listed)) is not None:
        listed = listed.replace(name[0], variables[name[1]])
    return set(listed.split())


def project_sources(project: ElementTree.Element, wdk: Path, platform: str) -> set[str]:
    found: set[str] = set()
    for item in project.iter(NAMESPACE + "ClCompile"):
        pattern, condition = item.get("Include"), item.get("Condition", "")
        if pattern is None or (condition and f"'{platform}'" not in condition):
            continue
        files = list(wdk.parent.glob(pattern.replace("\\", "/").removeprefix("../")))
        assert files, f"{pattern} matches nothing"
        found |= {str(file.relative_to(wdk.parent)) for file in files}
    return found


@pytest.mark.parametrize("arch", Arch)
def test_the_sources_are_cmakes(arch: Arch, project: ElementTree.Element, wdk: Path, sources: Path) -> None:
    listed = cmake_sources(sources, arch)
    assert len(listed) > 15 and "driver/main.c" in listed
    assert project_sources(project, wdk, PLATFORMS[arch]) == listed


def test_the_definition_and_the_warnings_are_cmakes(project: ElementTree.Element, sources: Path) -> None:
    text = (sources / "CMakeLists.txt").read_text() + (sources / "cmake" / "pe.cmake").read_text()
    version = re.search(r"project\(\w+ VERSION (\S+)", text)
    assert version is not None
    defined = set(re.findall(r"target_compile_definitions\(\S+ PRIVATE (\w+)=", text))
    (definitions,) = values(project, "PreprocessorDefinitions")
    own = dict(part.split("=") for part in definitions.split(";") if not part.startswith("%"))
    assert set(own) == defined
    assert own["HALPMC_VERSION"] == f'"{version[1]}"'
    options = re.search(r"add_compile_options\((.*?)\)\n", text, re.DOTALL)
    assert options is not None and set(shlex.split(options[1], comments=True)) >= WARNINGS
    assert values(project, "WarningLevel") == ["Level4"]
    assert values(project, "TreatWarningAsError") == ["true"]
    (standard,) = re.findall(r"CMAKE_C_STANDARD (\d+)", text)
    assert values(project, "LanguageStandard_C") == [f"stdc{standard}"]


def test_both_platforms_are_wdm_drivers(project: ElementTree.Element, wdk: Path) -> None:
    assert values(project, "Platform")[:2] == ["x64", "ARM64"]
    assert (values(project, "DriverType"), values(project, "ConfigurationType")) == (["WDM"], ["Driver"])
    solution = (wdk / "halpmc.sln").read_text()
    (identity,) = values(project, "ProjectGuid")
    assert f'"pmctest.vcxproj", "{identity}"' in solution
    for platform in PLATFORMS.values():
        assert f"{identity}.Release|{platform}.Build.0 = Release|{platform}" in solution


def test_the_kits_are_one_version(wdk: Path) -> None:
    packages = ElementTree.parse(wdk / "packages.config").getroot()
    versions = {package.get("id"): package.get("version") for package in packages}
    properties = ElementTree.parse(wdk / "Directory.Build.props").getroot()
    kit = properties.findtext("PropertyGroup/KitVersion")
    assert set(versions.values()) == {kit}
    assert {"Microsoft.Windows.WDK.x64", "Microsoft.Windows.WDK.arm64"} <= set(versions)


@pytest.mark.parametrize("name", ["build.cmd", "build-with-ewdk.cmd"])
def test_scripts_have_the_line_ends_of_windows(name: str, wdk: Path) -> None:
    data = (wdk / name).read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") > 5


def test_the_inf_names_our_driver(wdk: Path, sources: Path) -> None:
    inf = configparser.ConfigParser(
        allow_no_value=True, inline_comment_prefixes=(";",), interpolation=None, strict=True
    )
    inf.read(wdk / "pmctest.inf")
    for arch in ("amd64", "arm64"):
        assert inf[f"DefaultInstall.NT{arch}"]["copyfiles"] == "Files"
        assert inf[f"DefaultInstall.NT{arch}.Services"]["addservice"] == "pmctest,,Service"
    assert list(inf["Files"]) == ["pmctest.sys"]
    assert (inf["Service"]["servicetype"], inf["Service"]["starttype"]) == ("1", "3")
    version = re.search(r"project\(\w+ VERSION (\S+)", (sources / "CMakeLists.txt").read_text())
    assert version is not None and inf["Version"]["driverver"].endswith(f",{version[1]}.0")


def test_the_workflow_builds_every_platform_with_build_cmd(wdk: Path) -> None:
    workflow = yaml.safe_load((project_root() / ".github" / "workflows" / "driver-wdk.yml").read_text())
    job = workflow["jobs"]["build"]
    assert set(job["strategy"]["matrix"]["platform"]) == set(PLATFORMS.values())
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert any(command.startswith("build.cmd ") for command in commands)
    assert (project_root() / job["defaults"]["run"]["working-directory"]) == wdk


def test_nothing_of_the_wdk_is_here(wdk: Path) -> None:
    kinds = {file.suffix for file in wdk.rglob("*") if file.is_file() and "build" not in file.parts}
    assert kinds <= {".vcxproj", ".sln", ".config", ".props", ".cmd", ".inf", ".md", ".h"}
    assert [file.name for file in wdk.rglob("*.h")] == ["nt.h"]


def compile_over_wdk_header(source: Path, sources: Path, wdk: Path, output: Path) -> None:
    """The nearest that there is here: the WDK build's nt.h over the headers of mingw-w64."""
    traps = ("InterlockedBitTestAndSet", "InterlockedBitTestAndReset")  # see include/nt.h
    zig(
        [
            *(
                "cc",
                "-target",
                "x86_64-windows-gnu",
                "-std=c11",
                "-fms-extensions",
                "-Wall",
                "-Wextra",
                "-Werror",
            ),
            *(f"-D__INTRINSIC_DEFINED_{trap}" for trap in traps),
            *(
                '-DHALPMC_VERSION="0"',
                "-Uinterface",
                "-I",
                str(wdk / "include"),
                "-I",
                str(sources / "include"),
            ),
            *(
                "-I",
                str(sources / "pmu"),
                "-isystem",
                str(zig_package() / "lib/libc/include/any-windows-any/ddk"),
            ),
            *("-c", str(source), "-o", str(output)),
        ],
        Deadline(f"compiling {source.name}", 120.0),
    )


def test_the_sources_compile_over_the_wdk_builds_header(sources: Path, wdk: Path, tmp_path: Path) -> None:
    for name in sorted(cmake_sources(sources, Arch.X86_64)):
        compile_over_wdk_header(sources / name, sources, wdk, tmp_path / "none.obj")
    wrong = tmp_path / "wrong.c"
    wrong.write_text('#include "nt.h"\nvoid *p = ZwNoSuchRoutine;\n')
    with pytest.raises(BuildError, match="ZwNoSuchRoutine"):
        compile_over_wdk_header(wrong, sources, wdk, tmp_path / "none.obj")
