"""Losses: their formulas, soft targets, class weights."""

import pytest
import torch
import torch.nn.functional as F

from src.errors import InputError
from src.training.losses import CrossEntropy, Focal, MeanSquaredError

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3, 1, 0])


@pytest.mark.parametrize("loss", [CrossEntropy, Focal, MeanSquaredError])
def test_losses_take_labels_or_class_probabilities(loss):
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": [1.0, 2.0, 0.5, 1.0]}):
        criterion = loss(**options)
        soft = F.one_hot(TARGETS, 4).float()
        if "class_weights" not in options or loss is not CrossEntropy:  # torch weighs soft targets by B, not by weight
            assert torch.allclose(criterion(LOGITS, TARGETS), criterion(LOGITS, soft))


def test_losses_follow_their_formulas():
    probs = LOGITS.softmax(1)
    right = probs[torch.arange(6), TARGETS]
    assert torch.allclose(CrossEntropy()(LOGITS, TARGETS), -right.log().mean())
    assert torch.allclose(Focal(gamma=0)(LOGITS, TARGETS), -right.log().mean())
    assert torch.allclose(Focal(gamma=2)(LOGITS, TARGETS), (-((1 - right) ** 2) * right.log()).mean())
    squared = (probs - F.one_hot(TARGETS, 4)).square().sum(1).mean()
    assert torch.allclose(MeanSquaredError()(LOGITS, TARGETS), squared)
    smooth = F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.2)
    assert torch.allclose(Focal(gamma=0, label_smoothing=0.2)(LOGITS, TARGETS), smooth)
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    weighted = F.cross_entropy(LOGITS, TARGETS, weights)
    assert torch.allclose(Focal(gamma=0, class_weights=weights.tolist())(LOGITS, TARGETS), weighted)


def test_balanced_weights_give_each_class_the_same_total():
    counts = torch.tensor([10, 30, 60])
    weight = CrossEntropy(class_weights="balanced", class_counts=counts).weight
    assert torch.allclose(weight * counts, torch.full((3,), 100 / 3))


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 1},
        {"label_smoothing": "no"},
        {"class_weights": "even"},
        {"class_weights": [-1.0, 1.0]},
        {"class_weights": [1.0, 1.0], "class_counts": torch.tensor([1, 2, 3])},
        {"class_weights": "balanced", "class_counts": torch.tensor([1, 0])},
    ],
)
def test_losses_refuse_invalid_options(options):
    with pytest.raises(InputError, match=r"loss\."):
        CrossEntropy(**options)
