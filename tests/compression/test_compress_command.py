"""python -m src.compress: its options, and the command as a user types it."""

import json

import pytest

from src.cli.config import load_config
from src.compress import _check_options, _with_typed_keys
from src.errors import InputError
from src.model_files.checkpoint import load_model
from src.models.lenet import LeNet
from src.models.mlp import MLP
from tests.commands import one_line, run

QUICK = ["epochs=2", "turns=2", "train={trainer.accelerator:cpu,trainer.enable_progress_bar:false}"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "method is missing: give method=<one of prune, channels, int8, distill>"),
        (["method=shrink"], "method=shrink: one of prune, channels, int8, distill"),
        (["method=prune", "sparsity=1.5"], "sparsity=1.5: a number, above 0, below 1"),
        (["method=prune", "sparsity=[0.5,no]"], "sparsity=no: a number, above 0, below 1"),
        (["method=prune", "keep=0.5"], "keep is for method=channels"),
        (["method=prune", "model=mlp"], "model is for method=distill"),
        (["method=prune", "sparsity=[]"], r"sparsity=\[\]: give at least one share"),
        (["method=channels", "keep=0"], "keep=0: a number, above 0"),
        (["method=distill"], "method=distill: give model=<one of cnn, "),
        (["method=prune", "train={model:cnn}"], "train: leave model out"),
        (["method=prune", "train={finetune:lora,init_from:x}"], "train: leave finetune, init_from out"),
        (["method=int8", "epochs=3"], "epochs is about training, and method=int8 trains nothing"),
        (["method=int8", "images=0"], "images=0: a whole number, at least 1"),
        (["method=int8", "images=1e9"], "images=1000000000.0: a whole number, at least 1"),
        (["method=prune", "epochs=0"], "epochs=0: a whole number, at least 1, or null"),
        (["method=prune", "lr=-1"], "lr=-1"),
        (["method=prune", "train=x"], "train=x: keys of"),
        (["method=prune", "threads=null"], "threads=null"),
        (["method=prune", "turns=0"], "turns=0"),
        (["method=prune", "tolerance=2"], "tolerance=2"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_read(words, expected):
    cfg = load_config(words, "compress")
    with pytest.raises(InputError, match=expected):
        _check_options(cfg, {word.partition("=")[0] for word in words})


def test_errors_of_training_name_the_key_that_was_typed():
    assert _with_typed_keys("finetune.keep=0.1: this network keeps 0.2 at least", "channels").startswith(
        "keep=0.1: this"
    )
    assert _with_typed_keys("finetune.by=x: one of", "channels") == "finetune.by=x: one of"


@pytest.mark.slow
def test_channels_and_distillation(trained, tmp_path):
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
def test_pruning_and_its_remarks(trained, tmp_path):
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
def test_a_quantized_file_is_used_like_any_other(trained, tmp_path):
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
