"""Heads that are solved for: prototypes and ridge regression."""

import copy

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.finetune.closed_form import Prototype, Ridge
from tests.conf_options import SHAPE


def features_of_two_classes() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    return torch.randn(60, 8) + 2 * nn.functional.one_hot(labels, 8), labels


def test_prototype_is_the_nearest_mean():
    model, (features, labels) = nn.Sequential(nn.Identity(), nn.Linear(8, 3)), features_of_two_classes()
    method = Prototype()
    method.collect(model, features[:30], labels[:30])
    method.collect(model, features[30:], labels[30:])
    method.on_epoch_end(model)
    means = torch.stack([features[labels == k].mean(0) for k in range(3)])
    assert (model(features).argmax(1) == torch.cdist(features, means).argmin(1)).all()
    with pytest.raises(InputError, match="a class has no training images"):
        missing = Prototype()
        missing.collect(model, features[labels < 2], labels[labels < 2])
        missing.on_epoch_end(model)


def test_ridge_goes_from_least_squares_to_the_old_head_as_strength_grows():
    model, (features, labels) = nn.Sequential(nn.Identity(), nn.Linear(8, 3)), features_of_two_classes()
    few = Prototype()
    few.collect(model, features[:6], labels[:6])
    few.on_epoch_end(model)
    old = model(features).argmax(1)
    strong = Ridge(strength=1e9)
    strong.adapt(model, SHAPE)
    strong.collect(model, features, labels)
    regularized = copy.deepcopy(model)
    strong.on_epoch_end(regularized)
    assert (regularized(features).argmax(1) == old).all()
    weak = Ridge(strength=1e-9)
    weak.adapt(model, SHAPE)
    weak.collect(model, features, labels)
    weak.on_epoch_end(model)
    inputs = torch.cat([features, torch.ones(60, 1)], 1)
    solution = torch.linalg.lstsq(inputs, nn.functional.one_hot(labels, 3).float()).solution
    assert (model(features).argmax(1) == (inputs @ solution).argmax(1)).all()
