"""What a guest must be for a test driver to run in it, judged from numbers. Pure: who asked them is not known here.

What could not be found out is `unknown`, with the reason: never taken for met.
"""

from __future__ import annotations

from enum import StrEnum

from harness.config.models import GuestDefinition, GuestKind, Model

MIB = 1 << 20
#: The drivers, the client, and room for their logs.
NEEDED_BYTES = 64 * MIB
CLOCK_S = 5.0
FEW_DAYS = 14
#: NtQuerySystemInformation, class 103 (Microsoft's documentation of SYSTEM_CODEINTEGRITY_INFORMATION).
TEST_SIGNING, HVCI = 0x2, 0x400
#: Class 165 (phnt): the secure kernel runs.
SECURE_KERNEL = 0x1
OLDEST_BUILD = 17763
#: winnt.h, PRODUCT_…: the editions that test guests have.
EDITIONS = {
    4: "Enterprise",
    7: "Server Standard",
    8: "Server Datacenter",
    48: "Professional",
    72: "Enterprise Evaluation",
    79: "Server Standard Evaluation",
    80: "Server Datacenter Evaluation",
    101: "Home",
    121: "Education",
    125: "Enterprise LTSC",
    129: "Enterprise LTSC Evaluation",
    161: "Professional for Workstations",
}
DEVICE_GUARD = r"HKLM\SYSTEM\CurrentControlSet\Control\DeviceGuard"
DUMPS = {1: "complete", 2: "kernel", 3: "small", 7: "automatic"}


class Status(StrEnum):
    """`warn`: tests run, and something is limited; `fail`: they cannot; `unknown`: the guest cannot be asked."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Requirement(Model):
    """One requirement: `name` is stable, `remedy` empty when there is nothing to do."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


class CrashControl(Model):
    r"""Values of HKLM\SYSTEM\CurrentControlSet\Control\CrashControl; None: not there."""

    dump: int | None
    nmi: int | None
    reboots: int | None


class GuestState(Model):
    """What was asked of a guest; None where it does not tell. `clock_off_s` is its clock less the host's.

    `bitlocker` is what manage-bde says of the system's disk: 0 protected, 1 not, 2 that it cannot say.
    `test_signing_set`: whether the boot entry mentions it; `verified_drivers`: Driver Verifier's list.
    """

    wine: str | None
    build: int
    cpus: int
    groups: int
    administrator: int | None
    edition: int | None
    code_integrity: int | None
    secure_boot: int | None
    isolated_user_mode: int | None
    licence_status: int | None
    licence_minutes: int | None
    clock_off_s: float
    disk_free: int
    disk_total: int
    bitlocker: int | None
    test_signing_set: bool | None
    crash: CrashControl
    pending_reboot: tuple[str, ...]
    verified_drivers: str | None


def judge(state: GuestState, definition: GuestDefinition, memory_mib: int) -> list[Requirement]:
    """All requirements that the guest's state decides, in the order in which they should be met."""
    windows = [_test_signing, _secure_boot, _vbs, _bitlocker, _crash_control, _licence, _verifier]
    judged = [_administrator(state), _system(state, definition)]
    if state.wine is None:
        judged += [rule(state) for rule in windows]
    else:
        why = f"this is Wine {state.wine}, not Windows: there is no such thing in it"
        judged += [_unknown(rule.__name__.strip("_"), why) for rule in windows]
    return [
        *judged,
        _pending_reboot(state),
        _groups(state, definition),
        _clock(state, definition),
        _disk(state, memory_mib),
    ]


def _ok(name: str, detail: str) -> Requirement:
    return Requirement(name=name, status=Status.OK, detail=detail)


def _warn(name: str, detail: str, remedy: str) -> Requirement:
    return Requirement(name=name, status=Status.WARN, detail=detail, remedy=remedy)


def _fail(name: str, detail: str, remedy: str) -> Requirement:
    return Requirement(name=name, status=Status.FAIL, detail=detail, remedy=remedy)


