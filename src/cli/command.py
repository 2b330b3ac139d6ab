"""The shell around every command: Hydra, one-line errors, the run's folder, its status and its log."""

import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.config import CONF, config_folders, to_plain
from src.cli.error_line import CommandExit, error_line, launch_error_line, stop_behind
from src.cli.help import HELP_FLAGS, help_text
from src.cli.job_record import open_record
from src.cli.overrides import INFO_FLAGS, check_overrides, command_text, expand_home, flags_first, override_key
from src.cli.paths import check_paths, check_typed_paths
from src.cli.process import command_line, escape_for_terminal, exit_on_signals, in_utf8_mode, is_main_process
from src.cli.targets import drop_replaced_keys, with_open_nodes
from src.cli.torchrun import share_words, started_by_torchrun
from src.errors import InputError, printable, require
from src.model_files.renamed import with_current_targets
from src.model_files.trust import check_recorded, trusted

logging.raiseExceptions = False  # a closed pipe (| head) is no reason for a traceback
logging.getLogger("matplotlib").setLevel(logging.WARNING)  # not that it looked for fonts
Job = Callable[[DictConfig], float | None]


def command(config_name: str, resolve: Callable[[Sequence[str]], list[str]] = list) -> Callable[[Job], Callable]:
    """Make `task(cfg)` a command: composed by Hydra, recorded in its folder, every error one line on the terminal.

    resolve: from the words that were typed to the overrides that Hydra gets; what it adds is printed. The task's
    return value is what a sweep optimizes.
    Exit status: 0 done, 1 failed, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP. HYDRA_FULL_ERROR=1 shows tracebacks.
    """

    def decorate(task: Job) -> Callable[[], None]:
        @functools.wraps(task)
        def job(cfg: DictConfig) -> float | None:
            return run_job(task, cfg)

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main() -> None:
            if task.__module__ == "__main__":  # not where Python code calls a command
                in_utf8_mode()
            verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of exiting
            escape_for_terminal()
            try:
                exit_on_signals()
                _main(config_name, sys.argv[1:], resolve, run)
            except CommandExit as stop:
                if verbose and stop.__cause__ is not None:
                    raise stop.__cause__ from None
                _fail(str(stop), stop.status)
            except KeyboardInterrupt:
                _fail("interrupted", 130)
            except BrokenPipeError:  # the reader (| head) has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except Exception as error:
                if (stop := stop_behind(error)) is not None:
                    _fail("interrupted", getattr(stop, "status", 130))
                if verbose:
                    raise
                _fail(launch_error_line(error), 1)

        return main

    return decorate


def _main(verb: str, typed: list[str], resolve: Callable[[Sequence[str]], list[str]], run: Callable) -> None:
    if "COMP_LINE" in os.environ:
        _strip_interpreter()
    words = typed = flags_first([expand_home(word) for word in typed])
    if any(word in HELP_FLAGS for word in words):
        print(help_text(CONF, verb), flush=True)
        return
    check_typed_paths(words)
    if started_by_torchrun():
        words = share_words(words, resolve)
    elif is_main_process():  # the others of a ddp run get words that are resolved
        words = resolve(words)
    check_overrides(CONF, verb, words)
    added = [word for word in words if word not in typed]
    if added and is_main_process() and not any(word in INFO_FLAGS for word in words):
        print(f"resolved to: {command_text(verb, words)}", flush=True)
    with command_line(with_open_nodes(words)):
        run()


def _strip_interpreter() -> None:
    """Hydra completes `app key=`; make `python -m app key=` look like it."""
    line, point = os.environ["COMP_LINE"], int(os.environ.get("COMP_POINT", len(os.environ["COMP_LINE"])))
    short = re.sub(r"^\s*\S*python\S*\s+-m\s+", "", line)
    os.environ |= {"COMP_LINE": short, "COMP_POINT": str(max(0, point - len(line) + len(short)))}


def _fail(message: str, status: int) -> None:
    if status < 128 or is_main_process():  # all processes of a ddp run stop, and one says so
        print(printable(message if status >= 128 else f"error: {message}"), file=sys.stderr)
    sys.exit(status)


def run_job(task: Job, cfg: DictConfig) -> float | None:
    """Run one job. `status.json` in its folder records its state, its log a failure."""
    record = open_record(cfg)
    try:
        stays = not HydraConfig.get().job.chdir
        require(stays, "hydra.job.chdir=true: leave it out; paths are those of the folder where the command is typed")
        with trusted(cfg.get("trust")):
            if cfg.get("resume_from"):  # before anything that a checkpoint's recorded command names is imported
                check_recorded(with_current_targets(to_plain(cfg)), f"resume_from={cfg.resume_from}")
            settings = HydraConfig.get()
            typed = {override_key(word) for word in settings.overrides.task}
            drop_replaced_keys(cfg, typed, settings.runtime.choices, config_folders(settings))
            check_paths(cfg)
            result = task(cfg)
    except BaseException as error:
        stop = error if isinstance(error, CommandExit) else stop_behind(error)
        message = "interrupted" if isinstance(stop, KeyboardInterrupt) else error_line(stop or error)
        record.end("interrupted" if stop else "failed", error=message)
        if stop is error:
            raise
        if stop is not None:
            raise stop from None
        log_error(error, message)
        if HydraConfig.get().mode == RunMode.RUN:  # in a sweep the other jobs go on
            raise CommandExit(1, message) from error
        raise
    record.end("finished", objective=result)
    return result


def log_error(error: BaseException, message: str) -> None:
    """Write a failure to the run's log: one line for what the user can put right, else a traceback."""
    foreseen = isinstance(error, InputError) and error.__cause__ is None
    text = message if foreseen else "".join(traceback.format_exception(error))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(logging.LogRecord("src", logging.ERROR, "", 0, text, None, None))
