"""Parameter groups, and Muon beside AdamW."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from src.cli.config import CONF, instantiate, load_config
from src.errors import InputError
from src.models.lenet import LeNet
from src.training.build import build
from src.training.optimizers import MuonAdamW, new_optimizer, parameter_groups

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


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_layers_may_join_later(name):
    """As in gradual unfreezing; what joined takes the steps that it would take alone."""
    make = instantiate(load_config([f"optimizer={name}"]).optimizer, "optimizer")
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    alone = deepcopy(second)
    together = new_optimizer(make, [{"params": [*first.parameters(), *second.parameters()]}])
    by_itself = new_optimizer(make, [{"params": list(alone.parameters())}])

    def gradients(step: int) -> None:
        for layer in (first, second, alone)[: 1 if step < 2 else 3]:
            torch.manual_seed(step)
            layer.zero_grad()
            layer(torch.randn(8, 4)).square().mean().backward()

    for step in range(4):
        second.requires_grad_(step >= 2)
        together.step(lambda step=step: gradients(step))  # as Lightning calls it
        by_itself.step()
    assert torch.equal(second.weight, alone.weight)
    assert not torch.equal(first.weight, alone.weight)


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr=-1: a number, at least 0"),
        (["optimizer.lr="], "optimizer.lr=: a number, at least 0"),
        (["optimizer.betas=[2,1]"], "optimizer.betas=2: a number, at least 0, below 1"),
        (["optimizer.betas=[1]"], "optimizer.betas=[1]: a list of 2 numbers, as [0.9, 0.999]"),
        (["optimizer.betas=0.9"], "optimizer.betas=0.9: a list of 2 numbers"),
        (["optimizer.betas=[0.9,x]"], "optimizer.betas=x: a number"),
        (["optimizer=muon", "optimizer.betas=[1]"], "optimizer.betas=[1]: a list of 2 numbers"),
        (["+optimizer.lrr=0.1"], "optimizer.lrr is not known to AdamW, which takes lr, betas, eps"),
        (["+optimizer.eps=tiny"], "optimizer.eps=tiny: a number"),
        (["optimizer=rmsprop", "optimizer.alpha=x"], "optimizer.alpha=x: a number"),
        (["optimizer=adadelta", "optimizer.rho=2"], "optimizer refused its arguments (Invalid rho"),
        (["optimizer=sgd", "optimizer.momentum=-1"], "optimizer.momentum=-1: a number, at least 0, below 1"),
        (["optimizer=sgd", "optimizer.momentum=5"], "optimizer.momentum=5: a number, at least 0, below 1"),
        (["optimizer=sgd", "optimizer.nesterov=5"], "optimizer.nesterov=5: true or false"),
        (["+optimizer.foreach=true"], "optimizer refused its arguments (`fused` and `foreach` cannot"),
        (["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=x"], "callbacks.early_stopping.pat"),
        (["trainer.precision=12"], "trainer: lightning.pytorch.Trainer refused its arguments (Precision 12 is invalid"),
        (["trainer.limit_train_batches=abc"], "trainer.limit_train_batches=abc: a number"),
        (["trainer.overfit_batches=abc"], "trainer.overfit_batches=abc: a number"),
        (["trainer.max_epochs=-1"], "training has no end"),
        (["+callbacks.swa.lr=0.1"], "callbacks.swa has no _target_"),
        (["optimizer=muon", "optimizer.momentum=3"], "optimizer.momentum=3: a number, at least 0, below 1"),
        (["scheduler.warmup=2"], "scheduler.warmup=2: a number, above 0, below 1"),
        (["scheduler=step", "scheduler.epochs=0"], "scheduler.epochs=0: a whole number, at least 1"),
    ],
)
def test_wrong_options_are_refused_before_the_data_are_read(overrides, message, tmp_path):
    cfg = load_config(["data=mnist", f"data.root={tmp_path}/nowhere", "data.download=false", *overrides])
    with pytest.raises(InputError) as error:
        build(cfg)
    assert str(error.value).startswith(message)
