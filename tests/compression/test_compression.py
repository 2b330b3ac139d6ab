"""Compression: masks that hold, channels that go, answers that are learnt, and figures that are true."""

import copy
import json
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from torch import nn
from torch.nn.utils import parametrize

from src.cli.config import CONF, load_config, to_plain
from src.compress import as_typed, check
from src.compression.candidates import Candidate, choose_candidate
from src.compression.latency import Timings, interleave
from src.compression.measure import accuracy, mcnemar_test
from src.compression.size import slim_checkpoint_bytes, weights
from src.compression.table import compression_table, remarks
from src.compression.train_overrides import text, training_overrides
from src.data.normalize import Normalize
from src.errors import InputError
from src.finetune.adapter import Adapter
from src.finetune.channels import Channels
from src.finetune.prune import Prune
from src.insight.summary import summarize
from src.model_files.checkpoint import load_model, read_checkpoint
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.resnet import ResNet
from src.training.callbacks import EMA, Checkpoints
from src.training.distillation import Distill
from src.training.losses import CrossEntropy
from src.training.optimizers import MuonAdamW
from tests.commands import one_line, run
from tests.configs import write_teacher
from tests.tuning import tune

SHAPE = (1, 28, 28)


def masks(model: nn.Module) -> list[torch.Tensor]:
    layers = [m for m in model.modules() if parametrize.is_parametrized(m, "weight")]
    return [m.parametrizations.weight[0].mask for m in layers]


# Masks


def sgd(groups, **options):
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, **options)


@pytest.mark.parametrize(("optimizer", "ema"), [(sgd, False), (torch.optim.AdamW, True), (MuonAdamW, True)])
def test_what_is_masked_is_0_and_stays_so(optimizer, ema, data, tmp_path):
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


def test_only_a_network_that_is_sparse_enough_is_the_best(data, tmp_path):
    method, saved = Prune(sparsity=0.5, until=0.5), Checkpoints(str(tmp_path))
    tune(method.adapt(MLP(SHAPE, 10), SHAPE), method, data, tmp_path, 4, 4, [saved])
    assert saved.best_epoch >= 2
    assert math.isclose(float(read_checkpoint(saved.best)["state_dict"]["model.head.0.parametrizations.weight.0.mask"]
                              .float().mean()), 0.5, abs_tol=0.05)  # fmt: skip


def test_pruning_that_goes_on_later_is_the_same_to_the_last_bit(data, tmp_path):
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


