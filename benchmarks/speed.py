"""How fast training is, against loops written by hand: python -m benchmarks.speed [--root data] [--only epoch ...]

Every figure is a ratio of medians from repeats that take turns in one run, so that a machine that speeds up or slows
down meanwhile does both sides the same. The hand-written loop is what an expert writes without a framework: the same
network, tensors, optimizer, schedule, counters and validation, nothing else.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from src.cli.config import ROOT, load_config
from src.cli.process import quiet_libraries, tune_process
from src.data.datamodule import ImageData
from src.model_files.checkpoint import CheckpointFiles
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.lenet import LeNet
from src.models.memory_format import set_memory_format
from src.models.resnet import ResNet
from src.training.build import build
from src.training.callbacks import EpochProgressBar, NoProfiler
from src.training.checkpoints import Checkpoints
from src.training.fit import fit
from src.training.optimizers import parameter_groups
from src.training.plain_step import use_plain_steps
from src.training.schedules import onecycle
from src.training.task import Classifier

EPOCHS = 3


def record_epochs(task: LightningModule) -> dict[int, float]:
    """The time at which each epoch of `task` begins, and last the time at which training ends, filled in as it runs.

    The task's own hooks are wrapped: one more callback would cost every step something.
    """
    times: dict[int, float] = {}
    begin, end = task.on_train_epoch_start, task.on_train_end

    def on_train_epoch_start() -> None:
        begin()
        times[task.current_epoch] = time.perf_counter()

    def on_train_end() -> None:
        times[len(times)] = time.perf_counter()
        end()

    task.on_train_epoch_start, task.on_train_end = on_train_epoch_start, on_train_end
    return times


def ours(root: str, batch_size: int, *words: str) -> list[float]:
    """Seconds of each epoch but the first of a run of `src.train`: validation, files, logs and bar included."""
    words = (f"trainer.max_epochs={EPOCHS}", f"data.batch_size={batch_size}", f"data.root={root}", *words)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        session = build(load_config([*words, "trainer.accelerator=cpu"], output_dir=folder))
        session.trainer.progress_bar_callback.enabled = True  # the bar, as on a terminal
        times = record_epochs(session.task)
        fit(session)
    return [times[epoch + 1] - times[epoch] for epoch in range(1, EPOCHS)]


def bare(
    data: ImageData, batch_size: int, tuned: bool = False, network: type[nn.Module] = LeNet, images: int | None = None
) -> list[float]:
    """Seconds of each epoch but the first of a loop written by hand, with the idioms and defaults of PyTorch.

    tuned: with every trick of ours copied into it: channels last, fused optimizer, normalisation in two operations,
    index_select, accuracy counted once per epoch. images: to train on, None for all.
    """
    train, val = data.train_set, data.val_set
    mean, std = data.info.mean[0], data.info.std[0]
    model = network(data.info.shape, data.info.num_classes)
    if tuned:
        set_memory_format(model, data.info.shape)
    indices = train.indices[:images]
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=3e-3, fused=tuned or None)
    steps = -(-len(indices) // batch_size)
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
        for rows in indices[torch.randperm(len(indices))].split(batch_size):
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


def epochs(root: str, data: ImageData, repeats: int) -> None:
    """LeNet-5 against the loops, and the larger batch against the arithmetic that it cannot do without."""
    for size, limits in ((64, (0.80, 1.05)), (512, (0.72, 1.02))):
        seconds = compare(
            repeats,
            bare=lambda n=size: bare(data, n),
            tuned=lambda n=size: bare(data, n, tuned=True),
            ours=lambda n=size: ours(root, n),
        )
        epoch_row(f"epoch, batch {size}: ours over a bare loop", limits[0], seconds, "bare")
        epoch_row(f"epoch, batch {size}: ours over a bare loop with our tricks", limits[1], seconds, "tuned")
    flops, peak = training_flops(data), matrix_product_peak()
    floor = flops / peak
    row(
        "epoch, batch 512: ours over its arithmetic",
        f"{statistics.median(seconds['ours']) / floor:.2f}",
        f"at most 2.0; {flops / 1e9:.0f} GFLOP at the {peak / 1e9:.0f} GFLOP/s of a matrix product: {floor:.2f} s",
    )


def other_networks(root: str, data: ImageData, repeats: int) -> None:
    """The other convolutional networks, on a part of the images."""
    images = 12_800
    fraction = f"data.fraction={images / len(data.train_set)}"
    for name, network in (("cnn", CNN), ("convnet", ConvNet), ("resnet", ResNet)):
        seconds = compare(
            repeats,
            bare=lambda network=network: bare(data, 64, network=network, images=images),
            ours=lambda name=name: ours(root, 64, f"model={name}", fraction),
        )
        epoch_row(f"epoch of {name} on {images:,} images: ours over a bare loop", 0.85, seconds, "bare")


def epoch_row(what: str, limit: float, seconds: dict[str, list[float]], side: str) -> None:
    spread = [a / b for a, b in zip(seconds["ours"], seconds[side], strict=True)]
    row(
        what,
        f"{statistics.median(spread):.3f}",
        f"at most {limit:.2f}; {min(spread):.3f} to {max(spread):.3f}, n={len(spread)}; "
        f"{statistics.median(seconds['ours']):.2f} s over {statistics.median(seconds[side]):.2f} s",
    )


def training_flops(data: ImageData) -> float:
    """Multiplications and additions of one epoch of LeNet-5, validation included."""
    model = LeNet(data.info.shape, data.info.num_classes)
    images = torch.zeros(1, *data.info.shape)
    with FlopCounterMode(display=False) as training:
        model(images).sum().backward()
    with FlopCounterMode(display=False) as inference, torch.no_grad():
        model(images)
    counts = (training, len(data.train_set)), (inference, len(data.val_set))
    return sum(counter.get_total_flops() * images for counter, images in counts)


def matrix_product_peak(side: int = 1024, repeats: int = 40) -> float:
    """Floating-point operations a second of this machine's fastest of `repeats` matrix products."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)


