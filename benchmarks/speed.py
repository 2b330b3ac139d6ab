"""How fast training is, against loops written by hand: python -m benchmarks.speed [--root data] [--only epoch ...]

Every figure is a ratio of medians from repeats that take turns in one run, so that a machine that speeds up or slows
down meanwhile does both sides the same. The hand-written loop is what an expert writes without a framework: the same
network, tensors, optimizer, schedule, counters and validation, nothing else.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback
from torch import nn

from src.callbacks import Unprofiled
from src.checkpoint import CheckpointFiles
from src.data.module import ImageData
from src.models.lenet import LeNet
from src.optimizers import onecycle, parameter_groups
from src.run import CONF, build, plain, tune_process
from src.task import Classifier

EPOCHS = 3


class StopAtFirstStep(Callback):
    """Ends the process after one step; a whole run's time is then the time to the first step."""

    def on_train_batch_end(self, *args) -> None:
        os._exit(0)


class Timed(Classifier):
    """A task that notes when its epochs begin."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.marks = [*getattr(self, "marks", []), time.perf_counter()]

    def on_train_end(self) -> None:
        self.marks.append(time.perf_counter())


def ours(data: ImageData, batch_size: int) -> list[float]:
    """Seconds of each epoch but the first of a run of `src.train`: validation, files, logs and bar included."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            given = [f"trainer.max_epochs={EPOCHS}", f"output_dir={folder}", "trainer.accelerator=cpu"]
            cfg = compose("train", given)
        data.batch_size = batch_size
        task = Timed(
            LeNet(data.facts.shape, data.facts.num_classes),
            data.facts,
            optimizer=build(cfg.optimizer, "optimizer"),
            scheduler=build(cfg.scheduler, "scheduler"),
            loss=build(cfg.loss, "loss"),
            log_every=cfg.trainer.log_every_n_steps,
            config={"model": plain(cfg.model)},
        )
        callbacks = [build(node, name) for name, node in cfg.callbacks.items()]
        callbacks[0].enabled = True  # the bar, as on a terminal
        loggers = [build(node, name) for name, node in cfg.logger.items()]
        trainer = build(
            cfg.trainer,
            "trainer",
            callbacks=callbacks,
            logger=loggers,
            plugins=[CheckpointFiles()],
            default_root_dir=folder,
            profiler=Unprofiled(),
        )
        trainer.fit(task, data)
    return [after - before for before, after in zip(task.marks[1:], task.marks[2:], strict=False)]


def bare(data: ImageData, batch_size: int, tuned: bool = False) -> list[float]:
    """Seconds of each epoch but the first of a loop written by hand, with the idioms and defaults of PyTorch.

    tuned: with every trick of ours copied into it: fused optimizer, normalisation in two operations, index_select,
    accuracy counted once per epoch.
    """
    train, val = data.train_set, data.val_set
    mean, std = data.facts.mean[0], data.facts.std[0]
    model = LeNet(data.facts.shape, data.facts.num_classes)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=3e-3, fused=tuned or None)
    steps = -(-len(train) // batch_size)
    schedule = onecycle(optimizer, EPOCHS * steps)["scheduler"]

    def batch(part, rows):
        if tuned:
            images, labels = part.images.index_select(0, rows), part.labels.index_select(0, rows)
            return torch.mul(images, 1 / (255 * std)).sub_(mean / std), labels
        return (part.images[rows].float() / 255 - mean) / std, part.labels[rows]

    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        model.train()
        losses, answers, truth = [], [], []
        loss_sum, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in train.indices[torch.randperm(len(train))].split(batch_size):
            images, labels = batch(train, rows)
            logits = model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if tuned:
                losses.append(loss.detach())
                answers.append(logits.detach())
                truth.append(labels)
            else:
                loss_sum += loss.detach() * len(labels)
                right += (logits.argmax(1) == labels).sum()
        if tuned:
            loss_sum = torch.stack(losses).sum()
            right = (torch.cat(answers).argmax(1) == torch.cat(truth)).sum()
        model.eval()
        with torch.inference_mode():
            val_right = 0
            for rows in val.indices.split(data.eval_batch_size):
                images, labels = batch(val, rows)
                val_right += int((model(images).argmax(1) == labels).sum())
        seconds.append(time.perf_counter() - started)
        assert float(loss_sum) > 0 and int(right) > 0 and val_right > 0
    return seconds[1:]


def compare(repeats: int, **sides: Callable[[], list[float]]) -> dict[str, list[float]]:
    """Run the sides in turn, `repeats` times; seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            seconds[name] += side()
    return seconds


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> float:
    """Median of the ratios of runs that were neighbours."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def epochs(data: ImageData, repeats: int) -> None:
    for size, limit in ((64, 1.05), (512, 1.03)):
        seconds = compare(
            repeats,
            bare=lambda n=size: bare(data, n),
            tuned=lambda n=size: bare(data, n, tuned=True),
            ours=lambda n=size: ours(data, n),
        )
        for side, what in (("bare", "a bare loop"), ("tuned", "a bare loop with our tricks")):
            spread = [a / b for a, b in zip(seconds["ours"], seconds[side], strict=True)]
            target = f"at most {limit}; " if side == "bare" else ""
            row(
                f"epoch, batch {size}: ours over {what}",
                f"{statistics.median(spread):.3f}",
                f"{target}{min(spread):.3f} to {max(spread):.3f}, n={len(spread)}; "
                f"{statistics.median(seconds['ours']):.2f} s over {statistics.median(seconds[side]):.2f} s",
            )


def row(what: str, figure: str, note: str) -> None:
    print(f"{what:<58} {figure:>9}   {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    from src.train import quiet_libraries

    quiet_libraries()
    tune_process()
    data = ImageData(root=args.root)
    data.setup()
    epochs(data, args.repeats)


if __name__ == "__main__":
    main()
