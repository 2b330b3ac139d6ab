"""Filters, feature maps and confusion matrices as images."""

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from src.dashboard import image_grids


def test_grids_of_every_shape_are_drawn():
    grid = image_grids.filter_grid(torch.randn(6, 1, 5, 5), (1, 28, 28), "a")
    assert (grid.dtype, grid.ndim, grid.shape[2]) == (np.uint8, 3, 3)
    assert image_grids.filter_grid(torch.randn(8, 3, 3, 3), (3, 32, 32), "a") is not None
    assert image_grids.filter_grid(torch.zeros(100, 784), (1, 28, 28), "a") is not None
    assert image_grids.filter_grid(torch.randn(10, 5), (1, 28, 28), "a") is None
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    assert image_grids.map_grid(images, torch.randn(3, 4, 100, 80), "a", 9).ndim == 3
    counts = multiclass_confusion_matrix(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]), 3)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    for names in (("a", "b", "c"), ("Ankle boot", "T-shirt/top", "Dress")):
        assert image_grids.confusion_image(counts, names, "a").ndim == 3
    many = torch.eye(20, dtype=torch.int64)
    assert image_grids.confusion_image(many, tuple(map(str, range(20))), "a").shape[0] > 20 * 20