def test_scopes_are_their_definitions():
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prune(sparsity=1.0), "sparsity=1.0: a number, above 0, below 1"),
        (lambda: Prune(scope="all"), "scope=all: one of global, layer, lamp"),
        (lambda: Prune(until=0), "until=0"),
        (lambda: Channels(keep=0), "keep=0: a number, above 0, below 1"),
        (lambda: Channels(by="luck"), "by=luck: one of"),
        (lambda: Channels(spread="even"), "spread=even: one of"),
        (lambda: Channels(multiple=0), "multiple=0"),
        (lambda: Channels(by="scale").adapt(LeNet(SHAPE, 10), SHAPE), "no batch norm"),
        (lambda: Channels(keep=1e-6).adapt(LeNet(SHAPE, 10), SHAPE), "needs at least"),
        (lambda: Channels().adapt(MLP(SHAPE, 10, hidden=()), SHAPE), "no channels that can be removed"),
        (lambda: Channels().adapt(Adapter().adapt(LeNet(SHAPE, 10), SHAPE), SHAPE), "without added modules"),
        (lambda: CNN(SHAPE, 10, widths=(16,)), r"model.widths=\(16,\): 2 widths"),
        (lambda: ConvNet(SHAPE, 10, hidden=(0,)), "model.hidden"),
        (lambda: ResNet(SHAPE, 10, inner=(4,)), "model.inner=.*3 widths"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# Channels

NETWORKS = {
    "cnn": (CNN, {}),
    "cnn_norm": (CNN, {"batch_norm": True, "activation": "gelu", "pooling": "avg"}),
    "convnet": (ConvNet, {}),
    "lenet": (LeNet, {"deslant": True}),
    "lenet_norm": (LeNet, {"batch_norm": True, "padded": False, "activation": "silu", "dropout": 0.1}),
    "lenet_unfold": (LeNet, {"convolution": "unfold"}),
    "mlp": (MLP, {"hidden": [64, 32]}),
    "resnet": (ResNet, {"blocks": 2}),
}


def network(name: str) -> tuple[nn.Module, type, dict]:
    kind, options = NETWORKS[name]
    model = kind(SHAPE, 10, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.1)
    return model.eval(), kind, options


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_that_say_nothing_go_and_nothing_changes(name):
    from src.finetune.prunable import find_prunable_layers

    model, kind, options = network(name)
    for unit in find_prunable_layers(model):
        silent = torch.randperm(unit.width)[: math.ceil(unit.width / 2)]
        for module in (unit.layer, unit.norm) if unit.norm is not None else (unit.layer,):
            for key in ("weight", "bias", "running_mean"):
                if getattr(module, key, None) is not None:
                    getattr(module, key).data[silent] = 0
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        before = model(images)
        method = Channels(keep=0.6, multiple=1)
        after = method.adapt(model, SHAPE)
        torch.testing.assert_close(after(images), before, atol=2e-5, rtol=1e-4)
        fresh = kind(SHAPE, 10, **method.adapt_config(options)).eval()
        fresh.load_state_dict(after.state_dict())
        assert fresh(images).equal(after(images)), "a plain network of the same class"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("spread", ["uniform", "greedy"])
@pytest.mark.parametrize("multiple", [1, 16])
def test_so_much_arithmetic_is_left(name, spread, multiple):
    model, _, _ = network(name)
    before = summarize(model, SHAPE).multiply_adds
    method = Channels(keep=0.5, spread=spread, multiple=multiple)
    share = summarize(method.adapt(model, SHAPE), SHAPE).multiply_adds / before
    assert share <= (0.501 if name == "lenet" else 0.5), "setting upright costs a little and stays"
    if multiple == 1:
        assert share > 0.38, "and no less than must be"
    elif name.startswith("cnn"):
        assert method.widths["widths"] == [16, 16]
        assert share > 0.49, "neurons fill up what blocks leave"


def test_the_strongest_channels_stay():
    model = MLP(SHAPE, 10, hidden=(8,))
    with torch.no_grad():
        model.head[0].weight.copy_(torch.arange(1, 9).view(8, 1).expand(8, 784))
        kept = model.head[2].weight[:, 4:].clone()
    Channels(keep=0.5, by="weights").adapt(model, SHAPE)
    assert model.head[0].weight[:, 0].tolist() == [5, 6, 7, 8]
    assert model.head[2].weight.equal(kept)


# Distillation


@pytest.fixture
def teacher(tmp_path, data_root):
    return write_teacher(tmp_path / "teacher.ckpt", data_root)


def test_distillation_is_its_formula_on_the_teachers_own_images(teacher, data):
    from dataclasses import replace

    loss = Distill(str(teacher), temperature=3.0, weight=0.7)
    net = load_model(teacher)
    raw = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8)
    labels, logits = torch.arange(6), torch.randn(6, 10, requires_grad=True)
    info = replace(data.info, mean=(0.4,), std=(0.9,))
    images = Normalize(info.mean, info.std)(raw)
    with torch.no_grad():
        p = (net(raw) / 3).softmax(1)
    q = (logits / 3).softmax(1)
    kl = (p * (p / q).log()).sum(1).mean()
    value = loss(logits, labels, images, info)
    assert value.item() == pytest.approx((0.3 * F.cross_entropy(logits, labels) + 0.7 * 9 * kl).item(), abs=1e-4)
    value.backward()
    assert logits.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.net.parameters())
    alone = Distill(str(teacher), weight=0.0)(logits, labels, images, info)
    assert alone.item() == pytest.approx(CrossEntropy()(logits, labels).item())
    assert not list(loss.state_dict()), "no part of a checkpoint"
    assert loss.seconds > 0


def test_teachers_that_are_none(teacher, data, tmp_path):
    from dataclasses import replace

    with pytest.raises(InputError, match=r"loss\.teacher=nowhere: there is no file"):
        Distill("nowhere")
    with pytest.raises(InputError, match=r"loss\.teacher is missing"):
        Distill()
    for wrong in ({"temperature": 0}, {"weight": 1.5}):
        with pytest.raises(InputError, match=rf"loss\.{next(iter(wrong))}"):
            Distill(str(teacher), **wrong)
    loss = Distill(str(teacher))
    loss.check(data.info)
    with pytest.raises(InputError, match="knows the classes"):
        loss.check(replace(data.info, class_names=("a", "b")))
    with pytest.raises(InputError, match="reads images of 1x28x28"):
        loss.check(replace(data.info, shape=(3, 32, 32)))
    with pytest.raises(InputError, match=r"finetune\.cached_passes=0"):
        loss(torch.zeros(2, 10), torch.zeros(2, dtype=torch.long), torch.zeros(2, 5), data.info)


