"""The wheel in an environment of its own, in a scratch repository: all that a user without a checkout has."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.config.load import guest_names, load_guest
from harness.config.models import Arch
from harness.contract.outcomes import Outcome, Verdict
from harness.driver.build import build_driver
from harness.imaging.recipe import EMBEDDED, image_folder
from harness.paths import project_root
from harness.probe.build import build_probe
from harness.report.summary import summarize

#: Folder of the checkout → folder of the wheel.
CARRIED = {
    "guest_driver": "harness/_data/guest_driver",
    "images": "harness/_data/images",
    "baselines": "harness/_data/baselines",
    "docs": "harness/_data/docs",
    "ci/matrices": "harness/_data/ci/matrices",
    "tests/contract": "harness/suite",
}
#: What a child may know of the surroundings: nothing of the checkout, and where the cache is.
KEPT = ("HOME", "LANG", "TMPDIR", "HALPMC_CACHE", "HALPMC_TIMEOUT_FACTOR")


def tree(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Each file below a folder with its mode, time and contents; Python's byte code is Python's own."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and the scratch repository in which its commands run."""

    environment: Path
    site: Path
    scratch: Path

    def command(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment."""
        program, *arguments = words
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        path = f"{self.environment / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.scratch,
            env={**kept, "PATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def halpmc(self, *words: str, **variables: str) -> str:
        """Standard output of a command that succeeds."""
        done = self.command("halpmc", *words, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def evaluate(self, text: str) -> str:
        """What the environment's Python prints."""
        done = self.command("python", "-c", text)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout. hatchling is here (ci/bootstrap installs it): nothing is fetched."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("halpmc-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A fresh virtual environment with the wheel: itself, and its site-packages.

    What the wheel depends on comes from this Python's site-packages, by a link for each, so that neither this project's
    own editable install nor any .pth file of it comes along.
    """
    home = tmp_path_factory.mktemp("wheel")
    environment, dependencies = home / "venv", home / "dependencies"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    (site,) = (environment / "lib").glob("python*/site-packages")
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix != ".pth" and not path.name.startswith(("halpmc-", "__pycache__")):
            (dependencies / path.name).symlink_to(path)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "--quiet")
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    subprocess.run([*pip, "install", *options, wheel], check=True, timeout=120)
    return environment, site


@pytest.fixture
def installed(environment: tuple[Path, Path], tmp_path: Path) -> Generator[Installed, None, None]:
    """The environment, and an empty scratch repository. Whatever a test does, nothing is written to the package."""
    home, site = environment
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = tree(site)
    yield Installed(home, site, scratch)
    assert tree(site) == before


def test_it_carries_what_git_has(wheel: Path) -> None:
    """Each file of the carried folders and no other, with its contents and whether it can be executed."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for folder, place in CARRIED.items():
            listed = subprocess.run(
                ["git", "-C", project_root() / folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                capture_output=True, text=True, check=True,
            ).stdout.split("\0")  # fmt: skip
            expected = {f"{place}/{name}" for name in listed if name}
            assert expected
            assert {name for name in names if name.startswith(f"{place}/")} == expected
            for name in expected:
                file = project_root() / folder / name.removeprefix(f"{place}/")
                assert archive.read(name) == file.read_bytes(), name
                executable = bool(archive.getinfo(name).external_attr >> 16 & 0o100)
                assert executable == bool(file.stat().st_mode & 0o100), name
    assert not [name for name in names if not name.startswith(("harness/", "halpmc-"))]


def test_no_checkout_is_in_sight(installed: Installed) -> None:
    seen = json.loads(
        installed.evaluate(
            "import json, sys, harness, harness.paths as p; print(json.dumps({'package': harness.__file__, "
            "'path': sys.path, 'data': [str(f()) for f in (p.data_root, p.driver_sources, p.image_sources, "
            "p.shipped_matrices, p.shipped_baselines, p.contract_suite)]}))"
        )
    )
    assert Path(seen["package"]) == installed.site / "harness" / "__init__.py"
    assert not [
        path for path in seen["path"] if Path(path).resolve().is_relative_to(project_root() / "harness")
    ]
    assert str(project_root()) not in seen["path"]
    for folder in map(Path, seen["data"]):
        assert folder.is_relative_to(installed.site)
        assert folder.is_dir()
    assert json.loads(installed.halpmc("version", "--json"))["kind"] == "wheel"
    done = installed.command("python", "-c", "from harness.paths import project_root; project_root()")
    assert "is not a checkout of halpmc" in done.stderr


def test_a_shipped_matrix_is_planned_by_its_name(installed: Installed) -> None:
    plan = json.loads(installed.halpmc("plan", "demo", "--json"))
    here = subprocess.run(
        [sys.executable, "-m", "harness.cli", "plan", project_root() / "ci" / "matrices" / "demo.yaml", "--json"],
        cwd=installed.scratch, capture_output=True, text=True, check=True,
    )  # fmt: skip
    cells = json.loads(here.stdout)["cells"]
    assert len(cells) > 20
    assert plan["cells"] == cells
    assert "# Installing" in installed.halpmc("docs", "install")
    names = [matrix["name"] for matrix in json.loads(installed.halpmc("matrices", "--json"))]
    assert names == ["aarch64", "defects", "demo"]


def test_the_cache_is_shared_with_a_checkout(installed: Installed) -> None:
    """Driver, probe and images go by their contents, wherever the sources are: each is the same entry of the cache."""
    built = build_driver(Arch.X86_64)
    files = {"driver": built.sys, "client": built.client, "reference_hal": built.hal}
    assert json.loads(installed.halpmc("driver", "build", "--json")) == {
        name: {"path": str(file.path), "sha256": file.sha256} for name, file in files.items()
    }
    probe = "from harness.probe.build import *; from harness.config.models import Arch; print(build_probe(Arch.X86_64))"
    assert installed.evaluate(probe) == str(build_probe(Arch.X86_64))
    guests = {
        name: str(image_folder(load_guest(name)))
        for name in guest_names()
        if load_guest(name).recipe == EMBEDDED
    }
    assert len(guests) >= 2
    listed = installed.evaluate(
        "import json; from harness.config.load import *; from harness.imaging.recipe import *; "
        f"print(json.dumps({{name: str(image_folder(load_guest(name))) for name in {sorted(guests)}}}))"
    )
    assert json.loads(listed) == guests


def test_the_driver_builds_from_the_wheel_to_the_very_bytes(installed: Installed, tmp_path: Path) -> None:
    """With an empty cache, hence from the sources in the wheel."""
    cache = tmp_path / "cache"
    files = json.loads(installed.halpmc("driver", "build", "--json", HALPMC_CACHE=str(cache)))
    built = build_driver(Arch.X86_64)
    assert Path(files["driver"]["path"]).is_relative_to(cache)
    assert files["client"]["sha256"] == built.client.sha256
    assert files["reference_hal"]["sha256"] == built.hal.sha256
    assert files["driver"]["sha256"] == built.sys.sha256


def test_a_baseline_is_never_written_into_the_package(installed: Installed) -> None:
    done = installed.command("halpmc", "baseline", "accept", "runs/x")
    assert done.returncode == 2
    assert "belong to the installed package" in done.stderr
    assert "--baselines" in done.stderr


def test_a_matrix_of_the_users_own_runs(installed: Installed) -> None:
    """The probe alone, on top of a shipped matrix. The user's packages are called as ours are."""
    for name in ("tests", "harness"):
        (installed.scratch / name).mkdir()
        (installed.scratch / name / "__init__.py").write_text("raise AssertionError('taken for ours')\n")
    (installed.scratch / "mine.yaml").write_text("schema: 1\nname: mine\nextends: demo\n")
    installed.halpmc("run", "mine.yaml", "--cell", "aarch64-probe-pmu_on")
    (folder,) = (installed.scratch / "runs").glob("*-mine")
    summary = summarize(folder)
    assert [(cell.id, cell.verdict) for cell in summary.cells] == [("aarch64-probe-pmu_on", Verdict.COUNTING)]
    assert summary.recorded == summary.planned > 0
    assert (
        '"test":"tests/contract/test_probe.py::test_the_probe_answers'
        in (folder / "records.jsonl").read_text()
    )


OWN_TESTS = '''
"""A user's tests, in a package that is called as halpmc's own is in a checkout."""

from pathlib import Path

import pytest

from harness.paths import project_root
from .helper import NAME


def test_which_cell(cell):
    assert cell.id == NAME


@pytest.mark.clause("FREE-3")
def test_null_is_not_freed(guest, settle, observe):
    from harness.contract.expectations import judge_invalid_free

    with guest.open() as device:
        call = device.free(0)
    observe("free", call)
    settle(judge_invalid_free(call, "FREE-3"))


def test_a_guest_of_its_own(fresh_guest):
    assert fresh_guest.facts.cpus == 2


def test_my_driver(load_driver):
    driver = load_driver(Path("my.sys"), "mydriver")
    assert driver.state().state == 4  # running


def test_this_is_the_wheel():
    with pytest.raises(Exception, match="is not a checkout"):
        project_root()
'''


def test_the_plugin_and_the_suite_in_somebody_elses_repository(installed: Installed) -> None:
    """The user's own tests and the contract suite in one session, judged into one run."""
    tests = installed.scratch / "tests" / "contract"
    tests.mkdir(parents=True)
    (tests.parent / "__init__.py").touch()
    (tests / "__init__.py").touch()
    (tests / "helper.py").write_text("NAME = 'embedded'\n")
    (tests / "test_mine.py").write_text(OWN_TESTS)
    for name in ("matrix.yaml", "test_mine.py"):  # of docs/install.md, as they stand there
        block = (project_root() / "docs" / "install.md").read_text().split(f"`{name}`:\n\n", 1)[1]
        text = re.split(r"\n(?=\S)", block, maxsplit=1)[0]
        (installed.scratch / name).write_text(textwrap.dedent(text) + "\n")
    (installed.scratch / "conftest.py").write_text('pytest_plugins = ["harness.driver_plugin"]\n')
    files = json.loads(installed.halpmc("driver", "build", "--json"))
    (installed.scratch / "my.sys").write_bytes(Path(files["driver"]["path"]).read_bytes())
    done = installed.command(
        *("python", "-m", "pytest", "-v", "test_mine.py", "tests", "--pyargs", "harness.suite.test_free"),
        *("--halpmc-matrix", "matrix.yaml", "-p", "no:cacheprovider"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "::test_null_is_an_invalid_parameter[embedded] PASSED" in done.stdout
    for test in (
        "nothing_is_held",
        "which_cell",
        "null_is_not_freed",
        "a_guest_of_its_own",
        "my_driver",
        "this_is_the_wheel",
    ):
        assert re.search(rf"::test_{test}(\[embedded\])? PASSED", done.stdout), done.stdout
    (folder,) = (installed.scratch / "runs").glob("*-mine")
    (cell,) = summarize(folder).cells
    assert cell.clauses["FREE-3"] is Outcome.PASS
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    judged = {record["test"].partition("[")[0] for record in records if record.get("clause") == "FREE-3"}
    assert judged == {
        "tests/contract/test_free.py::test_null_is_an_invalid_parameter",
        "tests/contract/test_free.py::test_null_frees_nothing_of_the_holder",
        "tests/contract/test_mine.py::test_null_is_not_freed",
    }
