"""The one exception for what a user can put right."""

import math
from importlib.util import find_spec


class InputError(ValueError):
    """What was given cannot be used.

    The message is one line: what was given, what is accepted, which key or command fixes it. Commands print it
    without a traceback and exit with status 1.
    """


def require(holds: bool, message: str) -> None:
    """Raise InputError(message) unless `holds`."""
    if not holds:
        raise InputError(message)


def need(extra: str, *packages: str) -> None:
    """Raise InputError if a package of an extra is not installed; nothing is imported."""
    missing = [name for name in packages if find_spec(name) is None]
    require(not missing, f"{', '.join(missing)} is not installed: pip install -e '.[{extra}]' brings it")


def is_count(value: object) -> bool:
    """A whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A whole or real number; True and False are none, nor are NaN and the infinities."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