def test_a_student_comes_to_answer_as_its_teacher(teacher, data, tmp_path):
    loss, student = Distill(str(teacher), weight=1.0, temperature=1.0), MLP(SHAPE, 10)
    net = load_model(teacher)
    raw = data.train_set[torch.arange(100)][0]
    agreed = [(student(data.normalize(raw)).argmax(1) == net(raw).argmax(1)).float().mean()]
    tune(student, None, data, tmp_path, epochs=12, batches=1.0, loss=loss)
    agreed.append((student(data.normalize(raw)).argmax(1) == net(raw).argmax(1)).float().mean())
    assert agreed[1] > 0.9 > agreed[0]


# Figures


def test_errors_are_compared_image_by_image():
    labels = torch.zeros(100, dtype=torch.long)
    before, after = labels.clone(), labels.clone()
    before[:8] = 1
    after[6:20] = 1
    found = mcnemar_test(before, after, labels)
    assert (found["new_errors"], found["gone_errors"]) == (12, 6)
    chance = 2 * sum(math.comb(18, k) for k in range(7)) / 2**18
    assert found["p"] == pytest.approx(chance)
    assert mcnemar_test(before, before, labels)["p"] == 1
    assert accuracy(after, labels)["errors"] == 14


def test_zeros_and_arithmetic_are_counted():
    model = LeNet(SHAPE, 10)
    model.head[0].weight.data[:60] = 0

    class Net:
        views, info = 5, type("Facts", (), {"shape": SHAPE})

    net = Net()
    net.model = model
    assert weights(net) == {"parameters": 61_706, "nonzero": 61_706 - 24_000, "multiply_adds": 5 * 416_520}


def test_a_race_takes_turns_and_a_ratio_is_of_neighbours():
    order = []
    runners = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = interleave(runners, turns=4, calls=2)
    assert "".join(order[10:]) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert all(len(pace.turns) == 4 and len(pace.turns[0]) == 2 for pace in found.values())
    slow, quick = Timings([[2.0, 2.0], [20.0, 20.0]]), Timings([[1.0, 1.0], [10.0, 10.0]])
    assert quick.times_faster_than(slow) == (2.0, 2.0, 2.0)
    assert slow.quantile(0.5) == 11.0


def row(name: str, faster: tuple | None = None, **changes) -> dict:
    speed = {"p50_s": 1e-4, "p99_s": 2e-4, "images_per_s": 1000.0}
    speed |= {"faster_1": faster, "faster_256": faster} if faster else {}
    base = {
        "name": name, "acc": 0.99, "acc_ci95": [0.98, 0.995], "errors": 10, "images": 1000, "val_acc": 0.99,
        "parameters": 1000, "nonzero": 1000, "multiply_adds": 5000, "bytes": 4000, "packed_bytes": 3600,
        "onnx_bytes": None, "quantised": False, "speed": {"eager": speed},
    }  # fmt: skip
    after = {"new_errors": 5, "gone_errors": 2, "p": 0.45} if faster else {}
    return base | after | changes


def test_words_hang_on_the_figures():
    before = row("before")
    said = "\n".join(remarks(before, row("a", (2.0, 1.9, 2.1), acc=0.987, bytes=1000)))
    assert "0.30 points lost" in said
    assert "one image: 2.00 times faster" in said
    assert "file: 25 % of what it was" in said
    assert "pay" not in said
    said = "\n".join(remarks(before, row("b", (1.0, 0.98, 1.02), nonzero=100, packed_bytes=900, acc=0.991)))
    assert "zeros: 90 %" in said
    assert "packed 25 %" in said
    assert "0.10 points gained" in said
    assert "256 images: no faster" in said
    assert "does not pay" in said
    assert "2.00 times slower" in "\n".join(remarks(before, row("c", (0.5, 0.4, 0.6))))
    assert "perhaps 1.20 times" in "\n".join(remarks(before, row("c", (1.2, 0.9, 1.4))))
    lines = compression_table([before, row("sparsity 0.9", (1.0, 0.9, 1.1))]).splitlines()
    assert len({len(line) for line in lines}) == 1, "columns stand below one another"
    assert "5 / 2, p 0.45" in lines[3]


def test_of_several_the_smallest_that_is_good_enough_is_kept():
    made = [Candidate(name, None, b"", None) for name in "abcd"]
    assert choose_candidate(made, [0.990, 0.991, 0.9895, 0.970], 0.001) == 2
    assert choose_candidate(made, [0.990, 0.970, 0.980, 0.960], 0.001) == 2
    assert choose_candidate(made[:2], [0.99, 0.5], 0.0) == 1


