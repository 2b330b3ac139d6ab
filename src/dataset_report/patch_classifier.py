"""A quick judge of labels: features from random patches, a ridge regression on them, solved fold by fold.

Filters are patches cut at random from the images themselves (Coates, Lee and Ng 2011); their rectified responses,
averaged over overlapping regions, are read by a linear classifier in closed form. 98.2 % right out of fold on MNIST in
seconds: no network, no second training loop, the same answer for the same seed. Of 100 labels of MNIST flipped at
random it has 93 to 99 among its 200 most suspicious (five draws; with 128 filters 91 to 100, with 256 95 to 99). Five
LeNets of two epochs each have 98 where it has 97, for ten times the time; ten nearest neighbours have 89 of one draw.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.splits import fold_mask
from src.dataset_report.collect import shrunk

PATCH, FILTERS = 7, 192  # side in pixels; number
LEAST = 3.25  # a response below it counts as none, in standard deviations of the grey levels
FLAT = 0.3  # patches that vary less are left out, in the same unit
RIDGE = 100.0
CUT_FROM = 4000


def random_filters(images: Tensor, seed: int, count: int = FILTERS) -> Tensor:
    """Patches of float32 images (N, C, H, W) of deviation 1, without their mean, of length 1: (count, C, 7, 7).

    Patches of one grey level are left out; where there are only such, noise takes their place.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(images), (min(CUT_FROM, 40 * count),), generator=generator)
    high, wide = (torch.randint(side - PATCH + 1, rows.shape, generator=generator) for side in images.shape[2:])
    places = zip(rows.tolist(), high.tolist(), wide.tolist(), strict=True)
    cut = torch.stack([images[row, :, y : y + PATCH, x : x + PATCH] for row, y, x in places])
    cut = cut[cut.flatten(1).std(1) > FLAT][:count]
    missing = count - len(cut)
    noise = torch.randn(missing, *cut.shape[1:], generator=generator)
    filters = torch.cat([cut, noise])
    filters = filters - filters.mean((1, 2, 3), keepdim=True)
    return filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def patch_features(images: Tensor, seed: int) -> Tensor:
    """Standardised responses of uint8 images (N, C, H, W) to random patches: float32 (N, D), the last column 1."""
    small = torch.cat([shrunk(some) for some in images.split(4096)])
    small /= small.std().clamp_min(1e-3)
    short = [max(0, PATCH - side) for side in small.shape[2:]]
    small = F.pad(small, [0, short[1], 0, short[0]])
    filters, found = random_filters(small, seed), []
    for some in small.split(250):
        response = F.conv2d(some, filters, padding=PATCH // 2, stride=2).sub_(LEAST).relu_()
        size = min(5, *response.shape[2:])
        found.append(F.avg_pool2d(response, size, 3).flatten(1))
    features = torch.cat(found)
    features -= features.mean(0)
    features /= features.square().mean(0).sqrt().add_(1e-3)
    return F.pad(features, [0, 1], value=1.0)


def out_of_fold(
    features: Tensor, labels: Tensor, classes: int, folds: int, seed: int, tick: Callable[[], None] = lambda: None
) -> Tensor:
    """Scores (N, K) of each image by a ridge regression that has not seen it: it learnt from the other folds.

    features: (N, D), the last column 1, whose weight is not shrunk; labels: int64 (N,), K of them. The parts are the
    stratified ones of `src.data.splits`.
    """
    targets = F.one_hot(labels, classes).float() * 2 - 1
    parts = [fold_mask(labels, folds, fold, seed).nonzero().flatten() for fold in range(folds)]
    parts = [rows for rows in parts if len(rows)]
    # Of all but one fold: the sum over all, less that fold's.
    products, answers = [], []
    for rows in parts:
        own = features[rows]
        products.append(own.T @ own)
        answers.append(own.T @ targets[rows])
        tick()
    total, answer = sum(products), sum(answers)
    scores = torch.empty(len(features), classes)
    for rows, product, part in zip(parts, products, answers, strict=True):
        matrix = total - product
        matrix.diagonal()[:-1].add_(RIDGE)
        weights = torch.cholesky_solve(answer - part, torch.linalg.cholesky(matrix))
        scores[rows] = features[rows] @ weights
        tick()
    return scores
