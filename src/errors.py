"""The one exception for what a user can put right, and the checks of what a user gives."""

import re
import sys
from collections.abc import Collection
from contextlib import suppress
from importlib.util import find_spec
from typing import TypeVar
from unicodedata import category

T = TypeVar("T")


class InputError(ValueError):
    """An input cannot be used.

    The message is one line: what was given, what is accepted, which key or command fixes it. Commands print it
    without a traceback and exit with status 1.
    """


def printable(text: object, most: int | None = None) -> str:
    """A text from outside, such as a name in a file, on one line for a terminal: control characters escaped.

    So are line breaks, marks that change the direction of writing, and bytes of file names that are not UTF-8.
    most: characters; of a longer text the middle is left out.
    """
    line = str(text)
    with suppress(UnicodeError):  # with LC_ALL=C a name that is UTF-8 is surrogates too
        line = line.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    line = "".join(c if c.isprintable() or category(c) == "Zs" else repr(c)[1:-1] for c in line)
    if most is not None and len(line) > most:
        line = f"{line[: most // 2]}…{line[len(line) - most // 2 :]}"
    return line


def as_typed(value: object) -> object:
    """null, true, false, lists and mappings as they are typed on a command line; another value as it is."""
    if isinstance(value, list | tuple):
        return f"[{','.join(str(as_typed(entry)) for entry in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{as_typed(entry)}' for key, entry in value.items())}}}"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value


def require(holds: bool, message: str) -> None:
    """Raise InputError(message) unless `holds`."""
    if not holds:
        raise InputError(message)


def require_packages(extra: str, *packages: str) -> None:
    """Raise InputError if a package of an extra is not installed; nothing is imported."""
    missing = [name for name in packages if find_spec(name) is None]
    require(not missing, f"{', '.join(missing)} is not installed: pip install -e '.[{extra}]' brings it")


def is_integer(value: object) -> bool:
    """Whether it is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite number, whole or real; True and False are not, nor is a text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


# Each check returns the value it was given, and raises InputError("key=value: what is accepted") for another.
# key: as it is typed on the command line; optional: null is accepted too; unit: what is counted or measured.


def integer(
    key: str, value: T, least: int | None = None, most: int | None = None, optional: bool = False, unit: str = ""
) -> T:
    """A whole number within least..most."""
    what = "a whole number" + f" of {unit}" * bool(unit)
    return _check(key, value, is_integer(value), what, optional, least=least, most=most)


def positive_int(key: str, value: T, most: int | None = None, optional: bool = False, unit: str = "") -> T:
    """A whole number of at least 1."""
    return integer(key, value, 1, most, optional, unit)


def number(
    key: str,
    value: T,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    optional: bool = False,
    unit: str = "",
) -> T:
    """A finite number within its bounds: least and most are allowed themselves, above and below are not."""
    what = "a number" + f" of {unit}" * bool(unit)
    return _check(key, value, is_number(value), what, optional, least, most, above, below)


def fraction(key: str, value: T, *, zero: bool = True, one: bool = True, optional: bool = False) -> T:
    """A number from 0 to 1. zero, one: whether these ends are allowed themselves."""
    low, high = ({"least": 0} if zero else {"above": 0}), ({"most": 1} if one else {"below": 1})
    return number(key, value, **low, **high, optional=optional)


def boolean(key: str, value: T) -> T:
    """true or false."""
    return _check(key, value, isinstance(value, bool), "true or false", False)


def text(key: str, value: T, what: str, optional: bool = False) -> T:
    """A text of one character or more. what: what it stands for, as the error says it: a file or a run's folder."""
    return _check(key, value, isinstance(value, str) and value != "", what, optional)


def duration(key: str, value: object, optional: bool = False) -> float | None:
    """Seconds, above 0, of a number of seconds or a text [[days:]hours:]minutes:seconds; None stays None."""
    if optional and value is None:
        return None
    typed = "" if isinstance(value, bool) else str(value)
    fields = typed.split(":") if re.fullmatch(r"\d+(\.\d+)?|(\d+:){1,3}\d+", typed) else []
    seconds = sum(float(text) * unit for text, unit in zip(reversed(fields), (1, 60, 3600, 86400), strict=False))
    require(seconds > 0, f"{key}={as_typed(value)}: seconds, or '[[days:]hours:]minutes:seconds', above 0")
    return seconds


def choice(key: str, value: T, choices: Collection, optional: bool = False) -> T:
    """One of `choices`."""
    found = any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in choices)
    return _check(key, value, found, f"one of {', '.join(map(str, choices))}", optional)


def _check(
    key: str,
    value: T,
    good: bool,
    what: str,
    optional: bool,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> T:
    if optional and value is None:
        return value
    if good and isinstance(value, int | float):
        good = (least is None or value >= least) and (most is None or value <= most)
        good = good and (above is None or value > above) and (below is None or value < below)
    if good:
        return value
    if least is not None and most is not None:
        bounds = f", {least:,} to {most:,}"
    else:
        words = {"at least": least, "above": above, "at most": most, "below": below}
        bounds = "".join(f", {word} {bound:,}" for word, bound in words.items() if bound is not None)
    raise InputError(f"{key}={as_typed(value)}: {what}{bounds}{', or null' * optional}")
