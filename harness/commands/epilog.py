"""What stands below a command's help: examples, and what its exit code means. A test parses every example."""

from __future__ import annotations

EXIT_CODES = "Exit codes: 0 all conform, 1 contract violation, 2 usage, 3 infrastructure, 130 interrupted."


def epilog(*examples: str, codes: str = "") -> str:
    """Examples, one a line, and the exit codes where the command has its own."""
    # Lines of a paragraph that begins with \b stay as they are.
    parts = ["\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])] if examples else []
    return "\n\n".join([*parts, *([codes] if codes else [])])


RUN = epilog(
    "halpmc run demo",
    "halpmc run demo -j 2 --cells 'pmu=on and guest~embedded'",
    "halpmc run mine.yaml --since main --strict-baseline",
    "halpmc run --resume runs/20260131-120000-demo",
    codes=EXIT_CODES,
)
PLAN = epilog("halpmc plan demo", "halpmc plan mine.yaml -k 'nehalem and not pmu_on' --json")
REPLAY = epilog(
    "halpmc replay runs/20260131-120000-demo/cells/arm64-pmu_on-shared --test second_free",
    "halpmc replay runs/20260131-120000-demo/cells/arm64-pmu_on-shared --sequence 'a allocate; a free 1'",
    codes=EXIT_CODES,
)
REPORT = epilog("halpmc report runs/20260131-120000-demo", codes=EXIT_CODES)
COMPARE = epilog(
    "halpmc compare runs/20260130-120000-demo runs/20260131-120000-demo --gate",
    codes="Exit codes: 0; with --gate 1 on new failures, 3 when something can no longer be judged.",
)
PROBE = epilog(
    "halpmc probe --arch aarch64 --cpu max,pmu=on", "halpmc probe --accel kvm --cpu host,pmu=on --json"
)
BUILD = epilog(
    "halpmc guest build embedded",
    "halpmc guest build embedded --arch aarch64",
    "halpmc guest build windows --iso SERVER_2022.iso --virtio-iso virtio-win.iso",
)
IMPORT = epilog("halpmc guest import win11.vhdx --as win11 --ssh-key ~/.ssh/id_ed25519")
DEPLOY = epilog(
    "halpmc driver deploy mydriver.sys --guest embedded",
    codes="Exit codes: 0 it ran and was unloaded, 2 it is no driver for this guest, 3 it did not start or stop.",
)
INSPECT = epilog(
    "halpmc driver inspect mydriver.sys --windows-build 26100",
    codes="Exit codes: 0 nothing would keep it from loading, 1 something would.",
)