# Recipes

RUN = ["augment=affine", "augment.rotate_deg=7.5", "callbacks=[default,ema]", "callbacks.ema.decay=0.99",
       "task.mixup=0.2", "views=5", "loss=focal", "loss.gamma=1.5", "data=kmnist", "data.val=0.2",
       "optimizer.weight_decay=0.3", "data.classes={even:[o,su],odd:[ki]}", "output_dir=x", "run_name=y"]  # fmt: skip


@pytest.mark.parametrize("method", ["prune", "channels", "distill"])
def test_a_recipe_is_that_of_the_run(method, tmp_path):
    config = to_plain(load_config([*RUN, f"data.root={text('a folder/' + chr(39))}"]))
    student = {"_target_": "src.models.mlp.MLP", "hidden": [7]}
    file = tmp_path / "it's [here], x=1.ckpt"
    words = training_overrides(CONF, config, file, method, student if method == "distill" else 0.25, None, None)
    cfg = to_plain(load_config([*words, "output_dir=x", "run_name=y"]))
    for part in ("data", "augment", "task"):
        assert cfg[part] == config[part]
    assert cfg["callbacks"]["ema"] == config["callbacks"]["ema"]
    assert cfg["optimizer"]["weight_decay"] == 0.3
    assert cfg["trainer"]["max_epochs"] == (5 if method == "distill" else 3)
    if method == "distill":
        assert cfg["loss"]["teacher"] == str(file)
        assert cfg["model"]["_target_"] == "src.models.mlp.MLP"
        assert cfg["model"]["hidden"] == [7]
    else:
        assert (cfg["init_from"], cfg["views"]) == (str(file), 5)
        assert cfg["loss"] == config["loss"]
        assert cfg["finetune"][{"prune": "sparsity", "channels": "keep"}[method]] == 0.25


def test_a_file_chooses_no_class():
    config = to_plain(load_config(RUN))
    config["augment"] = {"_target_": "subprocess.Popen", "args": "ls"}
    with pytest.raises(InputError, match=r"asks for subprocess\.Popen"):
        training_overrides(CONF, config, CONF, "prune", 0.5, None, None)
    config["augment"], config["data"] = None, {"name": "nowhere"}
    with pytest.raises(InputError, match="data=nowhere, which is no option"):
        training_overrides(CONF, config, CONF, "prune", 0.5, None, None)


@pytest.mark.parametrize("value", [None, True, 3, 0.25, "it's", "a\\b", "x,y={z}", "", [1, "a b", None]])
def test_values_are_written_as_hydra_reads_them(value):
    cfg = load_config([f"++data.root={text(value)}", "output_dir=x", "run_name=y"])
    assert to_plain(cfg.data)["root"] == value


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "method is missing: give method=<one of prune, channels, int8, distill>"),
        (["method=shrink"], "method=shrink: one of prune, channels, int8, distill"),
        (["method=prune", "sparsity=1.5"], "sparsity=1.5: above 0, below 1"),
        (["method=prune", "sparsity=[0.5,no]"], "sparsity=.*above 0, below 1"),
        (["method=prune", "keep=0.5"], "keep is for method=channels"),
        (["method=prune", "model=mlp"], "model is for method=distill"),
        (["method=channels", "keep=0"], "keep=0: above 0"),
        (["method=distill"], "method=distill: give model=<one of cnn, "),
        (["method=prune", "train={model:cnn}"], "train: leave model out"),
        (["method=prune", "train={finetune:lora,init_from:x}"], "train: leave finetune, init_from out"),
        (["method=int8", "epochs=3"], "epochs is about training, and method=int8 trains nothing"),
        (["method=int8", "images=0"], "images=0: a whole number of at least 1"),
        (["method=int8", "images=1e9"], "images=1000000000.0: a whole number of at least 1"),
        (["method=prune", "epochs=0"], "epochs=0: a whole number of at least 1, or null"),
        (["method=prune", "lr=-1"], "lr=-1"),
        (["method=prune", "train=x"], "train=x: keys of"),
        (["method=prune", "threads=null"], "threads=null"),
        (["method=prune", "turns=0"], "turns=0"),
        (["method=prune", "tolerance=2"], "tolerance=2"),
    ],
)
def test_bad_values_are_refused_before_anything_is_read(words, expected):
    cfg = load_config(words, "compress")
    with pytest.raises(InputError, match=expected):
        check(cfg, {word.partition("=")[0] for word in words})


