"""The average of the weights, updated without a walk through the modules at every step."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from src.errors import InputError
from src.models.lenet import LeNet
from src.models.resnet import ResNet
from src.training import ema
from src.training.ema import AverageUpdate
from tests.training.sessions import assert_equal, run, weights


class Replacing(nn.Module):
    """A network that shares a weight, replaces a buffer at each step, and has a counter and an unused layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("last", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("none", None)

    def forward(self, x):
        self.last, self.count = x.detach().mean(0), self.count + 1
        return self.second(self.first(x))


NETWORKS = {
    "lenet": (lambda: LeNet((1, 12, 12), 3), (5, 1, 12, 12)),
    "batch norm": (lambda: ResNet((3, 12, 12), 3), (5, 3, 12, 12)),
    "replaced buffers": (Replacing, (5, 4)),
    "complex": (lambda: nn.Linear(4, 4, dtype=torch.cfloat), None),
    "two types": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double()), None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_average_is_torchs_own_bit_by_bit(name):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    ours = copy.deepcopy(theirs)
    ours.update_parameters = AverageUpdate(ours)
    for step in range(5):
        if shape:
            model(torch.rand(shape))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        if step == 3:  # as at the start of an epoch
            ours.update_parameters = AverageUpdate(ours)
        theirs.update_parameters(model)
        ours.update_parameters(model)
        assert int(ours.n_averaged) == int(theirs.n_averaged) == step + 1
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key
    assert not all(torch.equal(a, b) for a, b in zip(ours.module.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("words", [[], ["finetune=lora"], ["trainer.precision=64-true"], ["trainer.max_steps=7"]])
def test_a_run_ends_in_the_same_bits_as_with_torchs_own_update(words, data_root, tmp_path, monkeypatch):
    words = ["callbacks=[default,ema]", "callbacks.ema.decay=0.8", *words]
    if "finetune=lora" in words:
        words.append(f"init_from={run(data_root, tmp_path / 'source').checkpoints.best}")
    ours, used = run(data_root, tmp_path / "ours", *words), []
    monkeypatch.setattr(ema, "AverageUpdate", lambda average: used.append(1) or _their_update(average))
    theirs = run(data_root, tmp_path / "theirs", *words)
    assert used
    assert_equal(weights(ours.checkpoints.last), weights(theirs.checkpoints.last))


def _their_update(average):
    return lambda model: AveragedModel.update_parameters(average, model)


class Growing(nn.Module):
    """A network whose buffer has the length of the batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("last", torch.zeros(1, 4))

    def forward(self, x):
        self.last = x.detach()
        return self.layer(x)


def test_a_network_whose_tensors_change_shape_is_refused_by_name():
    model = Growing()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    update = AverageUpdate(average)
    update(model)
    model(torch.rand(3, 4))
    with pytest.raises(InputError, match=r"callbacks\.ema: last appears or changes its shape in training"):
        update(model)
    late = nn.Sequential(nn.Linear(4, 4))
    update = AverageUpdate(AveragedModel(late, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True))
    late[0].register_buffer("added", torch.zeros(2))
    with pytest.raises(InputError, match=r"0\.added appears"):
        update(late)
