"""The real QEMU behind a script that stands before it on the PATH and can hold, count or refuse its starts."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

NAME = "qemu-system-x86_64"


@dataclass(frozen=True)
class WrappedQemu:
    """Put `bin` before everything else on the PATH. `starts` counts the starts that matched, one byte each."""

    bin: Path
    starts: Path

    @property
    def path(self) -> str:
        """The PATH to run with."""
        return f"{self.bin}:{os.environ['PATH']}"

    @property
    def matched(self) -> int:
        """How many starts matched so far."""
        return self.starts.stat().st_size if self.starts.exists() else 0


def refusing(folder: Path, words: str, *, at: str = "[0-9]*") -> WrappedQemu:
    """Starts with `words` among their arguments fail: all of them, or those whose number matches the pattern `at`."""
    return _install(folder, words, at, "echo 'qemu: refused for the test' >&2; exit 1")


def holding(folder: Path, words: str, *, at: int) -> WrappedQemu:
    """Start number `at` with `words` among its arguments never gets anywhere; `starts` tells that it was reached."""
    return _install(folder, words, str(at), f"exec tail -f {shlex.quote(str(folder / 'starts'))}")


def gated(folder: Path, words: str, *, at: int) -> WrappedQemu:
    """Start number `at` with `words` among its arguments waits until the file `gate` is there, then goes on."""
    gate = shlex.quote(str(folder / "gate"))
    return _install(folder, words, str(at), f"while [ ! -e {gate} ]; do sleep 0.05; done")


def counting(folder: Path, words: str) -> WrappedQemu:
    """Nothing but counting."""
    return _install(folder, words, "none", ":")


def _install(folder: Path, words: str, numbers: str, instead: str) -> WrappedQemu:
    real = shutil.which(NAME)
    assert real is not None
    wrapped = WrappedQemu(folder / "bin", folder / "starts")
    wrapped.bin.mkdir(parents=True)
    script = wrapped.bin / NAME
    count = shlex.quote(str(wrapped.starts))
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *{shlex.quote(words)}*)\n'
        f"  printf x >>{count}\n"
        f"  case $(wc -c <{count}) in {numbers}) {instead};; esac;;\n"
        "esac\n"
        f'exec {shlex.quote(real)} "$@"\n'
    )
    script.chmod(0o755)
    return wrapped
