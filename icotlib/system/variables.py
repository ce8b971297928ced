"""The environment variables `ICOT_*` that hold more than text, checked when they are read."""

import os

from icotlib.errors import ConfigError

_SWITCH = {"0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}

#: The largest number that a variable may have.
HIGHEST = 4096


def whole_number(name: str) -> int | None:
    """The whole number of a variable, from 1 to `HIGHEST`; None if it is unset or empty.

    Raises `ConfigError` for any other text.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= HIGHEST:
        raise ConfigError(
            f"the environment variable {name} must be a whole number from 1 to {HIGHEST:,}, got "
            f"{text[:80]!r}; set it so, or unset it"
        )
    return number


def switch(name: str) -> bool | None:
    """Whether a variable is on; None if it is unset or empty.

    Raises `ConfigError` for what is neither on nor off.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if text.lower() not in _SWITCH:
        raise ConfigError(
            f"the environment variable {name} must be 0 or 1, got {text[:80]!r}; set it so, or "
            "unset it"
        )
    return _SWITCH[text.lower()]
