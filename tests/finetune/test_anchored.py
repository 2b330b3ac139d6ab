"""Methods that hold weights near those of earlier tasks, against what they compute by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from src.finetune.anchored import EWC, SynapticIntelligence, fisher_information


class Tiny(nn.Module):
    """Two logits, w * x and 0, of one pixel x."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images):
        x = images.flatten(1)[:, 0]
        return torch.stack([self.weight * x, torch.zeros_like(x)], 1)


def test_the_fisher_information_is_that_of_logistic_regression():
    """Of one image it is x^2 p (1 - p) in expectation over the label that is drawn."""
    model, x = Tiny(0.7), torch.tensor([1.5, -0.5, 2.0])
    images = x.repeat(4000).view(-1, 1, 1, 1)
    labels = torch.zeros(len(images), dtype=torch.long)
    p = (0.7 * x).sigmoid()
    expected = float((x.square() * p * (1 - p)).mean())
    found = float(fisher_information(model, images, None, labels, 0)["weight"])
    assert found == pytest.approx(expected, rel=0.05)
    assert fisher_information(model, images[:50], None, labels[:50], 1) == fisher_information(
        model, images[:50], None, labels[:50], 1
    )


def test_the_penalty_is_the_quadratic_form():
    method, model = EWC(strength=8.0), nn.Linear(2, 2)
    method.importance = {"weight": torch.tensor([[1.0, 2.0], [0.0, 4.0]]), "bias": torch.tensor([0.5, 3.0])}
    method.set_anchors(model)
    assert method.penalty(model).item() == 0
    with torch.no_grad():
        model.weight += torch.tensor([[0.1, 0.2], [0.3, -0.4]])
        model.bias += torch.tensor([1.0, -0.5])
    by_hand = 4.0 * (1 * 0.01 + 2 * 0.04 + 0 * 0.09 + 4 * 0.16 + 0.5 * 1 + 3 * 0.25)
    assert method.penalty(model).item() == pytest.approx(by_hand, rel=1e-5)


def test_the_path_of_synaptic_intelligence_sums_up_to_the_fall_of_the_loss():
    """With small steps: gradient times change, summed over the path, is the change of the loss."""
    torch.manual_seed(0)
    model, target = nn.Linear(3, 2, bias=False), torch.randn(2, 3)

    def loss():
        return (model.weight - target).square().sum()

    method = SynapticIntelligence(strength=2.0, damping=1e-3)
    method.start_task(model, 0)
    start, before = loss().item(), model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3000):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        method.end_step(model)
    assert float(method.path["weight"].sum()) == pytest.approx(start - loss().item(), rel=0.01)
    path = copy.deepcopy(method.path["weight"])
    method.end_task(model)
    expected = path / ((model.weight.detach() - before).square() + 1e-3)
    assert torch.allclose(method.importance["weight"], expected)
    assert all(math.isfinite(value) for value in method.importance["weight"].flatten().tolist())
