"""Parameter groups, and Muon beside AdamW."""

from copy import deepcopy

import torch
from torch import nn

from src.models.lenet import LeNet
from src.training.optimizers import MuonAdamW, parameter_groups

SHAPE = (1, 28, 28)


def test_biases_and_norms_get_no_weight_decay():
    model = LeNet(SHAPE, 10, batch_norm=True)
    decayed, free = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def train_steps(model: nn.Module, optimizer, steps: int, start: int = 0) -> None:
    for index in range(start, start + steps):
        torch.manual_seed(index)
        loss = model(torch.randn(8, *SHAPE)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_muon_updates_matrices_adamw_the_rest_and_both_resume_exactly():
    model, copy = LeNet(SHAPE, 10), LeNet(SHAPE, 10)
    optimizer = MuonAdamW(parameter_groups(model, 0.01), lr=1e-2)
    muon, adamw = optimizer.parts
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])
    assert all(p.ndim != 2 for group in adamw.param_groups for p in group["params"])
    train_steps(model, optimizer, 3)
    copy.load_state_dict(model.state_dict())
    resumed = MuonAdamW(parameter_groups(copy, 0.01), lr=5.0)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))  # torch shares the tensors otherwise
    train_steps(model, optimizer, 3, start=3)
    train_steps(copy, resumed, 3, start=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))
