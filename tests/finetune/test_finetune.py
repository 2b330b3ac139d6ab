"""Fine-tuning: what trains, what stays, what is merged, and what is refused."""

import copy

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from src.cli.config import CONF, load_config
from src.data.augment import Shift
from src.data.datamodule import ImageData
from src.data.feature_cache import FeatureCache
from src.data.transforms import transform_source
from src.errors import InputError
from src.finetune.adapter import Bottleneck, Prompt
from src.finetune.closed_form import Prototype, Ridge
from src.finetune.l2sp import L2SP
from src.finetune.lora import DoRA, LoRA
from src.finetune.method import Full, Gradual, Head, Last, ProbeThenFull
from src.model_files.checkpoint import load_model, read_checkpoint, write_checkpoint
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.structure import extract_features, find_head, parameter_blocks, reset_head
from src.training.callbacks import Checkpoints
from src.training.initialize import match_data_info
from src.training.optimizers import MuonAdamW
from src.training.schedules import cosine, onecycle, plateau
from src.training.schedules import step as step_schedule
from tests.tuning import tune

METHODS = sorted(path.stem for path in (CONF / "finetune").glob("*.yaml") if path.stem != "none")
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SHAPE = (1, 28, 28)


def make_model(name: str) -> nn.Module:
    extra = ["model.size=32"] if name == "pretrained" else []
    cfg = load_config([f"model={name}", *extra])
    torch.manual_seed(0)
    return instantiate(cfg.model, shape=SHAPE, num_classes=10, _convert_="all")


def make_method(name: str):
    cfg = load_config([f"finetune={name}"])
    return instantiate(cfg.finetune, _convert_="all")


REFUSED = {("norm", "cnn"), ("norm", "convnet"), ("norm", "lenet"), ("norm", "mlp"), ("channels", "pretrained")}


@pytest.mark.filterwarnings("ignore:.*no optimizer", "ignore:.*returned .None", "ignore:.*eval mode at the start")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("option", METHODS)
def test_every_model_and_method_train_or_are_refused(option, name, data, tmp_path):
    model, method = make_model(name), make_method(option)
    if (option, name) in REFUSED:
        with pytest.raises(InputError, match="this network has no"):
            method.adapt(model, SHAPE)
        return
    model = method.adapt(model, SHAPE)
    epochs = 3 if option in ("gradual", "probe_then_full") else 1
    trained = {id(p) for p in method.all_trainable_parameters(model)}
    before = {key: (id(value), value.clone()) for key, value in model.named_parameters()}
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    trainer = tune(model, method, data, tmp_path, epochs)
    changed = {key for key, value in model.named_parameters() if not value.equal(before[key][1])}
    assert changed, "something trains"
    assert changed <= {key for key, (own, _) in before.items() if own in trained}, "what is frozen keeps its bits"
    assert 0 <= float(trainer.callback_metrics["val/acc"]) <= 1
    if option not in ("full", "l2sp", "gradual", "probe_then_full", "norm", "last", "prune", "channels"):
        assert all(value.equal(buffers[key]) for key, value in model.named_buffers()), "frozen batch norms measure not"


def test_no_method_is_left_out():
    assert len(METHODS) == len(list((CONF / "finetune").glob("*.yaml"))) - 1 >= 16
    assert {name for _, name in REFUSED} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_one_block_and_the_head_in_the_last(name):
    model = make_model(name)
    parts = parameter_blocks(model)
    counted = [id(p) for _, parameters in parts for p in parameters]
    assert sorted(counted) == sorted(id(p) for p in model.parameters())
    assert {id(p) for p in find_head(model)[1].parameters()} == {id(p) for p in parts[-1][1]}


CONVOLUTIONS = {
    "stride": {"stride": 2},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "padding": "same"},
}


@pytest.mark.parametrize("kind", [LoRA, DoRA])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_low_rank_changes_start_as_the_identity_and_merge_exactly(kind, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, **options), nn.ReLU(), nn.Flatten(), nn.LazyLinear(12), nn.Linear(12, 10))
    images = torch.randn(5, 4, 11, 11)
    before = model(images)
    method = kind(rank=2)
    model = method.adapt(model, (4, 11, 11))
    assert torch.allclose(model(images), before, atol=1e-6)
    for parameter in method.trainable_parameters(model, 0, 1):
        parameter.data += 0.1 * torch.randn_like(parameter)
    changed = model(images)
    assert not torch.allclose(changed, before, atol=1e-2)
    keys = {"0.weight", "0.bias", "3.weight", "3.bias", "4.weight", "4.bias"}
    method.merge(model)
    assert set(model.state_dict()) == keys
    assert model(images).equal(changed)


