"""Learning rate schedules: their shapes, and what they refuse."""

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.models.lenet import LeNet
from src.training.optimizers import MuonAdamW, parameter_groups
from src.training.schedules import constant, cosine, onecycle, plateau, step

SHAPE = (1, 28, 28)


@pytest.mark.parametrize("make", [constant, cosine, onecycle])
def test_schedules_set_the_rate_of_both_optimizers_of_muon(make):
    optimizer = MuonAdamW(parameter_groups(LeNet(SHAPE, 10), 0), lr=1.0)
    schedule = make(optimizer, total_steps=10, warmup=0.5)["scheduler"]
    optimizer.step()
    schedule.step()
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {schedule.get_last_lr()[0]}


def rates(make, total: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make(optimizer, total_steps=total, **options)["scheduler"]
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_schedules_have_their_shapes():
    assert rates(constant, 5) == [2.0] * 5
    assert rates(constant, 10, warmup=0.4)[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    fall = rates(cosine, 101, warmup=0)
    assert fall[0] == 2.0
    assert fall[50] == pytest.approx(1.0, abs=0.02)
    assert fall[-1] == pytest.approx(0, abs=0.01)
    cycle = rates(onecycle, 100, warmup=0.3, initial=0.1, final=0.01)
    assert cycle[0] == pytest.approx(0.2)
    assert max(cycle) == cycle[30] == 2.0
    assert cycle[-1] == pytest.approx(0.02)
    assert rates(step, 6, epochs=2, factor=0.1) == pytest.approx([2, 2, 0.2, 0.2, 0.02, 0.02])


def test_onecycle_matches_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2.0, total_steps=200, pct_start=0.3, div_factor=10, final_div_factor=100, cycle_momentum=False
    )
    expected = []
    for _ in range(200):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 200:
            theirs.step()
    ours = rates(onecycle, 200, warmup=0.3, initial=0.1, final=0.001)
    assert ours == pytest.approx(expected, abs=0.03)  # torch's peak is one step earlier


def test_plateau_maximizes_accuracies_and_minimizes_losses():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert plateau(optimizer, 1, monitor="val/acc")["scheduler"].mode == "max"
    assert plateau(optimizer, 1, monitor="val/loss")["scheduler"].mode == "min"


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (constant, {"warmup": 1}),
        (cosine, {"final": 2}),
        (onecycle, {"warmup": 0}),
        (onecycle, {"initial": 0}),
        (step, {"epochs": 0}),
        (step, {"factor": 0}),
        (plateau, {"patience": -1}),
        (plateau, {"factor": 1}),
    ],
)
def test_schedules_refuse_invalid_options(make, wrong):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(InputError, match=rf"scheduler\.{next(iter(wrong))}"):
        make(optimizer, 10, **wrong)
