"""ci/analyse: a finding of the static analysis is an error, and a finding that is justified in the source is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.paths import project_root

CASES = {
    "clean": ("int f(int a) { return a + 1; }\n", 0, ""),
    "overrun": ("int f(void) { int a[4] = { 0 }; return a[4]; }\n", 1, "arrayIndexOutOfBounds"),
    "uninitialized": ("int f(void) { int a; return a; }\n", 1, "uninitvar"),
    "style": ("int f(int a) { int b = a; b = 2; return a; }\n", 1, "unreadVariable"),
    "arm": ("#ifdef __aarch64__\nint f(void) { int a; return a; }\n#endif\n", 1, "uninitvar"),
    "justified": (
        "int f(int a)\n{\n\t/* cppcheck-suppress unreadVariable ; a test */\n\tint b = a;\n\n\treturn a;\n}\n",
        0,
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str, tmp_path: Path) -> None:
    source, code, said = CASES[name]
    file = tmp_path / f"{name}.c"
    file.write_text(source)
    done = subprocess.run(
        [project_root() / "ci" / "analyse", file], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
