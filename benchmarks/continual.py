"""Continual learning on MNIST, methods side by side: python -m benchmarks.continual [--root data] [--only online ...]

Every run is `python -m src.train scenario=... continual=...`, several seeds each; test accuracies after the last task
are means over tasks, +- standard deviation over seeds. The blocks, as published figures mix them:

online    Split-MNIST, five tasks of two classes, one pass in batches of 10, the MLP of Buzzega et al. 2020 (two hidden
          layers of 100, pixels from 0 to 1), plain SGD with the rates and weights of their code.
epochs    the same network and tasks, five epochs of each in batches of 32, AdamW.
permuted  Permuted-MNIST, ten tasks of one pass in batches of 128.
long      Permuted-MNIST, ten tasks of 12 epochs in batches of 128 (5,160 steps), an MLP of two hidden layers of 1,000,
          Adam with a rate of 1e-4: the protocol of van de Ven & Tolias 2019 by their code, which takes 5,000 steps.
twenty    Permuted-MNIST, twenty tasks of one pass in batches of 128, as Buzzega et al.
ours      Split-MNIST, one pass over each task in batches of 32, experiment=continual_best: cnn or LeNet-5, affine
          augmentation, 128 images replayed a step; with none and joint of the same.
renewal   a network that has learned MNIST learns 100 corrections of European ones and sevens
          (benchmarks/foreign_digits.py): its accuracy on 400 others and on MNIST's test images, before and after.
cost      seconds of a run over those of plain training with the same steps; they take turns.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.foreign_digits import accuracy, european_digits, write_corrections
from src.cli.config import load_config
from src.cli.process import quiet_libraries, tune_process
from src.training.losses import DivergedError

NETWORK = ["model=mlp", "model._target_=benchmarks.published_mlp.PublishedMLP", "trust=[benchmarks]"]
PUBLISHED = [*NETWORK, "model.hidden=[100,100]"]
MLP = [*PUBLISHED, "optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"]
MLP += ["optimizer.weight_decay=0", "scheduler=constant"]
SPLIT = ["scenario=split", "scenario.order=classes"]
ONLINE = [*SPLIT, *MLP, "data.batch_size=10"]
PERMUTED = ["scenario=permuted", *MLP, "data.batch_size=128"]
LONG = ["scenario=permuted", "scenario.epochs=12", *NETWORK, "model.hidden=[1000,1000]", "+model.xavier=false"]
LONG += ["scenario.pad=2", "+model.mean=0.1001", "+model.std=0.2752"]  # the pixels of images with this border
LONG += ["data.batch_size=128", "optimizer.lr=1e-4", "optimizer.weight_decay=0", "scheduler=constant"]
LONG += ["trainer.gradient_clip_val=null"]
SI = ["continual=si", "optimizer.lr=0.1", "continual.strength=2", "continual.damping=1"]
SI += ["trainer.gradient_clip_val=1", "trainer.gradient_clip_algorithm=value"]  # as in their code
OURS = [*SPLIT, "experiment=continual_best"]
EPOCHS = [*SPLIT, *PUBLISHED, "scenario.epochs=5", "experiment=continual"]


def derpp(buffer: int, lr: float, replayed: int, alpha: float, beta: float) -> list[str]:
    return [
        *("continual=derpp", f"continual.buffer={buffer}", f"optimizer.lr={lr}", f"continual.replayed={replayed}"),
        *(f"continual.alpha={alpha}", f"continual.beta={beta}"),
    ]


BLOCKS: dict[str, dict[str, list[str]]] = {
    "online": {
        "none": [*ONLINE, "continual=none", "optimizer.lr=0.03"],
        "joint": [*ONLINE, "continual=joint", "optimizer.lr=0.03"],
        "ewc": [*ONLINE, "continual=ewc", "optimizer.lr=0.03"],
        "si": [*ONLINE, *SI],
        "lwf": [*ONLINE, "continual=lwf", "optimizer.lr=0.03"],
        "replay, 200": [*ONLINE, "continual=replay", "continual.buffer=200", "optimizer.lr=0.01"],
        "replay, 500": [*ONLINE, "continual=replay", "continual.buffer=500", "optimizer.lr=0.1"],
        "replay, 5120": [*ONLINE, "continual=replay", "continual.buffer=5120", "optimizer.lr=0.1"],
        "derpp, 200": [*ONLINE, *derpp(200, 0.03, 128, 0.2, 1.0)],
        "derpp, 500": [*ONLINE, *derpp(500, 0.03, 10, 1.0, 0.5)],
        "derpp, 5120": [*ONLINE, *derpp(5120, 0.1, 64, 0.2, 0.5)],
        "er_ace, 500": [*ONLINE, "continual=er_ace", "continual.buffer=500", "optimizer.lr=0.03"],
        "nearest_mean, 500": [*ONLINE, "continual=nearest_mean", "continual.buffer=500", "optimizer.lr=0.03"],
    },
    "epochs": {
        method: [*EPOCHS, f"continual={method}"]
        for method in ("none", "joint", "ewc", "si", "lwf", "replay", "derpp", "er_ace", "nearest_mean")
    },
    "permuted": {
        "none": [*PERMUTED, "continual=none", "optimizer.lr=0.2"],
        "joint": [*PERMUTED, "continual=joint", "optimizer.lr=0.2"],
        "ewc": [*PERMUTED, "continual=ewc", "optimizer.lr=0.1", "continual.strength=1.4"],
        "si": [*PERMUTED, *SI],
        "derpp, 500": [*PERMUTED, *derpp(500, 0.2, 128, 1.0, 0.5)],
    },
    "long": {
        "none": [*LONG, "continual=none"],
        "ewc": [*LONG, "continual=ewc", "continual.strength=300"],  # better than 100 on validation after three tasks
        "si": [*LONG, "continual=si", "continual.strength=20"],  # c = 10
    },
    "twenty": {
        f"derpp, {buffer}": [*PERMUTED, "scenario.tasks=20", *derpp(buffer, lr, 128, alpha, beta)]
        for buffer, lr, alpha, beta in ((200, 0.1, 1.0, 1.0), (500, 0.2, 1.0, 0.5), (5120, 0.2, 0.5, 1.0))
    },
    "ours": {
        f"{model}, {buffer}": [*OURS, f"model={model}", f"continual.buffer={buffer}"]
        for model in ("cnn", "lenet")
        for buffer in (200, 500, 5120)
    }
    | {f"cnn, {method}": [*OURS, f"continual={method}"] for method in ("none", "joint")},
}
RENEWED = ("none", "rehearsal", "replay", "derpp", "er_ace", "ewc", "lwf")
# A pass over 100 corrections is two steps; rehearsal repeats them among 10,000 old images.
LONGER = {name: ["data.min_steps=160"] for name in RENEWED if name != "rehearsal"}


def run(words: list[str], root: str, seed: int, split: str) -> tuple[dict, float]:
    """The measures of one run on a split, and its seconds. Raises DivergedError for a loss that is not finite."""
    from src.training.fit import train

    common = [f"data.root={root}", f"seed={seed}", "logger=none", "figures=false", "trainer.accelerator=cpu"]
    common += ["trainer.enable_progress_bar=false", f"test={str(split == 'test').lower()}"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        train(load_config([*common, *words], output_dir=folder))
        seconds = time.perf_counter() - started
        return json.loads((Path(folder) / "results.json").read_text())["continual"][split], seconds


def spread(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):6.2f} ± {100 * deviation:4.2f}"


def block(name: str, rows: dict[str, list[str]], root: str, seeds: int, split: str) -> None:
    """Print one table."""
    print(f"\n{name}: {split} accuracy after the last task, %, forgetting since learned, points; n={seeds}", flush=True)
    for label, words in rows.items():
        measured, diverged = [], []
        for seed in range(seeds):
            try:
                measured.append(run(words, root, seed, split))
            except DivergedError:
                diverged.append(str(seed))
        note = f"   diverged: seed {', '.join(diverged)}" if diverged else ""
        if not measured:
            print(f"  {label:<20}{note}", flush=True)
            continue
        average, forgotten = ([result[key] for result, _ in measured] for key in ("average", "forgetting"))
        seconds = statistics.median(seconds for _, seconds in measured)
        print(f"  {label:<20} {spread(average)}   {spread(forgotten)}   {seconds:6.1f} s{note}", flush=True)


def renewal(root: str, seeds: int) -> None:
    """Print what a served network gains from corrections and loses of its own digits, by method."""
    from src.cli.references import resolve_overrides
    from src.model_files.checkpoint import load_model
    from src.training.fit import train

    unseen = european_digits(400, 1)
    common = ["logger=none", "figures=false", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    print(f"\nrenewal: accuracy, %, on other European digits, and on MNIST's test images; n={seeds}", flush=True)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("before", *RENEWED)}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stderr(io.StringIO()):
            folder = Path(temporary)
            words = [*common, "experiment=fast", f"data.root={root}", f"seed={seed}"]
            train(load_config(words, output_dir=folder / "start"))
            start = load_model(folder / "start/checkpoints/best.ckpt")
            write_corrections(folder / "feedback.sqlite", start, *european_digits(100, 0))
            for method in RENEWED:
                words = [*common, f"init_from={folder}/start", "data=feedback", f"data.root={folder}", f"seed={seed}"]
                words += [f"continual={method}", "trainer.max_epochs=3", *LONGER.get(method, [])]
                train(load_config(resolve_overrides(words), output_dir=folder / method))
                results = json.loads((folder / method / "results.json").read_text())["transfer"]
                found[method].append((accuracy(load_model(folder / method / "checkpoints/best.ckpt"), *unseen),
                                      results["source_after"]))  # fmt: skip
            found["before"].append((accuracy(start, *unseen), results["source_before"]))
    for name, values in found.items():
        print(f"  {name:<20} " + "   ".join(map(spread, map(list, zip(*values, strict=True)))), flush=True)


def cost(root: str, repeats: int) -> None:
    """Print the time of each method over that of plain training."""
    rows = {
        name: words for name, words in BLOCKS["online"].items() if name == "none" or "500" in name or "," not in name
    }
    rows = {name: [word for word in words if "replayed" not in word] for name, words in rows.items() if name != "joint"}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repeats):
        for name, words in rows.items():
            seconds[name].append(run(words, root, 0, "val")[1])
    print(f"\ncost: seconds of a run over those of none, as many images replayed as are new; medians, n={repeats}")
    for name, values in seconds.items():
        print(f"  {name:<20} {statistics.median(values) / statistics.median(seconds['none']):5.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", choices=("val", "test"), default="test", help="val never reads the test split")
    names = (*BLOCKS, "renewal", "cost")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", nargs="+", help="only these rows of a block")
    args = parser.parse_args()
    quiet_libraries()
    tune_process()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} threads")
    root = str(Path(args.root).resolve())
    for name in args.only:
        if name in ("renewal", "cost"):
            (renewal if name == "renewal" else cost)(root, args.seeds)
            continue
        rows = {label: words for label, words in BLOCKS[name].items() if not args.rows or label in args.rows}
        block(name, rows, root, args.seeds, args.split)


if __name__ == "__main__":
    main()
