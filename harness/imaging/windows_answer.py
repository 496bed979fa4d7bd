"""The answer file of a Windows installation, and our setup that runs at the first logon: templates with a typed model.

Pure: a definition and options in, texts out. What Setup knows (components, settings, passes) is Microsoft's unattend
reference; images/windows/settings.yaml has every setting that the template uses, with its page there.
"""

from __future__ import annotations

import secrets
import string
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field, field_validator

from harness.config.models import Arch, Firmware, GuestDefinition, Model
from harness.config.windows import Phase, WindowsSetup
from harness.driver.deploy import LANE_SERVICE, client_path
from harness.errors import UsageError
from harness.paths import image_sources

MARK_PREFIX = "halpmc-setup: "
ARCHITECTURES = {Arch.X86_64: "amd64", Arch.AARCH64: "arm64"}
#: Letters that Windows PE and Windows may give to optical drives, however many partitions and drives there are.
LETTERS = ("D", "E", "F", "G", "H")
#: Folders of the virtio-win medium with what an installation needs: disks, and the network.
VIRTIO_DRIVERS = ("viostor", "vioscsi", "NetKVM")
EFI_MIB, MSR_MIB, BIOS_SYSTEM_MIB = 260, 16, 500
PASSWORD_CHARS = 20

OpenSsh = Literal["capability", "zip", "msi"]


class Partition(Model):
    """One partition of the target disk; without a size it takes the rest."""

    number: int
    kind: Literal["EFI", "MSR", "Primary"]
    size_mib: int | None = None
    file_system: Literal["FAT32", "NTFS"] | None = None
    label: str = ""
    letter: str | None = None
    active: bool = False


class Answer(Model):
    """Everything that the templates may say. No field has a secret that two images share."""

    architecture: Literal["amd64", "arm64"]
    firmware: Firmware
    server: bool
    language: str
    edition_key: Literal["/IMAGE/NAME", "/IMAGE/INDEX"]
    edition: str
    product_key: str | None = Field(default=None, pattern=r"^[A-Z0-9]{5}(-[A-Z0-9]{5}){4}$")
    password: str = Field(min_length=12)
    bypassed_checks: tuple[str, ...] = ()
    driver_paths: tuple[str, ...] = ()
    openssh: OpenSsh = "capability"
    openssh_file: str = ""
    ssh_port: int = 22
    ems: bool = False
    group_size: int | None = None
    marks: bool = True
    mark_port: str = "COM1"
    lane_port: str | None = None
    lane_service: str = LANE_SERVICE
    lane_command: str
    drop_folder: str
    computer_name: str = "HALPMC"

    @field_validator("openssh_file")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if set(name) - set(string.ascii_letters + string.digits + "._-"):
            raise ValueError("the name of the OpenSSH file may have letters, digits, dots and dashes only")
        return name

    @property
    def letters(self) -> tuple[str, ...]:
        """Drive letters to look for the answer medium at."""
        return LETTERS

    @property
    def mark_prefix(self) -> str:
        """What every line to the host begins with."""
        return MARK_PREFIX

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The layout of the disk; Windows goes into the last one."""
        windows = {"kind": "Primary", "file_system": "NTFS", "label": "Windows", "letter": "C"}
        if self.firmware is Firmware.BIOS:
            system = Partition(
                number=1,
                kind="Primary",
                size_mib=BIOS_SYSTEM_MIB,
                file_system="NTFS",
                label="System",
                active=True,
            )
            return system, Partition.model_validate({"number": 2, **windows})
        return (
            Partition(number=1, kind="EFI", size_mib=EFI_MIB, file_system="FAT32", label="System"),
            Partition(number=2, kind="MSR", size_mib=MSR_MIB),
            Partition.model_validate({"number": 3, **windows}),
        )

    @property
    def marks_file(self) -> str:
        """Where the guest keeps its marks when no serial port takes them."""
        return marks_file(self.drop_folder)

    @property
    def shift(self) -> int:
        """How many commands stand before the first of ours in a list: a mark, where there are any."""
        return 1 if self.marks else 0

    def mark(self, phase: Phase) -> str:
        """The line that tells the host that a phase has begun."""
        return f"{MARK_PREFIX}{phase}"

    def mark_command(self, phase: Phase) -> str:
        """The command that writes it. Always ends well: Setup takes a failing command for a failing installation."""
        return f'cmd /c "echo {self.mark(phase)}>{self.mark_port} & exit 0"'

    @property
    def logon_command(self) -> str:
        """The one command of the first logon: the mark, where there are any, then our setup, on whichever drive it is.

        One, because Windows starts all commands of the first logon at once: two would want the port at the same time.
        """
        setup = r"%d:\halpmc\setup.ps1"
        powershell = f"powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -File {setup}"
        search = f"for %d in ({' '.join(self.letters)}) do if exist {setup} {powershell}"
        return (
            f'cmd /c "echo {self.mark("logon")}>{self.mark_port} & {search}"'
            if self.marks
            else f"cmd /c {search}"
        )


class AnswerOptions(Model):
    """What the user chose for one build. `edition` is a name, or an index as digits; `language` the definition's,
    where None."""

    edition: str
    language: str | None = None
    product_key: str | None = None
    virtio: bool = False
    openssh: OpenSsh = "capability"
    openssh_file: str = ""
    ems: bool = False


def answer_for(definition: GuestDefinition, options: AnswerOptions, password: str) -> Answer:
    """The answer for a guest definition. Raises UsageError when the definition is none of Windows."""
    windows = windows_of(definition)
    by_index = options.edition.isdecimal()
    lane = definition.lane.port if definition.lane else None
    port = None if options.ems else lane  # Windows takes the whole second port for its emergency console
    return Answer(
        architecture="arm64" if definition.arch is Arch.AARCH64 else "amd64",
        firmware=definition.firmware,
        server=windows.server,
        language=options.language or windows.language,
        edition_key="/IMAGE/INDEX" if by_index else "/IMAGE/NAME",
        edition=options.edition,
        product_key=options.product_key,
        password=password,
        bypassed_checks=_bypassed(definition, windows),
        driver_paths=_driver_paths(windows) if options.virtio else (),
        openssh=options.openssh,
        openssh_file=options.openssh_file,
        ssh_port=definition.ssh.port,
        ems=options.ems,
        group_size=definition.group_size,
        marks=windows.marks != "none",
        lane_port=port,
        lane_command=f"{client_path(definition)} serve --port {port}",
        drop_folder=definition.drop_folder,
    )


def marks_file(drop_folder: str) -> str:
    """The file in the guest with its marks, for a machine that has no serial port for Windows."""
    return rf"{drop_folder}\setup-marks.txt"


def windows_of(definition: GuestDefinition) -> WindowsSetup:
    """The definition's section `windows`. Raises UsageError when it has none."""
    if definition.windows is None:
        raise UsageError(
            f"guest {definition.name!r} is not installed from a Windows medium",
            remedy="use a definition with a section `windows`, such as windows-server-2022",
        )
    return definition.windows


