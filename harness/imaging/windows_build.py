"""Builds a Windows guest from its installation medium: a supervised installation, and an image out of it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.caching import GIB, Say, built_once
from harness.config.models import Accel, GuestDefinition
from harness.config.windows import WindowsSetup
from harness.errors import BuildError, HalpmcError, UsageError
from harness.guest.ssh import SshTransport
from harness.imaging.answer_medium import medium_hash, write_medium
from harness.imaging.eltorito import without_prompt
from harness.imaging.embedded import make_key
from harness.imaging.machine import guest_machine
from harness.imaging.optical import open_disc
from harness.imaging.store import DISK, HOST_KEY, KEY, VARIABLES, GuestImage, open_image
from harness.imaging.windows_answer import AnswerOptions, answer_for, new_password, render, windows_of
from harness.imaging.windows_image import (
    copy_variables,
    create_disk,
    seal,
    write_definition,
    write_manifest,
    write_secret,
)
from harness.imaging.windows_media import (
    Medium,
    check_virtio,
    examine,
    language_of,
    openssh_kind,
    product_key,
)
from harness.imaging.windows_request import WindowsRequest
from harness.imaging.windows_supervise import Installed, Supervisor
from harness.imaging.windows_unmarked import Asker
from harness.paths import guest_store
from harness.probe.accelerator import choose_accelerator
from harness.vm.by_hand import run_script
from harness.vm.evidence import collect
from harness.vm.hyperv import hyperv_flags
from harness.vm.machine import Machine
from harness.vm.media import INBOX_BUS, CdRom
from harness.vm.screens import ScreenRing
from harness.vm.vm import Vm

PASSWORD = "password"  # noqa: S105 - the name of a file
SERIAL, SCREENS, EVIDENCE = "serial.log", "screens", "evidence"
EVIDENCE_S = 60.0
SHUT_DOWN_S = 300.0
FIRST_COMMAND_S = 120.0
SEAL_S = 3600.0
TOOL_S = 60.0


def build_windows(
    definition: GuestDefinition,
    request: WindowsRequest,
    logs: Path,
    *,
    accel: Accel = Accel.AUTO,
    say: Say = lambda _: None,
) -> GuestImage:
    """The image of a Windows guest, installed and put into the store.

    `logs` gets the serial log, the last screens, and after a failure the evidence; it is gone after an interrupt.
    Nothing goes on from a failed build: the next one starts anew.

    Raises UsageError (whatever the user can mend), ToolMissing, NoSpace, CacheBusy, DeadlineExceeded (the phase that
    took too long), GuestError (failed setup, restarts without end, a panic), and what QEMU and SSH raise.
    """
    windows = windows_of(definition)
    if (guest_store() / definition.name).exists():
        raise UsageError(
            f"guest {definition.name!r} is in the store already",
            remedy=f"halpmc guest rm {definition.name} removes it; --as NAME keeps both",
        )
    if (
        windows.marks == "none"
        and definition.net_device == windows.virtio_net_device
        and not request.virtio_iso
    ):
        raise UsageError(
            f"the end of this installation is asked over SSH, and Windows has no driver for {definition.net_device}",
            remedy="the virtio-win medium has one: --virtio-iso PATH",
        )
    if request.virtio_iso is not None:
        check_virtio(request.virtio_iso, windows)
        devices = {"disk_device": windows.virtio_disk_device, "net_device": windows.virtio_net_device}
        definition = definition.model_copy(update=devices)
    if request.ems:  # the second port is the emergency console's, also for whoever uses the image
        definition = definition.model_copy(update={"lane": None})
    openssh = openssh_kind(request.openssh) if request.openssh else None
    key = product_key(request.product_key) if request.product_key else None
    medium = examine(
        request.iso, definition, windows, edition=request.edition, sha256=request.sha256, say=say
    )
    language = language_of(medium.edition, windows.language)
    if language != windows.language:
        say(f"note: the medium has no {windows.language}; the guest speaks {language}")
    options = AnswerOptions(
        edition=medium.edition.name if request.edition is None else request.edition,
        language=language,
        product_key=key,
        virtio=request.virtio_iso is not None,
        openssh=openssh or "capability",
        # Not the file's own name: a browser may have put blanks and brackets into it.
        openssh_file=f"openssh.{openssh}" if openssh else "",
        ems=request.ems,
    )
    answer_for(definition, options, new_password())  # its mistakes now, not in an hour
    online = openssh is None and not windows.openssh_inbox
    if online:
        say(
            "note: the SSH server comes from Windows Update, so this build gives the guest the network (see --openssh)"
        )
    choice = choose_accelerator(accel, definition.arch, definition.machine, say=say)
    if choice.accel is Accel.KVM:
        _require_features(windows)
    say(
        f"installing {medium.edition.name} under {choice.accel}: about {windows.expected_s / 60:.0f} minutes with KVM"
    )
    job = _Job(definition, windows, request, medium, options, choice.accel, online, logs, say)
    logs.mkdir(parents=True, exist_ok=True)
    try:
        folder = built_once(
            guest_store() / definition.name,
            f"guest {definition.name}",
            job.build,
            needs_bytes=windows.space_gib * GIB,
            say=say,
        )
    except KeyboardInterrupt:
        shutil.rmtree(logs, ignore_errors=True)
        raise
    except HalpmcError as error:
        error.evidence["logs"] = str(logs)
        raise
    return open_image(definition, folder)


@dataclass(frozen=True)
class _Job:
    """One build."""

    definition: GuestDefinition
    windows: WindowsSetup
    request: WindowsRequest
    medium: Medium
    options: AnswerOptions
    accel: Accel
    online: bool
    logs: Path
    say: Say

    def build(self, folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        password = new_password()
        make_key(folder / KEY, self.definition.name)
        write_secret(folder / PASSWORD, password)
        files = self._answer_files(password, (folder / f"{KEY}.pub").read_bytes())
        answer = work / "answer.iso"
        write_medium(files, answer)
        machine, press_keys = self._machine(work, answer)
        installed = self._install(machine, folder, press_keys)
        self.say("sealing the image")
        seal(work / DISK, folder / DISK)
        if machine.uefi is not None:
            shutil.move(machine.uefi.variables, folder / VARIABLES)
        write_manifest(
            folder,
            self.definition,
            self.medium,
            installed,
            answer_sha256=medium_hash(files),
            accel=self.accel,
            virtio=self.request.virtio_iso,
            openssh=self.request.openssh,
        )
        write_definition(folder, self.definition)
        shutil.copyfile(self.logs / SERIAL, folder / "build.log")
        shutil.rmtree(work)

    def _answer_files(self, password: str, public_key: bytes) -> dict[str, bytes | Path]:
        answer = answer_for(self.definition, self.options, password)
        # Windows reads line ends of either kind, but an administrator who looks at the medium may not.
        files: dict[str, bytes | Path] = {
            path: text.replace("\n", "\r\n").encode() for path, text in render(answer).items()
        }
        files["halpmc/authorized_keys"] = public_key
        if self.request.openssh is not None:
            files[f"halpmc/{self.options.openssh_file}"] = self.request.openssh
        return files

    def _machine(self, work: Path, answer: Path) -> tuple[Machine, bool]:
        """The machine of the installation, and whether its medium waits for a key."""
        definition, windows = self.definition, self.windows
        disk = work / DISK
        create_disk(disk, windows.disk_gib)
        bus = INBOX_BUS[definition.arch]
        medium, press_keys = CdRom(path=self.medium.path, bus=bus), False
        overlay = work / "medium.qcow2"
        with open_disc(self.medium.path) as disc:
            if without_prompt(disc, overlay):
                medium = CdRom(path=overlay, format="qcow2", bus=bus)
            else:
                press_keys = True
                self.say("this medium wants a key to be pressed: the harness will press it")
        media = [medium, CdRom(path=answer, bus=bus)]
        media += [CdRom(path=self.request.virtio_iso, bus=bus)] if self.request.virtio_iso else []
        flags = (
            hyperv_flags(definition.enlightenments) if self.accel is Accel.KVM else definition.tcg_cpu_flags
        )
        machine = guest_machine(
            definition,
            accel=self.accel,
            cpu=",".join(("host" if self.accel is Accel.KVM else "max", *flags)),
            smp=windows.cpus,
            memory_mib=windows.memory_mib,
            disk=disk,
            disk_snapshot=False,
            on_reboot="reset",
            reaches_out=self.online,
            serial_log=self.logs / SERIAL,
            media=tuple(media),
        )
        if machine.uefi is not None:  # a copy of its own, which the firmware writes
            machine = machine.model_copy(update={"uefi": copy_variables(machine.uefi, work / VARIABLES)})
        return machine, press_keys

    def _install(self, machine: Machine, folder: Path, press_keys: bool) -> Installed:
        script = self.logs / "run.sh"
        script.write_text(run_script(machine, user=self.definition.ssh.user))
        script.chmod(0o755)
        with Vm(machine, self.logs) as vm:
            try:
                with ScreenRing(vm.qmp, self.logs / SCREENS) as screens, ExitStack() as asking:
                    asker = None
                    if self.windows.marks == "none":
                        asker = asking.enter_context(Asker(vm, self.definition, folder / KEY, self.logs))
                    supervisor = Supervisor(
                        vm,
                        self.windows,
                        self.logs / SERIAL,
                        screens,
                        press_keys=press_keys,
                        say=self.say,
                        asker=asker,
                    )
                    installed = supervisor.run()
                (folder / HOST_KEY).write_text(installed.host_key + "\n")
                self._look(vm, folder, installed)
                self.say("shutting the guest down")
                vm.power_down(SHUT_DOWN_S)
            except HalpmcError as error:
                self.say("the build failed; collecting evidence")
                evidence = collect(vm, self.logs / EVIDENCE, EVIDENCE_S, dump_limit_mib=0)
                error.evidence["triage"] = evidence.triage
                raise
        return installed

    def _look(self, vm: Vm, folder: Path, installed: Installed) -> None:
        """Log in as every later user of the image does."""
        self.say("logging in")
        with SshTransport.connect(
            "127.0.0.1",
            vm.ssh_port,
            self.definition.ssh.user,
            folder / KEY,
            installed.host_key,
            check=vm.check,
            timeouts=self.definition.timeouts,
            log_path=self.logs / "ssh.log",
        ) as transport:
            done = transport.exec("ver", timeout_s=FIRST_COMMAND_S)
            if done.exit_code != 0:
                raise BuildError(
                    f"the guest's shell answers `ver` with exit code {done.exit_code}",
                    remedy="see the guest's SSH server: its default shell must be cmd.exe or PowerShell",
                    evidence={"stdout": done.stdout, "stderr": done.stderr},
                )


def _require_features(windows: WindowsSetup) -> None:
    """The release does not start on a CPU without them, and says so with a restart only. Raises UsageError."""
    text = Path("/proc/cpuinfo").read_text()
    have = {word for line in text.splitlines() if line.startswith("flags") for word in line.split()}
    missing = [f for f in windows.cpu_features if f.replace("-", "_").replace(".", "_") not in have]
    if missing:
        raise UsageError(
            f"this host's CPU has no {', '.join(missing)}, without which Windows build {windows.build} does not start",
            remedy="use a newer host, or an older release of Windows",
        )
