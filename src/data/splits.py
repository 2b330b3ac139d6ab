"""Which images are in which split: pure functions of labels and a seed."""

import torch
from torch import Tensor

from src.errors import InputError, require


def class_ranks(labels: Tensor, seed: int) -> Tensor:
    """Each image's place, from 0, in a seeded shuffle of its own class: int64 (N,)."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    ranks = torch.empty_like(by_class)
    ranks[by_class] = torch.arange(len(labels)) - starts
    return ranks


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Mask (N,) of `count` images with every class in its own proportion, to the nearest image (largest remainder)."""
    counts = labels.bincount()
    shares = counts.double() * count / len(labels)
    quotas = shares.floor().long()
    left = count - int(quotas.sum())
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:left]] += 1
    return class_ranks(labels, seed) < quotas[labels]


def fold_mask(labels: Tensor, folds: int, fold: int, seed: int) -> Tensor:
    """Mask (N,) of the images of one of `folds` stratified parts: disjoint, covering, sizes within one per class."""
    offsets = labels.bincount().cumsum(0).roll(1)
    offsets[0] = 0  # classes start at different parts, so that the parts' sizes even out
    return (class_ranks(labels, seed) + offsets[labels]) % folds == fold


def few_shot(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Mask (N,) of `shots` images per class; the images of fewer shots are among those of more.

    Raises InputError if a class has fewer.
    """
    counts = labels.bincount()
    present = counts[counts > 0]
    if shots > int(present.min()):
        raise InputError(
            f"data.shots={shots}, but class {int(counts.where(counts > 0, counts.max() + 1).argmin())} "
            f"has {int(present.min())} training images: give at most that many"
        )
    return class_ranks(labels, seed) < shots


def validation_mask(
    labels: Tensor, classes: int, val: float, folds: int | None, fold: int | None, seed: int, name: str
) -> Tensor:
    """Mask (N,) of the images that validate: `val` of them, a count or a fraction, or part `fold` of `folds`.

    Raises InputError, about the data set `name`, where a side would be without images of a class.
    """
    smallest = int(labels.bincount().min())
    if folds is not None:
        require(
            folds <= smallest,
            f"data.folds={folds}, but the smallest class has {smallest} images: give at most that many folds",
        )
        return fold_mask(labels, folds, fold, seed)
    count = round(val * len(labels)) if val < 1 else int(val)
    few = f"data={name} has {len(labels):,} training images of {classes} classes: give 3 per class, or more"
    require(len(labels) >= 2 * classes, few)
    require(
        classes <= count <= len(labels) - classes,
        f"data.val={val} of {len(labels):,} training images: keep at least one image per class on both sides, "
        f"{classes} to {len(labels) - classes:,} images (or a fraction)",
    )
    return stratified(labels, count, seed)
