"""What ends a command before its work is done, and every error as one line."""

import logging
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from src.errors import InputError
from src.files import display_path

HYDRA_ADVICE = ("To append to your config", "full_key:", "object_type=", "See https://hydra.cc")


class CommandExit(BaseException):
    """The command ends here: 1 for a failure, 128 + the number of the signal that interrupted it."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def error_line(error: BaseException) -> str:
    """One line: what was wrong, and where it can be put right."""
    if isinstance(error, InputError | CommandExit):
        return str(error)
    cause = error.__cause__
    if isinstance(error, HydraException):
        unknown = _unknown_key(cause) if isinstance(cause, OmegaConfBaseException) else None
        if "add --multirun" in str(error):
            typed = str(error).split("'")[1]
            key, values = typed.partition("=")[::2]
            return f"{typed}: one value here; a list is {key}=[{values}], several runs are for python -m src.train -m"
        if isinstance(error, OverrideParseException):
            return f"{error.override} cannot be read: a text with ( ) , = or the like goes in quotes, \"key='a (1)'\""
        slurm = "; pip install -e '.[slurm]' brings it" if "submitit" in str(error) else ""
        return unknown or one_line(error) + slurm
    if isinstance(error, OmegaConfBaseException):
        return one_line(error)
    if "group override must be a string" in str(error):
        return "a group takes the name of one of its options, not null: give none where there is such a one, see --help"
    file = next((h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)), None)
    hint = f"the traceback is in {display_path(Path(file))}" if file else "HYDRA_FULL_ERROR=1 shows the traceback"
    return f"{type(error).__name__}: {one_line(error)} ({hint})"


def _unknown_key(error: OmegaConfBaseException) -> str | None:
    node, key = error.parent_node, error.key
    if not isinstance(node, DictConfig) or key is None or key in node:
        return None
    known = [str(name) for name in node if not str(name).startswith("_") and name != "hydra"]
    close = get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{error.full_key} is no key here; {hint}there are: {', '.join(known)}"


def one_line(error: BaseException) -> str:
    """An error's message on one line, without Hydra's advice to append with +."""
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(HYDRA_ADVICE)]
    return " ".join(kept) or type(error).__name__