def test_lora_equals_the_written_formula():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    model = nn.Sequential(copy.deepcopy(layer), nn.Flatten(), nn.LazyLinear(3))
    images = torch.randn(2, 4, 9, 9)
    model(images)
    method = LoRA(rank=3, alpha=6.0, targets=["0"])
    method.adapt(model, (4, 9, 9))
    change = model[0].parametrizations.weight[0]
    change.b.data.normal_()
    delta = 2.0 * (change.b @ change.a).view(6, 4, 3, 3)
    expected = nn.functional.conv2d(images, layer.weight + delta, layer.bias, stride=2, padding=1)
    assert torch.allclose(model[0](images), expected, atol=1e-5)


def test_dora_learns_length_and_direction_apart():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    weight = model[0].weight.detach().clone()
    DoRA(rank=2).adapt(model, (1, 1, 6))
    change = model[0].parametrizations.weight[0]
    change.magnitude.data *= 3
    assert torch.allclose(model[0].weight, 3 * weight, atol=1e-6)
    change.b.data.normal_()
    assert torch.allclose(model[0].weight.norm(dim=1, keepdim=True), change.magnitude, atol=1e-5)


@pytest.mark.parametrize("kind", [LoRA, DoRA])
def test_ranks_and_targets_that_make_no_sense(kind):
    with pytest.raises(InputError, match=r"finetune\.rank=200.*head\.0: give at most 120"):
        kind(rank=200).adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"finetune\.rank=7.*features\.0: give at most 6"):
        kind(rank=7, targets="features.0").adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"no layer is called nothing: one of features\.0, .*head\.4"):
        kind(targets=["nothing"]).adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"finetune\.rank=0"):
        kind(rank=0)


@pytest.mark.parametrize("option", ["adapter", "prompt"])
def test_added_modules_start_as_the_identity(option):
    model, images = make_model("resnet").eval(), torch.randn(3, 1, 28, 28)
    before = model(images)
    method = make_method(option)
    model = method.adapt(model, SHAPE).eval()
    assert torch.allclose(model(images), before, atol=1e-6)


def test_a_prompt_changes_only_the_border_and_the_level():
    model = Prompt(border_px=3).adapt(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(784, 10)), SHAPE)
    model.border.data.fill_(5.0)
    seen = []
    model.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.zeros(1, 1, 28, 28))
    assert float(seen[0].detach()[0, 0, 3:25, 3:25].abs().max()) == 0
    assert float(seen[0].detach().sum()) == 5 * (28 * 28 - 22 * 22)
    with pytest.raises(InputError, match=r"border_px=15: at most 14"):
        Prompt(border_px=15).adapt(model, SHAPE)


def test_a_fresh_head_trains_whatever_the_method():
    for method in (Prompt(), LoRA(train_head=False)):
        model = LeNet(SHAPE, 10)
        reset_head(model, 3)
        model = method.adapt(model, SHAPE, fresh_head=True)
        head = {id(p) for p in find_head(model)[1].parameters()}
        assert head <= {id(p) for p in method.all_trainable_parameters(model)}


def test_rates_fall_from_the_head_to_the_input():
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
def test_staged_methods_go_with_every_scheduler(scheduler, optimizer, data, tmp_path):
    model, method = LeNet(SHAPE, 10), Gradual()
    first = model.features[0].weight.detach().clone()
    joined = {}

    class Watch(Checkpoints):
        def on_train_epoch_end(self, trainer, task):
            joined[trainer.current_epoch] = [p.requires_grad for _, (p, *_) in parameter_blocks(task.model)]
            assert first.equal(task.model.features[0].weight) == (trainer.current_epoch < 4)

    trainer = tune(
        model, method, data, tmp_path, 6, callbacks=[Watch(str(tmp_path))], optimizer=optimizer, scheduler=scheduler
    )
    assert joined[0] == [False, False, False, False, True]
    assert joined[2] == [False, False, True, True, True]
    assert joined[4] == joined[5] == [True] * 5
    assert len(trainer.optimizers) == 1


