"""Small training sessions, and interruptions of them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from src.cli.config import load_config
from src.model_files.checkpoint import read_checkpoint
from src.training.build import Session, build
from src.training.fit import fit

SMALL = [
    "data=kmnist", "data.download=false", "data.val=50", "data.batch_size=16", "augment=affine", "model.dropout=0.2",
    "model.batch_norm=true", "task.mixup=0.2", "task.cutmix=0.5", "logger=csv", "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=4", "trainer.max_epochs=3",
]  # fmt: skip
AVERAGED = ["callbacks=[default,ema]", "callbacks.ema.decay=0.9"]


def small_config(root: Path, folder: Path, *words: str) -> DictConfig:
    """The config of a run on the small KMNIST of `root`, with everything random that training has."""
    return load_config([*SMALL, f"data.root={root}", *words], output_dir=folder)


def make_session(root: Path, folder: Path, *words: str, ema: bool = False, callbacks: tuple = ()) -> Session:
    """A session of that config."""
    averaged = AVERAGED if ema else []
    return build(small_config(root, folder, *averaged, *words), callbacks=list(callbacks))


def run(root: Path, folder: Path, *words: str, ema: bool = False, callbacks: tuple = ()) -> Session:
    """The same session after it was fitted."""
    session = make_session(root, folder, *words, ema=ema, callbacks=callbacks)
    fit(session)
    return session


def weights(path: Path) -> dict:
    """Every tensor of a checkpoint's network, averaged and raw."""
    checkpoint = read_checkpoint(path)
    return {**checkpoint["state_dict"], **{f"raw.{k}": v for k, v in checkpoint.get("current_model_state", {}).items()}}


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def state(path: Path) -> dict:
    """What a checkpoint holds of a training, as flat keys: weights, optimizers, schedules, callbacks, counters."""
    checkpoint = read_checkpoint(path)
    parts = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "callbacks", "epoch", "loops")
    return dict(_leaves({part: checkpoint[part] for part in parts if part in checkpoint}))


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict | list | tuple):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{key}.{name}")
    else:
        yield (
            key,
            value if isinstance(value, torch.Tensor) else torch.tensor(hash(value)),
        )


class Signal(Callback):
    """A signal in the n-th call of a hook."""

    def __init__(self, hook: str, call: int, signum: int = signal.SIGINT):
        self.left, self.signum = call, signum
        setattr(self, hook, self._count)

    def _count(self, *args, **kwargs):
        if self.left == 0:
            signal.raise_signal(self.signum)
        self.left -= 1


class Poison(Callback):
    """Images that are not numbers."""

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        batch[0].fill_(float("nan"))
