"""How an emulated driver can end a test."""

from __future__ import annotations


class Bugcheck(Exception):
    """The driver did what would stop the kernel (or what Driver Verifier would stop it for)."""


class NotModelled(Exception):
    """The driver calls something that this model does not have."""


class Fault(Exception):
    """An instruction raised an exception; the driver's own handlers are asked next."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:#x}")
        self.code = code
