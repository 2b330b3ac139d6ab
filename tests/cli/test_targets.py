"""Classes of one's own on a command line: new keys beside a `_target_`, and an option's keys that it replaces."""

import pytest

from src.cli.config import CONF, load_config, to_plain
from src.cli.targets import network_option, recorded_option, with_open_nodes
from src.errors import InputError


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["scheduler._target_=a.B", "scheduler.T_max=3"], ["++scheduler._target_=a.B", "++scheduler.T_max=3"]),
        (["metrics.x._target_=a.B", "metrics.x.k=1"], ["++metrics.x._target_=a.B", "++metrics.x.k=1"]),
        (["+callbacks.x._target_=a.B", "callbacks.x.n=1"], ["+callbacks.x._target_=a.B", "++callbacks.x.n=1"]),
        (["metrics={x:{_target_:a.B}}"], ["++metrics={x:{_target_:a.B}}"]),
        (["augment.transforms=[{_target_:a.B}]"], ["++augment.transforms=[{_target_:a.B}]"]),
        (["model=lenet", "optimizer.lr=1", "~loss"], ["model=lenet", "optimizer.lr=1", "~loss"]),
        (["scheduler=step", "optimizer._target_=a.B", "scheduler.epochs=1"],
         ["scheduler=step", "++optimizer._target_=a.B", "scheduler.epochs=1"]),
        (["-m", "--config-dir", "x", "loss._target_=a.B"], ["-m", "--config-dir", "x", "++loss._target_=a.B"]),
    ],
)  # fmt: skip
def test_keys_beside_a_typed_class_are_added(typed, expected):
    assert with_open_nodes(typed) == expected


def composed(tmp_path, *words):
    return to_plain(load_config(words, output_dir=tmp_path))


def test_a_replaced_class_keeps_the_keys_it_has(tmp_path):
    cfg = composed(tmp_path, "optimizer._target_=torch.optim.NAdam", "optimizer.momentum_decay=0.01")
    assert cfg["optimizer"].keys() == {"_target_", "_partial_", "lr", "weight_decay", "betas", "momentum_decay"}
    cfg = composed(tmp_path, "scheduler._target_=torch.optim.lr_scheduler.StepLR", "scheduler.step_size=2")
    assert cfg["scheduler"].keys() == {"_target_", "_partial_", "step_size"}
    cfg = composed(
        tmp_path, "augment=affine", "augment._target_=torchvision.transforms.v2.RandomAffine", "augment.degrees=9"
    )
    assert cfg["augment"].keys() == {"_target_", "degrees"}  # scale is another thing there
    cfg = composed(tmp_path, "loss._target_=torch.nn.CrossEntropyLoss", "loss.label_smoothing=0.0")
    assert cfg["loss"].keys() == {"_target_", "label_smoothing"}


@pytest.mark.parametrize(
    ("words", "group", "gone"),
    [
        (("experiment=lenet", "augment=none"), "augment", {"rotate_deg", "scale", "shear_deg", "shift_px"}),
        (("experiment=lenet", "model=mlp"), "model", {"deslant"}),
        (("experiment=photos_scratch", "augment=affine"), "augment", {"min_area", "erase"}),
        (("experiment=photos", "callbacks=default"), "callbacks", {"early_stopping"}),
        (("experiment=lenet", "augment=none", "augment.rotate_deg=3"), "augment", {"scale", "shear_deg", "shift_px"}),
    ],
)
def test_an_option_of_ones_own_in_an_experiment_lacks_what_only_the_experiments_had(tmp_path, words, group, gone):
    node = composed(tmp_path, *words)[group]
    assert not gone & node.keys()
    assert composed(tmp_path, words[1])[group].keys() <= node.keys(), "what the option has itself stays"
    assert len(words) == 2 or node["rotate_deg"] == 3, "what was typed stays"


def test_a_mistyped_key_of_an_experiment_is_still_an_error(tmp_path):
    assert "angle" in composed(tmp_path, "experiment=lenet", "+augment.angle=3")["augment"]


def test_what_was_typed_stays_for_the_class_to_refuse(tmp_path):
    cfg = composed(tmp_path, "optimizer._target_=torch.optim.NAdam", "optimizer.fused=true")
    assert cfg["optimizer"]["fused"] is True


def test_options_of_the_project_are_left_alone(tmp_path):
    assert composed(tmp_path, "scheduler=cosine")["scheduler"].keys() == {"_target_", "_partial_", "warmup", "final"}


@pytest.mark.parametrize("target", ["torch.optim.NAdm", "nowhere.X", "X", "torch..optim", ""])
def test_a_misspelt_class_is_one_line(tmp_path, target):
    with pytest.raises(InputError) as caught:
        composed(tmp_path, f"optimizer._target_='{target}'", "optimizer.x=1")
        raise InputError("an empty target is refused later")
    assert "\n" not in str(caught.value)


def test_a_network_is_recorded_by_its_option_or_its_class(tmp_path):
    options = {file.stem: composed(tmp_path, f"model={file.stem}")["model"] for file in (CONF / "model").glob("*.yaml")}
    assert network_option(options.pop("resnet_large")["_target_"]) == "resnet"
    assert all(network_option(model["_target_"]) == option for option, model in options.items())
    assert recorded_option("src.models.cnn.CNN", "lenet", [CONF]) == "cnn"
    assert recorded_option("mypackage.nets.Net", "lenet", [CONF]) == "Net"
    (tmp_path / "model").mkdir()
    (tmp_path / "model/wide.yaml").write_text("_target_: src.models.cnn.CNN\nwidths: [99, 99]\n")
    assert recorded_option("src.models.cnn.CNN", "wide", [CONF, tmp_path]) == "wide"
