"""The shell around every command: Hydra, one-line errors, the run's folder, its status and its log."""

import ctypes
import functools
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.data.fetch import write_json
from src.errors import InputError
from src.manual import HELP, check_words, flags_first, manual

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
HYDRA_ADVICE = ("To append to your config", "full_key:", "object_type=", "See https://hydra.cc")
log = logging.getLogger(__name__)
logging.raiseExceptions = False  # a closed pipe (| head) is no reason for a traceback


class Stop(BaseException):
    """The command ends here: 1 for a failure, 128 + the number of the signal that interrupted it."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def command(config_name: str, prepare: Callable[[], None] = lambda: None) -> Callable:
    """Make `task(cfg)` a command: composed by Hydra, recorded in its folder, every error one line on the terminal.

    prepare: called first; may rewrite sys.argv. The task's return value is what a sweep optimises.
    Exit status: 0 done, 1 failed, 130 Ctrl-C, 143 SIGTERM. HYDRA_FULL_ERROR=1 shows tracebacks.
    """

    def decorate(task: Callable[[DictConfig], float | None]) -> Callable[[], None]:
        @functools.wraps(task)
        def job(cfg: DictConfig) -> float | None:
            return _recorded(task, cfg)

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main() -> None:
            verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to us
            try:
                if "COMP_LINE" in os.environ:
                    _strip_interpreter()
                sys.argv[1:] = flags_first(sys.argv[1:])
                signal.signal(signal.SIGTERM, terminated)
                if any(word in HELP for word in sys.argv[1:]):
                    print(manual(CONF, config_name), flush=True)
                    return
                prepare()
                check_words(CONF, config_name, sys.argv[1:])
                run()
            except Stop as stop:
                if verbose and stop.__cause__ is not None:
                    raise stop.__cause__ from None
                _fail(str(stop), stop.status)
            except KeyboardInterrupt:
                _fail("interrupted", 130)
            except BrokenPipeError:  # the reader (| head) has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except Exception as error:
                if verbose:
                    raise
                _fail(explain(error), 1)

        return main

    return decorate


def terminated(signum: int, frame: object) -> None:
    """SIGTERM ends a command as Ctrl-C does, with 143."""
    raise Stop(143, "stopped")


@contextmanager
def signals_to_trainer() -> Iterator[None]:
    """Leave SIGTERM to Lightning, which stops between two steps."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _strip_interpreter() -> None:
    """Hydra completes `app key=`; make `python -m app key=` look like it."""
    line, point = os.environ["COMP_LINE"], int(os.environ.get("COMP_POINT", len(os.environ["COMP_LINE"])))
    short = re.sub(r"^\s*\S*python\S*\s+-m\s+", "", line)
    os.environ |= {"COMP_LINE": short, "COMP_POINT": str(max(0, point - len(line) + len(short)))}


def _fail(message: str, status: int) -> None:
    print(message if status >= 128 else f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _recorded(task: Callable, cfg: DictConfig) -> float | None:
    """Run one job; `status.json` in its folder says how it went, its log has the traceback of what failed."""
    folder = output_folder()
    started = time.time()

    def status(state: str, **more) -> None:
        about = {"state": state, "command": HydraConfig.get().job.config_name, "started": started, "pid": os.getpid()}
        if is_first():
            write_json(folder / "status.json", {**about, **more})

    status("running")
    try:
        result = task(cfg)
    except BaseException as error:
        stopped = isinstance(error, Stop | KeyboardInterrupt)
        state = "interrupted" if stopped else "failed"
        said = "interrupted" if isinstance(error, KeyboardInterrupt) else explain(error)
        status(state, seconds=time.time() - started, error=said)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler) and not stopped:
                text = "".join(traceback.format_exception(error))
                handler.emit(logging.LogRecord("src", logging.ERROR, "", 0, text, None, None))
        if not stopped and HydraConfig.get().mode == RunMode.RUN:  # in a sweep the other jobs go on
            raise Stop(1, explain(error)) from error
        raise
    status("finished", seconds=time.time() - started, objective=result)
    return result


def is_first() -> bool:
    """Whether this is the process that a run was started as, not one that Lightning has started beside it (ddp)."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def output_folder() -> Path:
    """The running job's folder."""
    return Path(HydraConfig.get().runtime.output_dir)


def shown(path: Path) -> str:
    """A path as a user would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def build(node: DictConfig | None, key: str, *args, **kwargs):
    """The object that a config node describes; None for no node. The only caller of Hydra's instantiate.

    key: the node's name, for the error. Raises InputError if the constructor refuses its arguments.
    """
    if node is None:
        return None
    try:
        return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(
            f"{key}: {node.get('_target_', '')} refused its arguments ({_line(cause or error)})"
        ) from error


def tune_process() -> None:
    """Two settings of the process that training is faster with; call it after lightning is imported."""
    # lightning.fabric asks torch for NVML checks, which makes every optimizer step look for the driver's library where
    # there is none: 30 to 100 microseconds a step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    # glibc gives large freed blocks back to the system and faults them in again at the next step: a third of a forward
    # pass at 1,000 images. Keep up to 1 GiB instead.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for option, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 1 << 30)):
                libc.mallopt(option, value)


def plain(node: DictConfig) -> dict:
    """A resolved config as dicts, lists, strings and numbers."""
    return OmegaConf.to_container(node, resolve=True)


def explain(error: BaseException) -> str:
    """One line: what was wrong, and where it can be put right."""
    if isinstance(error, InputError | Stop):
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
        return unknown or _line(error) + slurm
    if isinstance(error, OmegaConfBaseException):
        return _line(error)
    if "group override must be a string" in str(error):
        return "a group takes the name of one of its options, not null: give none where there is such a one, see --help"
    file = next((h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)), None)
    hint = f"the traceback is in {shown(Path(file))}" if file else "HYDRA_FULL_ERROR=1 shows the traceback"
    return f"{type(error).__name__}: {_line(error)} ({hint})"


def _unknown_key(error: OmegaConfBaseException) -> str | None:
    node, key = error.parent_node, error.key
    if not isinstance(node, DictConfig) or key is None or key in node:
        return None
    known = [str(name) for name in node if not str(name).startswith("_") and name != "hydra"]
    close = get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{error.full_key} is no key here; {hint}there are: {', '.join(known)}"


def _line(error: BaseException) -> str:
    """An error's message on one line, without Hydra's advice to append with +."""
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(HYDRA_ADVICE)]
    return " ".join(kept) or type(error).__name__
