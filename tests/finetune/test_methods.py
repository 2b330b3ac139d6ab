"""Fine-tuning methods: which parameters train, at which rate, and when."""

import pytest
import torch

from src.cli.config import CONF
from src.errors import InputError
from src.finetune.adapter import Prompt
from src.finetune.l2sp import L2SP
from src.finetune.lora import LoRA
from src.finetune.method import Full, Gradual, Last, ProbeThenFull
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.structure import find_head, parameter_blocks, reset_head
from src.training.checkpoints import Checkpoints
from src.training.optimizers import MuonAdamW
from src.training.schedules import cosine, onecycle, plateau
from src.training.schedules import step as step_schedule
from tests.conf_options import METHODS, MODELS, SHAPE, make_method, make_model
from tests.tuning import tune

REFUSED = {("norm", "cnn"), ("norm", "convnet"), ("norm", "lenet"), ("norm", "mlp"), ("channels", "pretrained")}


@pytest.mark.filterwarnings("ignore:.*no optimizer", "ignore:.*returned .None", "ignore:.*eval mode at the start")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("option", METHODS)
def test_every_method_trains_every_model_or_refuses_it(option, name, data, tmp_path):
    model, method = make_model(name), make_method(option)
    if (option, name) in REFUSED:
        with pytest.raises(InputError, match="this network has no"):
            method.adapt(model, SHAPE)
        return
    model = method.adapt(model, SHAPE)
    epochs = 3 if option in ("gradual", "probe_then_full") else 1
    trainable = {id(p) for p in method.all_trainable_parameters(model)}
    before = {key: (id(value), value.clone()) for key, value in model.named_parameters()}
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    trainer = tune(model, method, data, tmp_path, epochs)
    changed = {key for key, value in model.named_parameters() if not value.equal(before[key][1])}
    assert changed, "something trains"
    assert changed <= {key for key, (own, _) in before.items() if own in trainable}, "frozen parameters stay bit-equal"
    assert 0 <= float(trainer.callback_metrics["val/acc"]) <= 1
    if option not in ("adaptive", "full", "l2sp", "gradual", "probe_then_full", "norm", "last", "prune", "channels"):
        assert all(value.equal(buffers[key]) for key, value in model.named_buffers()), (
            "frozen batch norms do not update"
        )


def test_every_method_is_tested():
    assert len(METHODS) == len(list((CONF / "finetune").glob("*.yaml"))) - 1 >= 16
    assert {name for _, name in REFUSED} <= set(MODELS)


def test_a_fresh_head_trains_with_any_method():
    for method in (Prompt(), LoRA(train_head=False)):
        model = LeNet(SHAPE, 10)
        reset_head(model, 3)
        model = method.adapt(model, SHAPE, fresh_head=True)
        head = {id(p) for p in find_head(model)[1].parameters()}
        assert head <= {id(p) for p in method.all_trainable_parameters(model)}


def test_layer_decay_lowers_rates_from_the_head_to_the_input():
    model, method = LeNet(SHAPE, 10), Full(layer_decay=0.5, head_rate=10)
    groups = method.parameter_groups(model, lr=0.1, weight_decay=0.01)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(model.head[4].weight)] == pytest.approx(1.0)
    assert rates[id(model.head[2].weight)] == pytest.approx(0.05)
    assert rates[id(model.features[0].weight)] == pytest.approx(0.1 * 0.5**4)
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays[id(model.head[4].weight)] == 0.01
    assert decays[id(model.head[4].bias)] == 0


SCHEDULERS = [onecycle, cosine, step_schedule, plateau]


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, MuonAdamW])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_gradual_unfreezing_works_with_every_scheduler(scheduler, optimizer, data, tmp_path):
    model, method = LeNet(SHAPE, 10), Gradual()
    first = model.features[0].weight.detach().clone()
    trainable = {}

    class Watch(Checkpoints):
        def on_train_epoch_end(self, trainer, task):
            trainable[trainer.current_epoch] = [p.requires_grad for _, (p, *_) in parameter_blocks(task.model)]
            assert first.equal(task.model.features[0].weight) == (trainer.current_epoch < 4)

    trainer = tune(
        model, method, data, tmp_path, 6, callbacks=[Watch(str(tmp_path))], optimizer=optimizer, scheduler=scheduler
    )
    assert trainable[0] == [False, False, False, False, True]
    assert trainable[2] == [False, False, True, True, True]
    assert trainable[4] == trainable[5] == [True] * 5
    assert len(trainer.optimizers) == 1


def test_probe_then_full_has_two_stages():
    model, method = LeNet(SHAPE, 10), ProbeThenFull(probe=0.5)
    for epoch, everything in enumerate([False, False, True, True]):
        method.set_trainable(model, epoch, 4)
        assert all(p.requires_grad for p in model.parameters()) == everything
        assert method.is_backbone_frozen(model) != everything


def test_l2sp_penalizes_the_distance_to_the_initial_weights():
    model, method = MLP(SHAPE, 10), L2SP(alpha=2.0, beta=4.0)
    method.adapt(model, SHAPE)
    assert method.penalty(model).item() == 0
    model.head[0].weight.data += 1
    assert method.penalty(model).item() == pytest.approx(784 * 128, rel=1e-4)
    fresh = L2SP(alpha=2.0, beta=4.0)
    fresh.adapt(model, SHAPE, fresh_head=True)
    squares = sum(p.square().sum().item() for p in find_head(model)[1].parameters())
    assert fresh.penalty(model).item() == pytest.approx(2 * squares, rel=1e-4)


def test_more_blocks_than_the_network_has_are_refused():
    with pytest.raises(InputError, match=r"finetune\.blocks=6: this network has 5"):
        Last(blocks=6).adapt(LeNet(SHAPE, 10), SHAPE)