def _unknown(name: str, why: str, remedy: str = "") -> Requirement:
    return Requirement(name=name, status=Status.UNKNOWN, detail=why, remedy=remedy)


def _administrator(state: GuestState) -> Requirement:
    if state.administrator is None:
        return _unknown("administrator", "the guest does not tell whose rights the SSH user has")
    if state.administrator:
        return _ok("administrator", "the SSH user has an administrator's rights")
    remedy = "log in as Administrator, or set EnableLUA to 0 and reboot: over SSH nobody answers a UAC prompt"
    return _fail("administrator", "the SSH user has no administrator's rights", remedy)


def _system(state: GuestState, definition: GuestDefinition) -> Requirement:
    if state.wine is not None:
        what = f"Wine {state.wine}, which calls itself build {state.build}; not Windows"
        if definition.kind is GuestKind.WINE:
            return _ok("system", what)
        return _fail("system", what, "import it with a definition of kind wine")
    edition = EDITIONS.get(state.edition or 0, f"edition {state.edition}")
    what = f"Windows build {state.build}, {edition}"
    if definition.kind is GuestKind.WINE:
        return _fail("system", f"{what}; the definition says Wine", "import it with a definition of Windows")
    if state.build < OLDEST_BUILD:
        return _warn(
            "system", what, f"nothing was written for builds before {OLDEST_BUILD}: take a newer one"
        )
    return _ok("system", what)


def _test_signing(state: GuestState) -> Requirement:
    if state.code_integrity is None:
        return _unknown("test_signing", "the guest does not tell which code it loads")
    if state.code_integrity & TEST_SIGNING:
        return _ok("test_signing", "drivers with a test signature are loaded")
    if state.secure_boot:
        remedy = "switch Secure Boot off first; then bcdedit /set testsigning on, and reboot"
    elif state.test_signing_set:
        remedy = (
            "the boot entry mentions testsigning, so a reboot may be due; else bcdedit /set testsigning on"
        )
    else:
        remedy = "bcdedit /set testsigning on, and reboot"
    return _fail("test_signing", "drivers with a test signature are refused", remedy)


def _secure_boot(state: GuestState) -> Requirement:
    if state.secure_boot is None:
        return _unknown("secure_boot", "the guest does not tell whether Secure Boot is on")
    if state.secure_boot:
        return _fail(
            "secure_boot", "on: no test signature counts", "give the guest's definition firmware: uefi"
        )
    return _ok("secure_boot", "off")


def _vbs(state: GuestState) -> Requirement:
    """Memory integrity (HVCI) and what it stands on, virtualisation-based security."""
    if state.code_integrity is not None and state.code_integrity & HVCI:
        return _warn(
            "vbs",
            "memory integrity (HVCI) is on: a driver may be blocked, and Windows runs on a hypervisor of its own",
            rf"set {DEVICE_GUARD}\Scenarios\HypervisorEnforcedCodeIntegrity Enabled to 0, and reboot",
        )
    if state.isolated_user_mode is None:
        return _unknown("vbs", "the guest does not tell whether virtualisation-based security runs")
    if state.isolated_user_mode & SECURE_KERNEL:
        return _warn(
            "vbs",
            "virtualisation-based security runs: Windows is on a hypervisor of its own, which has the counters",
            rf"set {DEVICE_GUARD} EnableVirtualizationBasedSecurity to 0, and reboot",
        )
    return _ok("vbs", "neither virtualisation-based security nor memory integrity runs")


def _bitlocker(state: GuestState) -> Requirement:
    if state.bitlocker == 0:
        remedy = "manage-bde -off C: and wait until it is decrypted; a clone cannot unseal its key"
        return _fail("bitlocker", "the system's disk is protected", remedy)
    if state.bitlocker == 1:
        return _ok("bitlocker", "the system's disk is not protected")
    # A Server without the feature has no manage-bde: nothing protects the disk there, but nobody said so.
    return _unknown(
        "bitlocker", "manage-bde gives no answer: the feature is not installed, or rights are missing"
    )


