"""Which images are in which split: pure functions of labels and a seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src.errors import printable, require


def class_ranks(labels: Tensor, seed: int) -> Tensor:
    """Rank of each image, from 0, in a seeded shuffle of its own class: int64 (N,)."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    ranks = torch.empty_like(by_class)
    ranks[by_class] = torch.arange(len(labels)) - starts
    return ranks


def stratified_mask(labels: Tensor, count: int, seed: int) -> Tensor:
    """Mask (N,) of `count` images, every class in proportion, to the nearest image (largest remainder)."""
    counts = labels.bincount()
    exact = counts.double() * count / len(labels)
    quotas = exact.floor().long()
    remaining = count - int(quotas.sum())
    quotas[(exact - quotas).argsort(descending=True, stable=True)[:remaining]] += 1
    return class_ranks(labels, seed) < quotas[labels]


def fold_mask(labels: Tensor, folds: int, fold: int, seed: int) -> Tensor:
    """Mask (N,) of one of `folds` stratified folds: disjoint, covering, sizes within one per class."""
    offsets = labels.bincount().cumsum(0).roll(1)
    offsets[0] = 0  # each class starts at another fold, so that sizes even out
    return (class_ranks(labels, seed) + offsets[labels]) % folds == fold


def check_classes(labels: Tensor, names: tuple[str, ...], data: str, root: str | None = None) -> None:
    """Raise InputError for labels (N,) of training and validation of fewer than two classes, or not of every class.

    names: of the classes; data: name of the data set, root: folder of pictures, one folder per class, for errors.
    """
    where = f"data={data}" if root is None else f"data.root={root}"
    deeper = "" if root is None else f"; if it holds the folders of the classes, give data.root={root}/{names[0]}"
    only = f"{len(names)} class, {', '.join(names)}: a classifier needs at least 2{deeper}"
    require(len(names) > 1, f"{where} has {only}")
    counts = labels.bincount(minlength=len(names))
    few = _count_classes(names, counts, counts < 2)
    require(
        bool(counts.all()),
        f"{where}: these classes have too few images left for training and validation: {few}; "
        "a class needs at least 3 (training, validation and test)",
    )


def _count_classes(names: Sequence[str], counts: Tensor, which: Tensor, most: int = 8) -> str:
    """Names of the classes at `which` (bool, (K,)), at most `most` of them, each with its count (K,)."""
    rows = which.nonzero().flatten().tolist()
    listed = ", ".join(f"{printable(names[row], 60)} has {int(counts[row]):,}" for row in rows[:most])
    return listed + (f" and {len(rows) - most:,} more" if len(rows) > most else "")


def few_shot_mask(labels: Tensor, shots: int, seed: int, names: Sequence[str] = ()) -> Tensor:
    """Mask (N,) of `shots` images per class; the images of fewer shots are a subset of those of more.

    names: of the classes, for errors; without them they are numbered.
    Raises InputError if a class has fewer images.
    """
    counts = labels.bincount()
    few = (counts > 0) & (counts < shots)
    names = names or [f"class {row}" for row in range(len(counts))]
    require(
        not few.any(),
        f"data.shots={shots} is more than these classes have to train: {_count_classes(names, counts, few)}; "
        f"give at most {int(counts[counts > 0].min()):,}",
    )
    return class_ranks(labels, seed) < shots


def sample_rows(
    rows: Tensor, labels: Tensor, fraction: float, shots: int | None, seed: int, names: Sequence[str] = ()
) -> Tensor:
    """Those of `rows` that train: `fraction` of them, every class in proportion, or of these `shots` per class.

    names: of the classes, for errors.
    Raises InputError if none is left, or a class has fewer images than `shots`.
    """
    if fraction < 1:
        count = round(fraction * len(rows))
        require(count >= 1, f"data.fraction={fraction} of {len(rows):,} images leaves none")
        rows = rows[stratified_mask(labels[rows], count, seed)]
    return rows if shots is None else rows[few_shot_mask(labels[rows], shots, seed, names)]


def validation_mask(
    labels: Tensor, classes: int, val: float, folds: int | None, fold: int | None, seed: int, name: str
) -> Tensor:
    """Mask (N,) of the images that validate: `val` of them, a count or a fraction, or fold `fold` of `folds`.

    A fraction gives at least as many images as there are classes.

    classes: number of classes; name: of the data set, for errors.
    Raises InputError if training or validation would lack images of a class.
    """
    smallest = int(labels.bincount().min())
    if folds is not None and fold is not None:
        require(
            folds <= smallest,
            f"data.folds={folds}, but the smallest class has {smallest} images: give at most that many folds",
        )
        return fold_mask(labels, folds, fold, seed)
    count = max(round(val * len(labels)), classes) if val < 1 else int(val)
    require(
        len(labels) >= 2 * classes,
        f"data={name} has {len(labels):,} training images of {classes} classes: give 3 per class, or more",
    )
    require(
        classes <= count <= len(labels) - classes,
        f"data.val={val} of {len(labels):,} training images: keep at least one image per class on both sides, "
        f"{classes} to {len(labels) - classes:,} images (or a fraction)",
    )
    return stratified_mask(labels, count, seed)
