"""Training time of fine-tuning methods: python -m benchmarks.finetune_speed [--root data]

Ratios of medians from interleaved epochs, in one process: training on MNIST, without validation.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from src.cli.process import quiet_libraries, tune_process
from src.data.datamodule import ImageData
from src.finetune.lora import LoRA
from src.finetune.method import Full, Head, Method
from src.models.lenet import LeNet
from src.models.memory_format import set_memory_format
from src.models.resnet import ResNet
from src.training.callbacks import NoProfiler
from src.training.plain_step import use_plain_steps
from src.training.task import Classifier


class Clock(Callback):
    """Seconds of each epoch."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer, task) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, task) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def epoch(model: nn.Module, method: Method, data: ImageData, steps: float | int) -> float:
    """Seconds of the second of two epochs; the first one fills the feature cache."""
    clock = Clock()
    adamw = partial(torch.optim.AdamW, lr=1e-3, fused=True)
    model = method.adapt(model, data.info.shape)
    set_memory_format(model, data.info.shape)
    task = Classifier(model, data.info, adamw, method=method)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=steps,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[clock],
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
    )
    use_plain_steps(trainer)
    trainer.fit(task, data)
    return clock.seconds[-1]


def compare(title: str, numerator: tuple, denominator: tuple, aim: str, repeats: int) -> None:
    """Print the ratio of two ways of training, each a model factory, a method factory, data and steps per epoch."""
    times = [[], []]
    for _ in range(repeats):
        for index, (make, method, data, steps) in enumerate((numerator, denominator)):
            data.feature_cache = type(data.feature_cache)(data)
            torch.manual_seed(0)
            times[index].append(epoch(make(), method(), data, steps))
    first, second = map(statistics.median, times)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    print(
        f"{title:<58} {first / second:6.2f}   {aim}; {min(ratios):.2f} to {max(ratios):.2f}, n={repeats}; "
        f"{first:.3g} s over {second:.3g} s",
        flush=True,
    )


def main() -> None:
    """Print a row per ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    quiet_libraries()
    tune_process()
    for size in (64, 128, 256, 512):
        data = ImageData("mnist", root=str(Path(args.root).resolve()), download=False, batch_size=size)
        data.setup()
        lenet, resnet = (partial(kind, data.info.shape, 10) for kind in (LeNet, ResNet))
        plain, cached = (lenet, partial(Head, cached_passes=0), data, 1.0), (lenet, Head, data, 1.0)
        compare(
            f"head, batch {size}: an epoch on images over cached features", plain, cached, "at least 10", args.repeats
        )
        if size == 128:
            lora, full = (lenet, LoRA, data, 200), (lenet, Full, data, 200)
            compare("lenet, batch 128: a step of lora over full", lora, full, "at most 1.25", args.repeats)
            lora, full = (resnet, LoRA, data, 40), (resnet, Full, data, 40)
            compare("resnet, batch 128: a step of lora over full", lora, full, "at most 1.00", args.repeats)


if __name__ == "__main__":
    main()
