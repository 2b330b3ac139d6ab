"""A run in several processes (trainer.strategy=ddp): Lightning starts each with the run's own command."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from src.cli.job_record import end_job
from src.cli.overrides import command_on
from src.cli.process import command_line, is_main_process, is_sweep_job
from src.cli.torchrun import started_by_torchrun
from src.errors import InputError, printable
from src.training.host_watch import watch_hosts

RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def ddp_processes(folder: Path, overrides: Sequence[str], world_size: int) -> Iterator[None]:
    """Within this, Lightning starts the other processes of the run in `folder` by its own overrides.

    In a sweep the command line is that of all jobs (Lightning #11300), and the variables that one job leaves in the
    environment would make the next wait for processes that nobody starts.
    Raises InputError where another process has died.
    """
    if world_size == 1:
        yield
        return
    died = (
        f"another of the {world_size} processes died; its log is beside train.log; resume with: "
        f"{command_on(folder, 'train', 'resume_from')}"
    )

    def end_process(missing: str) -> None:
        message = f"{died} ({missing})"
        end_job("failed", message)
        print(printable(f"error: {message}"), file=sys.stderr, flush=True)
        os._exit(1)

    environment = {name: os.environ.get(name) for name in RANK_VARIABLES}
    words = [word for word in overrides if not word.startswith("hydra.")] if is_sweep_job() else sys.argv[1:]
    try:
        with command_line(words), watch_hosts(end_process) if started_by_torchrun() else nullcontext():
            yield
    except RuntimeError as error:
        if any(word in str(error) for word in ("gloo", "NCCL", "closed by peer")):
            raise InputError(died) from error
        raise
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def quiet_other_processes() -> None:
    """Let only the main process write to the terminal; the others' messages are in their own logs."""
    if not is_main_process():
        for handler in logging.getLogger().handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)
