"""Pruning: masks hold through training, averaging and resuming, and scopes are as published."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.utils import parametrize

from src.finetune.prune import Prune
from src.model_files.checkpoint import read_checkpoint
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.training.checkpoints import Checkpoints
from src.training.ema import EMA
from src.training.optimizers import MuonAdamW
from tests.tuning import tune

SHAPE = (1, 28, 28)


def masks(model: nn.Module) -> list[torch.Tensor]:
    layers = [m for m in model.modules() if parametrize.is_parametrized(m, "weight")]
    return [m.parametrizations.weight[0].mask for m in layers]


def sgd(groups, **options):
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, **options)


@pytest.mark.parametrize(("optimizer", "ema"), [(sgd, False), (torch.optim.AdamW, True), (MuonAdamW, True)])
def test_masked_weights_are_0_and_stay_0(optimizer, ema, data, tmp_path):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, task, *args):
            seen.append([mask.clone() for mask in masks(task.model)])
            assert all(bool((m.weight[~mask] == 0).all()) for m, mask in zip(layers, seen[-1], strict=True))

    method, model = Prune(sparsity=0.9, until=0.6), LeNet(SHAPE, 10)
    model = method.adapt(model, SHAPE)
    layers = [m for m in model.modules() if parametrize.is_parametrized(m, "weight")]
    averaging = [EMA(0.9)] if ema else []
    saved = Checkpoints(str(tmp_path))
    tune(model, method, data, tmp_path, 3, 8, [Watch(), saved, *averaging], optimizer=optimizer)
    for before, after in pairwise(seen):
        assert all(not bool((b & ~a).any()) for a, b in zip(before, after, strict=True)), "none comes back"
    shares = [sum(int(m.sum()) for m in some) for some in seen]
    assert len(set(shares)) > 5, "gradually"
    weight = read_checkpoint(saved.best)["state_dict"]
    masked = {key: value for key, value in weight.items() if key.endswith("weight.0.mask")}
    assert [m.tolist() for m in masked.values()] == [m.tolist() for m in seen[-1]], "no mean of masks"
    total = sum(m.numel() for m in seen[-1])
    images = torch.randn(4, *SHAPE)
    before = model(images)
    method.merge(model)
    assert model(images).equal(before)
    assert set(model.state_dict()) == set(LeNet(SHAPE, 10).state_dict())
    zeros = sum(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1)
    assert 0 <= zeros - round(0.9 * total) + len(layers) <= 2 * len(layers)


def test_only_a_network_that_is_sparse_enough_becomes_the_best(data, tmp_path):
    method, saved = Prune(sparsity=0.5, until=0.5), Checkpoints(str(tmp_path))
    tune(method.adapt(MLP(SHAPE, 10), SHAPE), method, data, tmp_path, 4, 4, [saved])
    assert saved.best_epoch >= 2
    assert math.isclose(float(read_checkpoint(saved.best)["state_dict"]["model.head.0.parametrizations.weight.0.mask"]
                              .float().mean()), 0.5, abs_tol=0.05)  # fmt: skip


def test_resumed_pruning_is_bit_equal(data, tmp_path):
    class Leave(Callback):
        def on_train_epoch_end(self, trainer, task):
            trainer.should_stop = trainer.current_epoch == 1

    def fit(name, resume=None, more=()):
        from lightning.pytorch import Trainer

        from src.model_files.checkpoint import CheckpointFiles
        from src.training.task import Classifier

        torch.manual_seed(0)
        method = Prune(sparsity=0.8, until=0.7)
        model = method.adapt(LeNet(SHAPE, 10), SHAPE)
        trainer = Trainer(
            accelerator="cpu", max_epochs=4, limit_train_batches=6, logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[Checkpoints(str(tmp_path / name)), EMA(0.9), *more],
            plugins=[CheckpointFiles()], default_root_dir=str(tmp_path), num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(Classifier(model, data.info, method=method, config={}), data, ckpt_path=resume)
        return read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"]

    whole = fit("whole")
    half = fit("half", more=[Leave()])
    assert any(not half[key].equal(whole[key]) for key in whole)
    again = fit("again", str(tmp_path / "half/last.ckpt"))
    assert [key for key in whole if not whole[key].equal(again[key])] == []


def test_each_scope_follows_its_definition():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    model[0].weight.data *= 10
    found = {}
    for scope in ("global", "layer", "lamp"):
        other = copy.deepcopy(model)
        method = Prune(sparsity=0.6, scope=scope)
        method.adapt(other, (1, 4, 5))
        method.update_masks(other, 0.6)
        before = [mask.clone() for mask in masks(other)]
        method.update_masks(other, 0.6)
        assert all(a.equal(b) for a, b in zip(before, masks(other), strict=True)), "drawn twice, the same"
        found[scope] = before
    one, two = (layer.weight.detach().abs() for layer in (model[0], model[2]))
    limit = torch.cat([one.flatten(), two.flatten()]).sort().values[540 - 1]
    assert found["global"][0].equal(one > limit)
    assert int(found["global"][1].sum()) == 1, "a layer is never empty"
    assert [int(mask.sum()) for mask in found["layer"]] == [240, 120]
    scores = [torch.tensor([w * w / (a[a >= w] ** 2).sum() for w in a.flatten()]) for a in (one, two)]
    limit = torch.cat(scores).sort().values[540 - 1]
    assert [(s > limit).tolist() for s in scores] == [mask.flatten().tolist() for mask in found["lamp"]]
