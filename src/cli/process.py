"""Settings of the process that a command runs in: threads, allocator, warnings, signals, its command line."""

import codecs
import ctypes
import io
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.error_line import CommandExit
from src.errors import InputError, boolean, integer, number, positive_int, require
from src.signals import ENDING

MOST_THREADS = 1024  # each takes memory; systems refuse some ten thousand
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches")
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # batches come from memory: workers would only copy them
    ".*`srun` command is available.*",  # a job of a SLURM array is one process
    ".*exists and is not empty.*",  # a resumed run writes into its own folder
    ".*isinstance.treespec, LeafSpec.*",  # a deprecation inside Lightning's own pytree module
    ".*sync_dist=True.*",  # metrics are torchmetrics objects, or sums that every process has already
    ".*dataloader is not resumable.*",  # the data module skips the batches that are done
    ".*(this fit will run with no optimizer|training_step. returned .None).*",  # closed-form heads need no gradient
    ".*in eval mode at the start of training.*",  # frozen modules stay in eval mode
    ".*is smaller than the logging interval.*",  # the user sets trainer.log_every_n_steps
)


def quiet_libraries() -> None:
    """Silence Lightning's notes about itself and the warnings that are expected here; others stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)


def check_threads(threads: object) -> None:
    """Raise InputError unless it is a number of threads or None; does not import torch."""
    positive_int("threads", threads, most=MOST_THREADS, optional=True)


def set_threads(threads: int | None) -> None:
    """Set how many CPU threads torch uses; None leaves its default."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def tune_process() -> None:
    """Apply two settings that speed up training; call it after importing lightning."""
    # lightning.fabric asks torch for NVML checks, which make every optimizer step look for the driver's library where
    # there is none: 30 to 100 microseconds a step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    # glibc returns large freed blocks to the system and faults them in again at the next step: a third of a forward
    # pass at 1,000 images. Keep up to 1 GiB instead.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
                libc.mallopt(option, 1 << 30)


def check_training_options(cfg: DictConfig) -> None:
    """Raise InputError for values of the seed, the switches and the Trainer's flags that cannot be used."""
    import torch

    integer("seed", cfg.seed, 0, 2**32 - 1)
    check_threads(cfg.threads)
    for key in ("compile", "test", "figures"):
        boolean(key, cfg[key])
    trainer = cfg.trainer
    for key in ("log_every_n_steps", "accumulate_grad_batches"):
        positive_int(f"trainer.{key}", trainer[key])
    for key in LIMITS:
        number(f"trainer.{key}", trainer[key], least=0, optional=True)
    number("trainer.gradient_clip_val", trainer.gradient_clip_val, least=0, optional=True)
    if trainer.max_epochs != -1:
        positive_int("trainer.max_epochs", trainer.max_epochs, optional=True)
    endless = trainer.max_epochs == -1 and trainer.max_steps == -1
    require(not endless, "training has no end: give trainer.max_epochs or trainer.max_steps")
    if trainer.accelerator in ("gpu", "cuda") and not torch.accelerator.is_available():
        raise InputError(
            f"trainer.accelerator={trainer.accelerator}, but torch finds no GPU here: "
            "give trainer.accelerator=auto or trainer.accelerator=cpu"
        )


def in_utf8_mode() -> None:
    """Start the command again in Python's UTF-8 mode where names of files, and so its arguments, have another encoding.

    Names of classes and pictures are UTF-8 in every locale, and so are then the words that are compared with them, and
    paths for every library. Bytes that are not UTF-8 stay as they are. The terminal keeps its encoding. The process
    keeps its id; the processes that it starts inherit the mode.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.name != "posix" or os.environ.get("PYTHONUTF8") == "1":
        return
    env = {**os.environ, "PYTHONUTF8": "1"}
    if not env.get("PYTHONIOENCODING") and sys.stdout is not None:
        env["PYTHONIOENCODING"] = sys.stdout.encoding
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], env)


def escape_for_terminal() -> None:
    """Let a terminal get \\u82f9 for a character that its encoding lacks, which JSON too reads as that character."""

    def escape(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("json_escape", escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="json_escape")


def exit_on_signals() -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C is handled, with exit status 143 and 129; what is ignored stays so."""

    def leave(signum: int, frame: object) -> None:
        raise CommandExit(128 + signum, "stopped")

    for signum in ENDING:
        if signum != signal.SIGINT and signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, leave)


@contextmanager
def command_line(words: Sequence[str]) -> Iterator[None]:
    """Present `words` as this process's arguments to Hydra and to Lightning's launcher, which read sys.argv."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def is_sweep_job() -> bool:
    """Whether the running job is one of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode != RunMode.RUN


def is_main_process() -> bool:
    """Whether this process is the first of its run; False in one that Lightning or torchrun started beside it."""
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
    return (rank or os.environ.get("LOCAL_RANK", "0")) == "0"
