"""What cells are told apart by: their configurations as flat axes, with short values."""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = {True: "on", False: "off", None: "none"}


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """A configuration as dotted keys and short values: hal.generation = shared, pmu = on."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, bool):
            flat[prefix + key] = _WORDS[value]
        elif isinstance(value, list | tuple):
            flat[prefix + key] = ", ".join(str(item) for item in value) or _WORDS[None]
        else:
            flat[prefix + key] = str(value)
    return flat


def axes_of(config: Mapping[str, object]) -> dict[str, str]:
    """The flat configuration of a cell without its id, which is only a name for the rest."""
    return {key: value for key, value in flatten(config).items() if key != "id"}
