"""Which images are in which split: pure functions of labels and a seed."""

import torch
from torch import Tensor

from src.errors import require


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


def check_classes(labels: Tensor, names: tuple[str, ...], data: str) -> None:
    """Raise InputError for training labels (N,) of fewer than two classes, or not of every class.

    names: of the classes; data: name of the data set, for errors.
    """
    require(len(names) > 1, f"data={data} has {len(names)} class: a classifier needs at least 2")
    empty = [name for name, count in zip(names, labels.bincount(minlength=len(names)), strict=True) if not count]
    require(not empty, f"data={data} has no training images of {', '.join(empty[:8])}: add some, or remove the class")


def few_shot_mask(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Mask (N,) of `shots` images per class; the images of fewer shots are a subset of those of more.

    Raises InputError if a class has fewer images.
    """
    counts = labels.bincount()
    rarest = int(counts.where(counts > 0, counts.max() + 1).argmin())
    require(
        shots <= int(counts[rarest]),
        f"data.shots={shots}, but class {rarest} has {int(counts[rarest])} training images: give at most that many",
    )
    return class_ranks(labels, seed) < shots


def sample_rows(rows: Tensor, labels: Tensor, fraction: float, shots: int | None, seed: int) -> Tensor:
    """Those of `rows` that train: `fraction` of them, every class in proportion, or of these `shots` per class.

    Raises InputError if none is left, or a class has fewer images than `shots`.
    """
    if fraction < 1:
        count = round(fraction * len(rows))
        require(count >= 1, f"data.fraction={fraction} of {len(rows):,} images leaves none")
        rows = rows[stratified_mask(labels[rows], count, seed)]
    return rows if shots is None else rows[few_shot_mask(labels[rows], shots, seed)]


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
