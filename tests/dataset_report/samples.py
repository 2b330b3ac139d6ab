"""Samples of data sets that the tests of this room share."""

import torch

from src.data.sources.registry import load_dataset
from src.dataset_report.sample import DatasetSample, SplitSample


def digits() -> tuple[SplitSample, SplitSample, tuple[str, ...]]:
    """The bundled digits, training and test."""
    source = load_dataset("digits")
    samples = []
    for images, labels in (source.train(), source.test()):
        samples.append(SplitSample(images, labels, torch.arange(len(labels)), len(labels)))
    return *samples, source.class_names


def dataset_sample(train: SplitSample, test: SplitSample, names: tuple[str, ...]) -> DatasetSample:
    """A data set without validation images."""
    counts = {"train": train.labels.bincount(minlength=len(names)).tolist(), "val": [0] * len(names)}
    counts["test"] = test.labels.bincount(minlength=len(names)).tolist()
    return DatasetSample("planted", names, train, test, counts, (0.1,), (0.3,))


def with_images(sample: SplitSample, images: torch.Tensor) -> SplitSample:
    return SplitSample(images, sample.labels, sample.rows, sample.total)
