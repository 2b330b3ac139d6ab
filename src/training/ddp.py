"""A run in several processes (trainer.strategy=ddp): each is started with the run's own command, and none is waited for
in vain."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.cli.command import is_first
from src.errors import InputError
from src.files import display_path

LEFT_BEHIND = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def processes_of(folder: Path, overrides: Sequence[str], world: int) -> Iterator[None]:
    """Within this, Lightning starts the other processes of the run in `folder` by its own overrides.

    In a sweep the command line is that of all jobs (Lightning #11300), and what one job leaves in the environment makes
    the next wait for processes that nobody starts. world: number of processes.
    Raises InputError where another process has died.
    """
    if world == 1:
        yield
        return
    words, environment = sys.argv[1:], {name: os.environ.get(name) for name in LEFT_BEHIND}
    if HydraConfig.initialized() and HydraConfig.get().mode != RunMode.RUN:
        sys.argv[1:] = [word for word in overrides if not word.startswith("hydra.")]
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in ("gloo", "NCCL", "closed by peer")):
            raise InputError(
                f"another of the {world} processes died; its log is beside train.log; go on with: "
                f"python -m src.train resume_from={display_path(folder)}"
            ) from error
        raise
    finally:
        sys.argv[1:] = words
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def quiet_others() -> None:
    """Let only the first process of a run speak; what the others have to say is in their own logs."""
    if not is_first():
        for handler in logging.getLogger().handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.ERROR)