def _crash_control(state: GuestState) -> Requirement:
    dump = state.crash.dump
    reboots = "reboots afterwards" if state.crash.reboots else "stays where it is"
    if dump is None:
        return _unknown("crash_control", r"HKLM\SYSTEM\CurrentControlSet\Control\CrashControl is not there")
    if dump not in DUMPS:
        remedy = r"set HKLM\SYSTEM\CurrentControlSet\Control\CrashControl CrashDumpEnabled to 2, and reboot"
        return _warn("crash_control", "a crash leaves no memory dump", remedy)
    if not state.crash.nmi:
        remedy = r"set HKLM\SYSTEM\CurrentControlSet\Control\CrashControl NMICrashDump to 1, and reboot"
        return _warn("crash_control", f"{DUMPS[dump]} dump; a guest that hangs leaves none", remedy)
    return _ok("crash_control", f"{DUMPS[dump]} dump, also on an NMI; {reboots}")


def _licence(state: GuestState) -> Requirement:
    if state.licence_status is None or state.licence_minutes is None:
        return _unknown("licence", "the guest does not tell how long its licence lasts")
    days = state.licence_minutes // (24 * 60)
    renew = "slmgr /rearm extends an evaluation a few times; else install from a new medium"
    if state.licence_minutes == 0 and state.licence_status == 1:
        return _ok("licence", "has no end")
    if state.licence_minutes == 0:
        return _fail("licence", "has run out: Windows shuts itself down every hour", renew)
    if days < FEW_DAYS:
        return _warn("licence", f"{days} days left", renew)
    return _ok("licence", f"{days} days left")


def _verifier(state: GuestState) -> Requirement:
    if not state.verified_drivers:
        return _ok("verifier", "Driver Verifier is off")
    remedy = "verifier /reset, and reboot, unless it is meant to be so"
    return _warn(
        "verifier", f"Driver Verifier watches {state.verified_drivers}: everything is slower", remedy
    )


def _pending_reboot(state: GuestState) -> Requirement:
    if state.pending_reboot:
        reasons = ", ".join(state.pending_reboot)
        return _warn(
            "pending_reboot", f"a reboot is due ({reasons})", "reboot it, shut it down, and import it again"
        )
    return _ok("pending_reboot", "none")


def _groups(state: GuestState, definition: GuestDefinition) -> Requirement:
    size = definition.group_size
    what = f"{state.cpus} CPUs in {state.groups} processor group{'s' if state.groups != 1 else ''}"
    if size is not None and state.groups != -(-state.cpus // size):
        remedy = f"bcdedit /set groupsize {size}, and reboot"
        return _fail("processor_groups", f"{what}; the definition says {size} a group", remedy)
    return _ok("processor_groups", what)


def _clock(state: GuestState, definition: GuestDefinition) -> Requirement:
    off = state.clock_off_s
    if abs(off) <= CLOCK_S:
        return _ok("clock", f"{off:+.1f} s off")
    zones = round(off / 900)
    if zones and abs(off - zones * 900) <= CLOCK_S:
        other = "utc" if definition.rtc == "localtime" else "localtime"
        return _warn(
            "clock", f"{off / 3600:+.2f} h off, like a time zone", f"give its definition rtc: {other}"
        )
    return _warn("clock", f"{off:+.1f} s off", "set it, and import the disk again")


def _disk(state: GuestState, memory_mib: int) -> Requirement:
    what = f"{state.disk_free // MIB} of {state.disk_total // MIB} MiB free"
    if state.disk_free < NEEDED_BYTES:
        return _fail("disk", what, f"free at least {NEEDED_BYTES // MIB} MiB on the system's disk")
    if state.wine is None and state.disk_free < NEEDED_BYTES + memory_mib * MIB:
        return _warn("disk", f"{what}: no room for a memory dump", f"free {memory_mib} MiB more")
    return _ok("disk", what)