def test_probe_then_full_is_in_two_stages():
    model, method = LeNet(SHAPE, 10), ProbeThenFull(probe=0.5)
    for epoch, everything in enumerate([False, False, True, True]):
        method.set_trainable(model, epoch, 4)
        assert all(p.requires_grad for p in model.parameters()) == everything
        assert method.is_backbone_frozen(model) != everything


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
def test_a_head_on_kept_features_is_the_head_on_images(data, tmp_path):
    heads = []
    for passes in (None, 0):
        model, method = make_model("resnet"), Head(cached_passes=passes)
        torch.manual_seed(1)
        trainer = tune(method.adapt(model, SHAPE), method, data, tmp_path, epochs=3, batches=1.0)
        assert bool(data.features._train) == (passes is None)
        assert data.train_set.features is data.val_set.features is None, "what follows the training looks at images"
        heads.append((find_head(model)[1].weight.detach().clone(), float(trainer.callback_metrics["val/loss"])))
        data.features = FeatureCache(data)
    assert torch.allclose(heads[0][0], heads[1][0], atol=1e-4)
    assert heads[0][1] == pytest.approx(heads[1][1], abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
def test_features_make_way_for_images_when_more_than_the_head_trains(data, tmp_path):
    model, method = LeNet(SHAPE, 10), ProbeThenFull(probe=0.5)
    first = model.features[0].weight.detach().clone()
    tune(method.adapt(model, SHAPE), method, data, tmp_path, epochs=2)
    assert data.train_set.features is None
    assert not first.equal(model.features[0].weight)


@pytest.mark.filterwarnings("ignore:.*eval mode at the start", "ignore:.*does not have many workers")
def test_kept_features_are_those_of_this_process_where_workers_decode(picture_folder, tmp_path):
    ends = []
    for gb in (1, 0):
        data = ImageData("folder", root=str(picture_folder), val=0.2, memory_gb=gb, num_workers=1, batch_size=8)
        data.setup()
        assert isinstance(data.train_set.images, torch.Tensor) == bool(gb)
        data.augment = Shift(1)
        torch.manual_seed(0)
        model, method = LeNet(data.info.shape, 2), ProbeThenFull(probe=0.5, cached_passes=2)
        trainer = tune(method.adapt(model, data.info.shape), method, data, tmp_path, epochs=4, batches=1.0)
        ends.append((model.state_dict(), float(trainer.callback_metrics["val/loss"])))
    (ours, our_loss), (theirs, their_loss) = ends
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    assert our_loss == pytest.approx(their_loss, rel=1e-5)


def test_kept_passes_take_turns(data):
    data.augment = Shift(2)
    model = LeNet(SHAPE, 10).eval()
    seen = []
    for epoch in range(4):
        data.features.show(lambda batches: extract_features(model, batches), 2, epoch, torch.device("cpu"))
        seen.append(data.train_set.features)
    assert seen[0] is seen[2]
    assert seen[1] is seen[3]
    assert not torch.allclose(seen[0], seen[1])


def test_l2sp_draws_to_the_start():
    model, method = MLP(SHAPE, 10), L2SP(alpha=2.0, beta=4.0)
    method.adapt(model, SHAPE)
    assert method.penalty(model).item() == 0
    model.head[0].weight.data += 1
    assert method.penalty(model).item() == pytest.approx(784 * 128, rel=1e-4)
    fresh = L2SP(alpha=2.0, beta=4.0)
    fresh.adapt(model, SHAPE, fresh_head=True)
    squares = sum(p.square().sum().item() for p in find_head(model)[1].parameters())
    assert fresh.penalty(model).item() == pytest.approx(2 * squares, rel=1e-4)


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


def test_ridge_is_least_squares_without_a_pull_and_the_old_head_with_much():
    model, (features, labels) = nn.Sequential(nn.Identity(), nn.Linear(8, 3)), features_of_two_classes()
    near = Prototype()
    near.collect(model, features[:6], labels[:6])
    near.on_epoch_end(model)
    old = model(features).argmax(1)
    strong = Ridge(strength=1e9)
    strong.adapt(model, SHAPE)
    strong.collect(model, features, labels)
    kept = copy.deepcopy(model)
    strong.on_epoch_end(kept)
    assert (kept(features).argmax(1) == old).all()
    weak = Ridge(strength=1e-9)
    weak.adapt(model, SHAPE)
    weak.collect(model, features, labels)
    weak.on_epoch_end(model)
    inputs = torch.cat([features, torch.ones(60, 1)], 1)
    solution = torch.linalg.lstsq(inputs, nn.functional.one_hot(labels, 3).float()).solution
    assert (model(features).argmax(1) == (inputs @ solution).argmax(1)).all()


def test_blocks_asked_for_that_are_not_there():
    with pytest.raises(InputError, match=r"finetune\.blocks=6: this network has 5"):
        Last(blocks=6).adapt(LeNet(SHAPE, 10), SHAPE)


@pytest.fixture
def source_file(data, tmp_path):
    """A small trained LeNet's checkpoint."""
    model = LeNet(SHAPE, 10)
    config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {}}
    trainer = tune(model, None, data, tmp_path, callbacks=[Checkpoints(str(tmp_path / "source"))])
    trainer.lightning_module.config = config
    trainer.save_checkpoint(tmp_path / "source.ckpt")
    return tmp_path / "source.ckpt"


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
@pytest.mark.parametrize("option", ["lora", "dora", "adapter", "prompt", "head", "bias"])
def test_a_file_of_changes_is_small_and_goes_with_its_base_alone(option, source_file, data, tmp_path):
    start, method = load_model(source_file), make_method(option)
    images = data.val_set[torch.arange(20)][0].float()
    model = method.adapt(copy.deepcopy(start.model), SHAPE)
    structure = [dict(load_config([f"finetune={option}"]).finetune)] if method.adds_modules else []
    trainer = tune(model, method, data, tmp_path, base={"file": start.file, "sha256": start.digest})
    trainer.lightning_module.config = {**start.config, "structure": structure}
    path = tmp_path / "changes.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    assert path.stat().st_size < source_file.stat().st_size / 4
    net = load_model(path)
    with torch.no_grad():
        expected = model.eval()(data.normalize(images))
        assert torch.allclose(net(images), expected, atol=1e-5)
        assert not net.complete
        if method.mergeable or not method.adds_modules:
            assert set(net.model.state_dict()) == set(LeNet(SHAPE, 10).state_dict())
    other = read_checkpoint(source_file)
    other["state_dict"]["model.head.4.bias"] += 1
    other.pop("digest")
    write_checkpoint(other, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="changes of another network"):
        load_model(path, tmp_path / "other.ckpt")
    source_file.rename(tmp_path / "moved.ckpt")
    with pytest.raises(InputError, match=r"base=\.\.\."):
        load_model(path)
    assert torch.allclose(load_model(path, tmp_path / "moved.ckpt")(images), expected, atol=1e-5)


