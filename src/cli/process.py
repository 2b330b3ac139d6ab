"""The machine that training runs on: threads, a GPU where one is asked for, and libraries that talk too much."""

import ctypes
import logging
import os
import sys

from omegaconf import DictConfig

from src.errors import InputError, is_integer, is_number, require

MOST_THREADS = 1024  # of which each takes memory; systems refuse some ten thousand


def quiet_libraries() -> None:
    """Keep Lightning's notes about itself out of the way; warnings stay."""
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Batches come from memory: workers would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # Resuming writes into the run's own folder on purpose.
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
    # A deprecation inside Lightning's own pytree helper.
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    # Metrics are torchmetrics objects or sums that every process has already.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    # The data module leaves out the batches that are done.
    warnings.filterwarnings("ignore", ".*dataloader is not resumable.*")
    # A head that is solved for needs no optimizer and no gradient.
    warnings.filterwarnings("ignore", ".*(this fit will run with no optimizer|training_step. returned .None).*")
    # What is frozen stays in eval mode on purpose.
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")
    # Looks at the loss are as far apart as the user says.
    warnings.filterwarnings("ignore", ".*is smaller than the logging interval.*")


def check_threads(given: object) -> None:
    """Raise InputError unless it is a count of threads, up to MOST_THREADS, or None; torch is not read for it."""
    good = given is None or (is_integer(given) and 1 <= given <= MOST_THREADS)
    require(good, f"threads={given}: a whole number, 1 to {MOST_THREADS:,}, or null")


def use_threads(count: int | None) -> None:
    """Let torch compute with so many threads; None leaves what it takes by itself."""
    import torch

    if count is not None:
        torch.set_num_threads(count)


def check_machine(cfg: DictConfig) -> None:
    """Threads, and a GPU where one is asked for. Raises InputError."""
    import torch

    require(is_integer(cfg.seed) and 0 <= cfg.seed < 2**32, f"seed={cfg.seed}: a whole number, 0 to {2**32 - 1}")
    for key in ("compile", "test", "figures"):
        require(isinstance(cfg[key], bool), f"{key}={cfg[key]}: true or false")
    for key in ("log_every_n_steps", "accumulate_grad_batches"):
        value = cfg.trainer[key]
        require(is_integer(value) and value >= 1, f"trainer.{key}={value}: a whole number of at least 1")
    clip = cfg.trainer.gradient_clip_val
    require(clip is None or (is_number(clip) and clip >= 0), f"trainer.gradient_clip_val={clip}: 0 or more, or null")
    check_threads(cfg.threads)
    use_threads(cfg.threads)
    epochs = cfg.trainer.max_epochs
    require(
        epochs is None or (is_integer(epochs) and (epochs >= 1 or epochs == -1)),
        f"trainer.max_epochs={epochs}: at least 1",
    )
    if cfg.trainer.accelerator in ("gpu", "cuda") and not torch.accelerator.is_available():
        raise InputError(
            f"trainer.accelerator={cfg.trainer.accelerator}, but torch finds no GPU here: "
            "give trainer.accelerator=auto or trainer.accelerator=cpu"
        )


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


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
