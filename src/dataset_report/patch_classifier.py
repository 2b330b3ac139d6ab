"""A quick classifier to check labels with: ridge regression on random patch features, cross-validated in closed form.

The filters are patches cut at random from the images (Coates, Lee and Ng 2011); a linear classifier reads their
rectified responses, averaged over overlapping regions. On MNIST it is 98.2 % right out of fold within seconds, without
a second training loop, and repeatable by its seed. Of 100 MNIST labels flipped at random, 93 to 99 are among its 200
most suspicious (five draws; 91 to 100 with 128 filters, 95 to 99 with 256). Five LeNets of two epochs each find 98
where it finds 97, in ten times the time; ten nearest neighbours find 89 of one draw.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.splits import fold_mask
from src.dataset_report.sample import CHUNK, downscale

PATCH_PX, FILTERS = 7, 192
THRESHOLD = 3.25  # subtracted from responses before the ReLU, in standard deviations of the grey levels
MIN_STD = 0.3  # of a patch, in the same unit; flatter ones are skipped
RIDGE = 100.0
MAX_PATCHES = 4000  # cut, to choose the filters from


def random_filters(images: Tensor, seed: int) -> Tensor:
    """Patches of float32 images (N, C, H, W) of standard deviation 1: (192, C, 7, 7), of mean 0 and length 1.

    Flat patches are skipped; noise stands in for those that are missing then.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(images), (MAX_PATCHES,), generator=generator)
    tops, lefts = (torch.randint(side - PATCH_PX + 1, rows.shape, generator=generator) for side in images.shape[2:])
    corners = zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)
    patches = torch.stack([images[row, :, y : y + PATCH_PX, x : x + PATCH_PX] for row, y, x in corners])
    patches = patches[patches.flatten(1).std(1) > MIN_STD][:FILTERS]
    noise = torch.randn(FILTERS - len(patches), *patches.shape[1:], generator=generator)
    filters = torch.cat([patches, noise])
    filters = filters - filters.mean((1, 2, 3), keepdim=True)
    return filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def patch_features(images: Tensor, seed: int) -> Tensor:
    """Standardised responses of uint8 images (N, C, H, W) to random patches: float32 (N, D), the last column 1."""
    small = torch.cat([downscale(chunk) for chunk in images.split(CHUNK)])
    small /= small.std().clamp_min(1e-3)
    missing = [max(0, PATCH_PX - side) for side in small.shape[2:]]
    small = F.pad(small, [0, missing[1], 0, missing[0]])
    filters, pooled = random_filters(small, seed), []
    for chunk in small.split(250):
        response = F.conv2d(chunk, filters, padding=PATCH_PX // 2, stride=2).sub_(THRESHOLD).relu_()
        pooled.append(F.avg_pool2d(response, min(5, *response.shape[2:]), 3).flatten(1))
    features = torch.cat(pooled)
    features -= features.mean(0)
    features /= features.square().mean(0).sqrt().add_(1e-3)
    return F.pad(features, [0, 1], value=1.0)


def out_of_fold_scores(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: int,
    seed: int,
    on_progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """Scores (N, K) of each image by a ridge regression that was fitted to the other folds.

    features: (N, D), the last column 1, whose weight is not regularised; labels: int64 (N,), K classes. The folds are
    the stratified ones of `src.data.splits`.
    """
    targets = F.one_hot(labels, classes).float() * 2 - 1
    masks = (fold_mask(labels, folds, fold, seed) for fold in range(folds))
    fold_rows = [mask.nonzero().flatten() for mask in masks if mask.any()]
    # The normal equations without a fold are those of all images less those of the fold.
    grams, moments = [], []
    for rows in fold_rows:
        fold_features = features[rows]
        grams.append(fold_features.T @ fold_features)
        moments.append(fold_features.T @ targets[rows])
        on_progress()
    total_gram, total_moment = sum(grams), sum(moments)
    scores = torch.empty(len(features), classes)
    for rows, gram, moment in zip(fold_rows, grams, moments, strict=True):
        matrix = total_gram - gram
        matrix.diagonal()[:-1].add_(RIDGE)
        weights = torch.cholesky_solve(total_moment - moment, torch.linalg.cholesky(matrix))
        scores[rows] = features[rows] @ weights
        on_progress()
    return scores
