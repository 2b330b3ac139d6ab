"""The overrides that train a compressed network are those of the run before."""

import pytest

from src.cli.config import CONF, load_config, to_plain
from src.compression.train_overrides import hydra_literal, training_overrides
from src.errors import InputError

RUN = ["augment=affine", "augment.rotate_deg=7.5", "callbacks=[default,ema]", "callbacks.ema.decay=0.99",
       "task.mixup=0.2", "views=5", "loss=focal", "loss.gamma=1.5", "data=kmnist", "data.val=0.2",
       "optimizer.weight_decay=0.3", "data.classes={even:[o,su],odd:[ki]}", "output_dir=x", "run_name=y"]  # fmt: skip


@pytest.mark.parametrize("method", ["prune", "channels", "distill"])
def test_training_repeats_the_options_of_the_run(method, tmp_path):
    config = to_plain(load_config([*RUN, f"data.root={hydra_literal('a folder/' + chr(39))}"]))
    student = {"_target_": "src.models.mlp.MLP", "hidden": [7]}
    file = tmp_path / "it's [here], x=1.ckpt"
    overrides = training_overrides(CONF, config, file, method, student if method == "distill" else 0.25, None, None)
    cfg = to_plain(load_config([*overrides, "output_dir=x", "run_name=y"]))
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


def test_a_checkpoint_chooses_no_class():
    config = to_plain(load_config(RUN))
    config["augment"] = {"_target_": "subprocess.Popen", "args": "ls"}
    with pytest.raises(InputError, match=r"asks for subprocess\.Popen"):
        training_overrides(CONF, config, CONF, "prune", 0.5, None, None)
    config["augment"], config["data"] = None, {"name": "nowhere"}
    with pytest.raises(InputError, match="data=nowhere, which is no option"):
        training_overrides(CONF, config, CONF, "prune", 0.5, None, None)


@pytest.mark.parametrize("value", [None, True, 3, 0.25, "it's", "a\\b", "x,y={z}", "", [1, "a b", None]])
def test_hydra_reads_literals_back(value):
    cfg = load_config([f"++data.root={hydra_literal(value)}", "output_dir=x", "run_name=y"])
    assert to_plain(cfg.data)["root"] == value
