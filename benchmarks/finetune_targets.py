"""What benchmarks.finetune fine-tunes on: other digits, other views and other classes of MNIST, and pictures."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.photo_data import SHAPES, draw_folder
from src.data.splits import stratified_mask

USPS_TEST, PICTURES = 2_000, 2_400
LEARNED, NEW = SHAPES[:4], SHAPES[4:]  # classes of the source and of the target of `colour`


def _digits(root: Path, folder: Path) -> list[str]:
    return ["data=digits"]


def _usps(root: Path, folder: Path) -> list[str]:
    """The pictures of USPS's training split below `root`, 2,000 of them as the test split; links in `folder`."""
    pictures = sorted((root / "usps_train").glob("*/*.png"))
    if not pictures:
        raise SystemExit(f"--target usps: {root}/usps_train has no <digit>/<row>.png: give --root")
    labels = torch.tensor([int(path.parent.name) for path in pictures])
    is_test = stratified_mask(labels, USPS_TEST, seed=0).tolist()
    for path, test in zip(pictures, is_test, strict=True):
        place = folder / ("test" if test else "train") / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).symlink_to(path)
    return ["data=folder", f"data.root={folder}", "data.ink=mnist"]


def _turned(root: Path, folder: Path) -> list[str]:
    return ["data=mnist", f"data.root={root}", "data.quarter_turns=1"]


def _even_odd(root: Path, folder: Path) -> list[str]:
    return ["data=mnist", f"data.root={root}", "data.classes={even:[0,2,4,6,8],odd:[1,3,5,7,9]}"]


def _shapes(root: Path, folder: Path) -> list[str]:
    """Drawn photographs of eight shapes, read as the network of digits reads them: grey, 28x28."""
    return ["data=folder", f"data.root={draw_folder(folder, PICTURES, seed=0)}", "data.ink=none"]


def _colour(root: Path, folder: Path) -> list[str]:
    """Four of these shapes in colour, 64x64, for a network that has learned the other four."""
    return [*_shapes(root, folder), f"data.classes=[{','.join(NEW)}]"]


TARGETS: dict[str, Callable[[Path, Path], list[str]]] = {
    "digits": _digits,
    "usps": _usps,
    "turned": _turned,
    "even_odd": _even_odd,
    "shapes": _shapes,
    "colour": _colour,
}


def colour_source(folder: Path, run: Path) -> Path:
    """Train the source of `colour` on pictures of `folder`, as a user would, in the folder `run`; returns it."""
    words = ["experiment=photos_scratch", "data=folder", f"data.root={draw_folder(folder, PICTURES, seed=1)}"]
    words += [f"data.classes=[{','.join(LEARNED)}]", "data.size=64", f"hydra.run.dir={run}"]
    subprocess.run([sys.executable, "-m", "src.train", *words], check=True, stdout=subprocess.DEVNULL)
    return run