def per_image(root: str, data: ImageData, train: bool = True) -> list[float]:
    """Seconds of one epoch as tutorials write it: torchvision's data set, ToTensor, Normalize, DataLoader, batch 64.

    Trains on the training images of `data` and counts right answers on its validation images, as ours does.
    train: False only iterates over the training batches.
    """
    from torchvision import datasets, transforms

    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    images = datasets.MNIST(root, train=True, transform=steps)
    parts = (torch.utils.data.Subset(images, part.indices.tolist()) for part in (data.train_set, data.val_set))
    training, validation = (
        torch.utils.data.DataLoader(part, batch_size=64, shuffle=shuffle)
        for part, shuffle in zip(parts, (True, False), strict=True)
    )
    model = LeNet(data.info.shape, data.info.num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for batch, labels in training:
        if train:
            loss = nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if train:
        with torch.no_grad():
            right = sum(int((model(batch).argmax(1) == labels).sum()) for batch, labels in validation)
        assert right > 0
    return [time.perf_counter() - started]


def our_batches(data: ImageData) -> list[float]:
    """Seconds to make every normalised batch of 64 of one epoch."""
    data.batch_size = 64
    started = time.perf_counter()
    for images, _labels in data.train_dataloader():
        data.normalize(images)
    return [time.perf_counter() - started]


def pipelines(root: str, data: ImageData, repeats: int) -> None:
    seconds = compare(repeats, theirs=lambda: per_image(root, data), ours=lambda: ours(root, 64)[:1])
    note = f"{statistics.median(seconds['theirs']):.1f} s over {statistics.median(seconds['ours']):.1f} s, n={repeats}"
    row(
        "epoch, batch 64: a per-image pipeline over ours",
        f"{ratio(seconds, 'theirs', 'ours'):.2f}",
        f"at least 2; {note}",
    )
    seconds = compare(repeats, theirs=lambda: per_image(root, data, train=False), ours=lambda: our_batches(data))
    note = f"{statistics.median(seconds['theirs']):.1f} s over {statistics.median(seconds['ours']):.3f} s, n={repeats}"
    row(
        "data path alone, batch 64: per image over ours",
        f"{ratio(seconds, 'theirs', 'ours'):.0f}",
        f"at least 30; {note}",
    )


class OneWeight(nn.Module):
    """Costs next to nothing, so that what is around it shows."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes))

    def forward(self, images):
        return self.weight.expand(len(images), -1)


class Plain(LightningModule):
    """The least that Lightning trains."""

    def __init__(self):
        super().__init__()
        self.model = OneWeight()

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images.float()), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)


def step_costs(root: str, repeats: int) -> None:
    """Microseconds per step beyond the work itself, part by part."""
    data = ImageData(root=root, batch_size=4, val=50)
    data.setup()
    data.train_set.indices = data.train_set.indices[:8000]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = len(data.train_set) // data.batch_size

    def hand_written() -> list[float]:
        model = OneWeight()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        started = time.perf_counter()
        for rows in data.train_set.indices.split(4):
            images, labels = data.train_set.images.index_select(0, rows), data.train_set.labels.index_select(0, rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data.normalize(images)), labels).backward()
            optimizer.step()
        return [(time.perf_counter() - started) / steps * 1e6]

    def trained(task: LightningModule, callbacks=(), logger=False, plain_steps=True) -> list[float]:
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as out, contextlib.redirect_stderr(out):
            trainer = Trainer(
                max_epochs=1,
                accelerator="cpu",
                limit_val_batches=0,
                callbacks=[make(folder) for make in callbacks],
                logger=TensorBoardLogger(folder) if logger else False,
                enable_checkpointing=bool(callbacks),
                enable_progress_bar=bool(callbacks),
                enable_model_summary=False,
                plugins=[CheckpointFiles()],
                profiler=None if isinstance(task, Plain) else NoProfiler(),
            )
            if plain_steps:
                use_plain_steps(trainer)
            times = record_epochs(task)
            trainer.fit(task, data)
        return [(times[1] - times[0]) / steps * 1e6]

    def task() -> Classifier:
        return Classifier(
            OneWeight(), data.info, optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3, fused=True)
        )

    ours_around = (lambda folder: EpochProgressBar(), lambda folder: Checkpoints(folder))
    micros = compare(
        repeats,
        hand=hand_written,
        plain=lambda: trained(Plain(), plain_steps=False),
        task=lambda: trained(task(), plain_steps=False),
        steps=lambda: trained(task()),
        callbacks=lambda: trained(task(), ours_around),
        logging=lambda: trained(task(), ours_around, logger=True),
    )
    torch.set_num_threads(threads)
    median = {name: statistics.median(values) for name, values in micros.items()}
    row("step of a model of ten weights, by hand", f"{median['hand']:.0f} µs", f"one thread, n={repeats}")
    row("  + Lightning with the plainest module", f"{median['plain'] - median['hand']:+.0f} µs", "")
    row("  + our task instead (metrics, schedule, fewer hooks)", f"{median['task'] - median['plain']:+.0f} µs", "")
    row("  + plain steps, without hooks", f"{median['steps'] - median['task']:+.0f} µs", "")
    row("  + progress bar and checkpoints", f"{median['callbacks'] - median['steps']:+.0f} µs", "")
    row("  + TensorBoard", f"{median['logging'] - median['callbacks']:+.0f} µs", "")
    added = median["logging"] - median["hand"]
    row(
        "all that training adds to a step", f"{added:.0f} µs", f"at most 200; {added / median['hand']:.2f} of that step"
    )


def process(*words: str) -> list[float]:
    """Seconds of a whole process, start to end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [time.perf_counter() - started]


def first_step(root: str, repeats: int) -> None:
    stop = "+callbacks.stop._target_=benchmarks.first_step.StopAtFirstStep"
    with tempfile.TemporaryDirectory() as folder:
        seconds = compare(
            repeats,
            ours=lambda: process("-m", "src.train", f"data.root={root}", stop, f"hydra.run.dir={folder}"),
            imports=lambda: process("-c", "import torch, lightning"),
        )
    note = f"{statistics.median(seconds['ours']):.2f} s over {statistics.median(seconds['imports']):.2f} s, n={repeats}"
    row(
        "first step over importing torch and lightning",
        f"{ratio(seconds, 'ours', 'imports'):.2f}",
        f"at most 1.3; {note}",
    )


def fast(root: str, data: ImageData) -> None:
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    accuracies = []
    for seed in range(5):
        with tempfile.TemporaryDirectory() as folder:
            words = ("experiment=fast", f"seed={seed}", f"data.root={root}", f"hydra.run.dir={folder}")
            seconds["ours"] += process("-m", "src.train", *words)
            accuracies.append(json.loads((Path(folder) / "results.json").read_text())["test"]["acc"])
        seconds["theirs"] += per_image(root, data)
    row(
        "experiment=fast: test accuracy",
        f"{100 * statistics.mean(accuracies):.2f} %",
        f"at least 99.0; sd {100 * statistics.stdev(accuracies):.2f}, seeds 0 to 4",
    )
    note = f"{statistics.median(seconds['ours']):.1f} s over {statistics.median(seconds['theirs']):.1f} s, n=5"
    row("  whole process over one per-image epoch", f"{ratio(seconds, 'ours', 'theirs'):.2f}", f"at most 1.2; {note}")


def row(what: str, figure: str, note: str) -> None:
    print(f"{what:<56} {figure:>9}   {note}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--repeats", type=int, default=5)
    parts = ("epochs", "networks", "pipelines", "steps", "first", "fast")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="leave out the others")
    args = parser.parse_args()
    root = str(Path(args.root).resolve())
    quiet_libraries()
    tune_process()
    data = ImageData(root=root)
    data.setup()
    measures = {
        "epochs": lambda: epochs(root, data, args.repeats),
        "networks": lambda: other_networks(root, data, args.repeats),
        "pipelines": lambda: pipelines(root, data, args.repeats),
        "steps": lambda: step_costs(root, args.repeats),
        "first": lambda: first_step(root, args.repeats),
        "fast": lambda: fast(root, data),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    for part in args.only:
        measures[part]()


if __name__ == "__main__":
    main()
