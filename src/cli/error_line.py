"""Every error of a command as one line, and the exception that carries it with an exit status."""

import logging
import re
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from src.cli.overrides import OF_ONE_OPTION, quoted_override
from src.errors import InputError, printable
from src.files import disk_full, display_path

HYDRA_ADVICE = ("To append to your config", "full_key:", "object_type=", "See https://hydra.cc")


class CommandExit(BaseException):
    """Ends a command with an exit status: 1 for a failure, 128 + n for signal n."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def stop_behind(error: BaseException | None) -> KeyboardInterrupt | CommandExit | None:
    """The Ctrl-C or the signal that led to an error: a library whose work it cuts short may raise one of its own."""
    waiting, seen = [error], set()  # errors may lead to each other in a circle
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, CommandExit) and error.status > 128):
            return error
        seen.add(id(error))
        waiting += [error.__context__, error.__cause__]
    return None


def error_line(error: BaseException) -> str:
    """What is wrong and how to fix it, on one line; for an unforeseen error also where its traceback is."""
    return printable(_error_text(error))


def launch_error_line(error: BaseException) -> str:
    """`error_line` of an error outside a run; one of a file's or folder's name is of the folder that Hydra makes."""
    if not isinstance(error, OSError) or not error.filename or disk_full(error):
        return error_line(error)
    reason = "a file has this name" if isinstance(error, FileExistsError) else str(error.strerror).lower()
    path = display_path(Path(error.filename))
    return printable(f"{path}: {reason}; give another folder as hydra.run.dir (hydra.sweep.dir of a sweep)")


def _error_text(error: BaseException) -> str:
    if isinstance(error, InputError | CommandExit):
        return str(error)
    if isinstance(error, HydraException):
        return str(error.__cause__) if isinstance(error.__cause__, InputError) else _hydra_line(error)
    if isinstance(error, OmegaConfBaseException):
        return message_line(error)
    if isinstance(error, UnicodeEncodeError) and _is_of_name(error):
        name = printable(error.object, 200)
        return (
            f"{name} cannot be opened under this name ({error.encoding}): rename it, or set PYTHONUTF8=1 if it is UTF-8"
        )
    if isinstance(error, OSError) and (problem := disk_full(error)):
        return f"{display_path(Path(error.filename)) if error.filename else 'a file'} is not written: {problem}"
    if "group override must be a string" in str(error):
        return "a group takes the name of one of its options, not null: give none if it has one, see --help"
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, which is not imported here
        return f"trainer: {message_line(error)}"
    file = next((h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)), None)
    hint = f"the traceback is in {display_path(Path(file))}" if file else "HYDRA_FULL_ERROR=1 shows the traceback"
    return f"{type(error).__name__}: {message_line(error)} ({hint})"


def _is_of_name(error: UnicodeEncodeError) -> bool:
    """Whether a library or the system refused the name of a file, which it takes in UTF-8 or the locale's encoding."""
    refused = error.object[error.start : error.end]
    return any("\udc80" <= c <= "\udcff" for c in refused) or "utf-8" not in (
        error.encoding,
        sys.getfilesystemencoding(),
    )


def message_line(error: BaseException) -> str:
    """An error's message on one line, without Hydra's advice to append with +."""
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(HYDRA_ADVICE)) or type(error).__name__


def _hydra_line(error: HydraException) -> str:
    if sweep := re.match(r"Sweep parameters '(.*)' requires --multirun", str(error), re.DOTALL):
        search = "hydra/sweeper=optuna " if "interval(" in sweep[1] else ""
        reads = "an interval is read by -m with hydra/sweeper=optuna" if search else "several values need -m"
        return f"{sweep[1]}: {reads}: python -m src.train -m {search}{shlex.quote(sweep[1])}"
    if refused := re.match(r"Error in call to target '[\w.]*?(\w+)'", str(error)):
        node = "hydra.launcher" if refused[1].endswith("Launcher") else "hydra.sweeper"
        return f"{node}: {refused[1]} refused its options ({message_line(error.__cause__ or error)})"
    if "add --multirun" in str(error):
        typed = str(error).split("'")[1]
        key, values = typed.partition("=")[::2]
        a_list = "" if key in OF_ONE_OPTION else f"a list is {key}=[{values}], "
        return f"{typed}: one value only; {a_list}several runs need python -m src.train -m"
    if isinstance(error, OverrideParseException):
        _, evaluating, reason = str(error).partition(" while evaluating ")
        if evaluating and "Unknown function" not in reason:
            reason = " ".join(reason.partition(": ")[2].split())
            plain = "; a plain list takes null: key=null,1.0" if "null" in error.override else ""
            return f"{error.override} cannot be evaluated: {reason}{plain}"
        key, _, value = error.override.partition("=")
        typed = quoted_override(key, value) if re.fullmatch(r"[+~]{0,2}[\w.@/-]+", key) else None
        quotes = "a text needs quotes, \"key='a (1)'\", a list its brackets"
        if value.startswith("{") and not value.isascii():
            quotes += ", a name before a colon is ASCII: others go into a file for --config-dir"
        if typed:
            return f"{error.override} has signs that Hydra reads otherwise: type {typed}"
        return f"{error.override} cannot be parsed: {quotes}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        accepted = f"one of {', '.join(error.options)}" if error.options else "the options are in --help"
        return f"{group}={option}: {accepted}" if group else message_line(error)
    cause = error.__cause__
    unknown = _unknown_key(cause) if isinstance(cause, OmegaConfBaseException) else None
    return unknown or message_line(error)


def _unknown_key(error: OmegaConfBaseException) -> str | None:
    node, key = error.parent_node, error.key
    if not isinstance(node, DictConfig) or key is None or key in node:
        return None
    known = [str(name) for name in node if not str(name).startswith("_") and name != "hydra"]
    close = get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    keys = f"the keys are: {', '.join(known)}" if known else f"+{error.full_key}=... adds it"
    return f"{error.full_key} does not exist; {hint}{keys}"