def _bypassed(definition: GuestDefinition, windows: WindowsSetup) -> tuple[str, ...]:
    """Checks of Setup that this machine would fail: Windows 11 wants a TPM and firmware with Secure Boot, which test
    signing needs switched off."""
    if not windows.hardware_checks:
        return ()
    lacking = [] if definition.tpm else ["BypassTPMCheck"]
    lacking += [] if definition.firmware is Firmware.SECURE_BOOT else ["BypassSecureBootCheck"]
    lacking += ["BypassRAMCheck"] if windows.memory_mib < 4096 else []
    return tuple(lacking)


def _driver_paths(windows: WindowsSetup) -> tuple[str, ...]:
    """Where the drivers may be. Setup takes no notice of a path that does not exist."""
    folder = windows.virtio_folder.replace("/", "\\")
    return tuple(rf"{letter}:\{driver}\{folder}" for driver in VIRTIO_DRIVERS for letter in LETTERS)


def new_password() -> str:
    """A password of one image: long, and with characters of every class that Windows' policy asks for."""
    letters = string.ascii_letters + string.digits
    return "aA1-" + "".join(secrets.choice(letters) for _ in range(PASSWORD_CHARS))


def render(answer: Answer, folder: Path | None = None) -> dict[str, str]:
    """The files of the answer medium, by their path on it: the answer file, and our setup."""
    environment = Environment(
        loader=FileSystemLoader(folder or image_sources() / "windows"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the XML template escapes what is free text; the others are scripts
    )
    environment.filters["xml"] = escape
    files = {
        "autounattend.xml": "autounattend.xml.j2",
        "halpmc/setup.ps1": "setup.ps1.j2",
        "halpmc/ready.ps1": "ready.ps1.j2",
    }
    return {path: environment.get_template(name).render(a=answer) for path, name in files.items()}
