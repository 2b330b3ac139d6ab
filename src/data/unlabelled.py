"""The training images that train without their labels (data.unlabelled=true)."""

import torch

from src.data.batches import BatchDataset
from src.data.datamodule import ImageData
from src.errors import require


def unlabelled_images(data: ImageData) -> BatchDataset:
    """The training images that neither train with their labels nor validate; every label is -1.

    Raises InputError if there are none.
    """
    train = data.train_set
    rest = torch.ones(len(train.labels), dtype=torch.bool)
    rest[train.indices], rest[data.val_set.indices] = False, False
    advice = "label fewer with data.shots=<images per class> or data.fraction=<below 1>, or leave it out"
    require(bool(rest.any()), f"data.unlabelled=true: every training image trains with its label: {advice}")
    rows = rest.nonzero().flatten()
    return BatchDataset(train.images, torch.full_like(train.labels, -1), rows, train.files, train.digests, train.tasks)


def trained_images(data: ImageData) -> BatchDataset:
    """The images that train, with their labels or without."""
    if not data.unlabelled:
        return data.train_set
    train = data.train_set
    rows = torch.cat([train.indices, unlabelled_images(data).indices])
    return BatchDataset(train.images, train.labels, rows, train.files, train.digests, train.tasks)