def test_what_training_refuses_is_said_of_the_key_that_was_typed():
    assert as_typed("finetune.keep=0.1: this network keeps 0.2 at least", "channels").startswith("keep=0.1: this")
    assert as_typed("finetune.by=x: one of", "channels") == "finetune.by=x: one of"


def test_a_plain_file_is_small_and_answers_the_same(data, tmp_path):
    model, saved = LeNet(SHAPE, 10), Checkpoints(str(tmp_path))
    trainer = tune(model, None, data, tmp_path, callbacks=[saved])
    trainer.lightning_module.config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {"name": "kmnist"}}
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    net = load_model(tmp_path / "whole.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(slim_checkpoint_bytes(net))
    again, images = load_model(tmp_path / "plain.ckpt"), torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    assert again(images).equal(net(images))
    assert (again.epoch, again.info, again.config) == (net.epoch, net.info, net.config)
    assert (tmp_path / "plain.ckpt").stat().st_size < (tmp_path / "whole.ckpt").stat().st_size / 2


# The command

QUICK = ["epochs=2", "turns=2", "train={trainer.accelerator:cpu,trainer.enable_progress_bar:false}"]


@pytest.mark.slow
def test_channels_and_distillation_as_a_user_types_them(trained, tmp_path):
    done = run("src.compress", f"ckpt={trained}", "method=channels", "keep=[0.7,0.4]", *QUICK,
               f"hydra.run.dir={tmp_path}/c")  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "c/results.json").read_text())
    assert [entry["name"] for entry in results["rows"]] == ["before", "keep 0.7", "keep 0.4"]
    was, *now = (entry["multiply_adds"] for entry in results["rows"])
    assert now[0] <= 0.7 * was
    assert now[1] <= 0.4 * was
    assert (tmp_path / "c/figures/compression.png").is_file()
    net = load_model(tmp_path / "c/checkpoints/best.ckpt")
    assert net.config["model"]["hidden"] != [120, 84] or net.config["model"]["widths"] != [6, 16]
    assert type(net.model) is LeNet
    kept = next(entry for entry in results["rows"] if entry["name"] == results["kept"])
    done = run("src.evaluate", f"ckpt={tmp_path}/c", "figures=false", f"hydra.run.dir={tmp_path}/e")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == pytest.approx(kept["acc"], abs=1e-6)
    done = run("src.compress", f"ckpt={tmp_path}/c", "method=distill", "model=mlp", "figures=false", *QUICK,
               f"hydra.run.dir={tmp_path}/d")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "c").rename(tmp_path / "gone")
    assert type(load_model(tmp_path / "d/checkpoints/best.ckpt").model) is MLP, "without its teacher"


@pytest.mark.slow
def test_pruning_and_what_it_does_not_gain(trained, tmp_path):
    done = run("src.compress", f"ckpt={trained}", "method=prune", "sparsity=0.8", "figures=false", *QUICK,
               f"hydra.run.dir={tmp_path}/p")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "zeros: 79 % of the parameters" in done.stdout or "zeros: 80 % of the parameters" in done.stdout
    net = load_model(tmp_path / "p/checkpoints/best.ckpt")
    zeros = sum(int((p == 0).sum()) for p in net.model.parameters())
    assert zeros >= 0.79 * 61_000
    before, after = json.loads((tmp_path / "p/results.json").read_text())["rows"]
    assert after["packed_bytes"] < 0.5 * before["packed_bytes"]
    assert after["bytes"] == pytest.approx(before["bytes"], rel=0.02)
    words = ["method=distill", "model=mlp", "train={data.classes:[1,2]}", f"hydra.run.dir={tmp_path}/x"]
    assert "knows the classes" in one_line(run("src.compress", f"ckpt={trained}", *words))


@pytest.mark.slow
def test_eight_bits_are_a_file_that_is_used_like_any_other(trained, tmp_path):
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    done = run("src.compress", f"ckpt={trained}", "method=int8", "images=100", "turns=2", f"hydra.run.dir={tmp_path}/i")
    assert done.returncode == 0, done.stderr
    before, after = json.loads((tmp_path / "i/results.json").read_text())["rows"]
    assert after["bytes"] < 0.5 * before["onnx_bytes"]
    assert "eager" not in after["speed"]
    assert after["errors"] <= before["errors"] + 4
    done = run("src.evaluate", f"ckpt={tmp_path}/i", "figures=false", f"hydra.run.dir={tmp_path}/e")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == pytest.approx(after["acc"], abs=1e-6)
    again = run("src.compress", f"ckpt={tmp_path}/i", "method=int8", f"hydra.run.dir={tmp_path}/x")
    assert "method=int8 needs the network itself" in one_line(again)