def test_a_method_in_a_file_is_one_of_ours(source_file, tmp_path):
    content = read_checkpoint(source_file)
    content["config"]["structure"] = [{"_target_": "subprocess.Popen", "args": "ls"}]
    content.pop("digest")
    write_checkpoint(content, tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match=r"asks for subprocess\.Popen"):
        load_model(tmp_path / "bad.ckpt")


def test_the_source_gives_normalization_and_the_data_gives_classes(source_file, data):
    from dataclasses import replace

    net = load_model(source_file)
    names = tuple("abcdefghij")
    same, fresh = match_data_info(net, replace(data.info, mean=(0.9,), std=(0.8,)), "auto")
    assert (same.mean, same.std, fresh) == (net.info.mean, net.info.std, False)
    other, fresh = match_data_info(net, replace(data.info, class_names=names), "auto")
    assert (other.class_names, fresh) == (names, True)
    assert match_data_info(net, replace(data.info, class_names=names), "keep")[1] is False
    assert match_data_info(net, data.info, "reset")[1] is True
    with pytest.raises(InputError, match="head=keep: the source knows 10 classes, the data have 3"):
        match_data_info(net, replace(data.info, class_names=("a", "b", "c")), "keep")
    with pytest.raises(InputError, match=r"reads images of 1x28x28.*the data have 3x32x32"):
        match_data_info(net, replace(data.info, shape=(3, 32, 32)), "auto")


def test_classes_are_chosen_merged_and_turned(data_root):
    from src.data.sources.registry import load_source

    source = load_source("kmnist", root=str(data_root), download=False)
    names = source.class_names
    images, labels = source.train()
    some = transform_source(source, classes=[names[3], names[5]])
    assert some.class_names == (names[3], names[5])
    kept = (labels == 3) | (labels == 5)
    assert some.train().images.equal(images[kept])
    assert some.train().labels.equal((labels[kept] == 5).long())
    merged = transform_source(source, classes={"even": list(names[::2]), "odd": list(names[1::2])})
    assert merged.train().labels.equal(labels % 2)
    assert transform_source(source, quarter_turns=1).test().images.equal(source.test().images.rot90(1, (2, 3)))
    assert transform_source(source, quarter_turns=4).train().images.equal(images)
    for wrong, message in (
        ({"classes": ["x", names[0]]}, "x is no class here"),
        ({"classes": [names[0]]}, "at least two classes"),
        ({"classes": [names[0], names[0]]}, "at least two|there twice"),
        ({"ink": "pen"}, "one of none, mnist"),
        ({"quarter_turns": 0.5}, "a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            transform_source(source, **wrong)


def test_few_images_fill_an_epoch_in_new_orders(data_root):
    data = ImageData("kmnist", root=str(data_root), download=False, batch_size=8, val=50, shots=1, min_steps=6)
    data.setup()
    loader = data.train_dataloader()
    rows = list(loader.sampler)
    assert len(rows) == len(loader) == 6
    assert all(len(batch) == 8 for batch in rows)
    assert torch.cat(rows)[:40].bincount().tolist() == [4] * 10
    assert torch.cat(rows)[:10].tolist() != torch.cat(rows)[10:20].tolist()


def test_a_bottleneck_fits_its_layer():
    assert Bottleneck(nn.Conv2d(3, 5, 3), 2)(torch.ones(1, 5, 4, 4)).equal(torch.ones(1, 5, 4, 4))
