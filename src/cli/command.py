"""The shell around every command: Hydra, one-line errors, the run's folder, its status and its log."""

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
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.config import CONF
from src.cli.error_line import CommandExit, error_line
from src.cli.help import HELP, manual
from src.cli.overrides import check_words, flags_first
from src.files import write_json

log = logging.getLogger(__name__)
logging.raiseExceptions = False  # a closed pipe (| head) is no reason for a traceback


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
            except CommandExit as stop:
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
                _fail(error_line(error), 1)

        return main

    return decorate


def terminated(signum: int, frame: object) -> None:
    """SIGTERM ends a command as Ctrl-C does, with 143."""
    raise CommandExit(143, "stopped")


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
        stopped = isinstance(error, CommandExit | KeyboardInterrupt)
        state = "interrupted" if stopped else "failed"
        said = "interrupted" if isinstance(error, KeyboardInterrupt) else error_line(error)
        status(state, seconds=time.time() - started, error=said)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler) and not stopped:
                text = "".join(traceback.format_exception(error))
                handler.emit(logging.LogRecord("src", logging.ERROR, "", 0, text, None, None))
        if not stopped and HydraConfig.get().mode == RunMode.RUN:  # in a sweep the other jobs go on
            raise CommandExit(1, error_line(error)) from error
        raise
    status("finished", seconds=time.time() - started, objective=result)
    return result


def is_first() -> bool:
    """Whether this is the process that a run was started as, not one that Lightning has started beside it (ddp)."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def output_folder() -> Path:
    """The running job's folder."""
    return Path(HydraConfig.get().runtime.output_dir)
