"""What a driver imports, against what the target's kernel is documented to export."""

from __future__ import annotations

import functools
from pathlib import Path

import pefile
import yaml

from harness.config.models import Model
from harness.driver.inspection import Finding, Status, Target

#: Images that the kernel binds drivers to and that this project knows by name.
KERNEL_IMAGES = frozenset({"ntoskrnl.exe", "hal.dll", "wdfldr.sys", "ndis.sys", "cng.sys", "fltmgr.sys"})
USER_MODE_PREFIXES = ("kernel32", "kernelbase", "user32", "gdi32", "advapi32", "ntdll", "msvcrt", "ucrtbase")
USER_MODE_FAMILIES = ("api-ms-win-crt", "vcruntime", "msvcp", "libgcc", "libstdc++", "libwinpthread")


class KernelExports(Model):
    """kernel_exports.yaml; its head says where the data come from."""

    always: frozenset[str]
    since: dict[str, int]
    compiler: frozenset[str]
    doors: frozenset[str]


@functools.cache
def kernel_exports() -> KernelExports:
    """The table of documented kernel routines."""
    text = Path(__file__).with_name("kernel_exports.yaml").read_text(encoding="utf-8")
    return KernelExports.model_validate(yaml.safe_load(text))


def read_imports(image: pefile.PE) -> dict[str, tuple[str, ...]]:
    """Image name in lower case → the names imported from it; "#N" for an import by ordinal."""
    imports: dict[str, tuple[str, ...]] = {}
    for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", []):
        dll = entry.dll.decode("latin-1").lower()
        names = tuple(
            symbol.name.decode("latin-1") if symbol.name else f"#{symbol.ordinal}" for symbol in entry.imports
        )
        imports[dll] = imports.get(dll, ()) + names
    return imports


def check_imports(imports: dict[str, tuple[str, ...]], target: Target) -> list[Finding]:
    """Findings about imports: images, availability on the target, and doors that a driver should not open."""
    return [
        _images(imports),
        _availability(imports, target),
        _doors(imports),
    ]


def _images(imports: dict[str, tuple[str, ...]]) -> Finding:
    user_mode = [dll for dll in imports if dll.startswith(USER_MODE_PREFIXES + USER_MODE_FAMILIES)]
    if user_mode:
        return Finding(
            check="import images",
            status=Status.FAIL,
            detail=f"imports from user mode: {', '.join(user_mode)}",
            remedy="link without the C runtime and user-mode libraries, against ntoskrnl only",
        )
    other = [dll for dll in imports if dll not in KERNEL_IMAGES]
    if other:
        return Finding(
            check="import images",
            status=Status.WARN,
            detail=f"imports from {', '.join(other)}, which the target has to have loaded",
        )
    return Finding(check="import images", status=Status.OK, detail=", ".join(imports) or "imports nothing")


def _availability(imports: dict[str, tuple[str, ...]], target: Target) -> Finding:
    table = kernel_exports()
    names = sorted({name for dll in ("ntoskrnl.exe", "hal.dll") for name in imports.get(dll, ())})
    late = [name for name in names if table.since.get(name, 0) > target.build]
    if late:
        said = ", ".join(f"{name} (build {table.since[name]} and later)" for name in late)
        return Finding(
            check="imports",
            status=Status.FAIL,
            detail=f"not in Windows build {target.build}: {said}",
            remedy="resolve them at run time with MmGetSystemRoutineAddress",
        )
    unknown = [name for name in names if name not in table.always | table.since.keys() | table.compiler]
    if unknown:
        return Finding(
            check="imports",
            status=Status.WARN,
            detail=f"cannot be checked, not in this table: {', '.join(unknown)}",
            remedy="see 'Minimum supported client' on each routine's page",
        )
    return Finding(
        check="imports",
        status=Status.OK,
        detail=f"{len(names)} kernel routines, all documented for build {target.build}",
    )


def _doors(imports: dict[str, tuple[str, ...]]) -> Finding:
    names = {name for list_ in imports.values() for name in list_}
    open_doors = sorted(names & kernel_exports().doors)
    if open_doors:
        return Finding(
            check="doors",
            status=Status.WARN,
            detail=f"can reach memory or devices at large: {', '.join(open_doors)}",
            remedy="make sure that user mode cannot steer them",
        )
    return Finding(check="doors", status=Status.OK, detail="no routine that maps arbitrary memory or devices")
