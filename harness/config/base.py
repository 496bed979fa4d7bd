"""What all models of the configuration share."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of every configured thing: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Generation(StrEnum):
    """Generation of the contract: `exclusive` before Windows 10 1903 (build 18362), `shared` from then on."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"
