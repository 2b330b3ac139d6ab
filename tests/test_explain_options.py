"""The options of python -m src.explain are checked before anything is loaded."""

import pytest
from omegaconf import OmegaConf

from src import explain
from src.cli.config import CONF
from src.errors import InputError
from src.insight import explain_batch
from src.insight.attribution import METHODS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "nothing to explain: give ckpt"),
        ({"model._target_": "x", "methods": ["saliency"]}, "methods needs a trained network: give ckpt"),
        ({"model._target_": "x", "images": "a.png"}, "images needs a trained network"),
        ({"ckpt": "a", "model._target_": "x"}, "leave model out"),
        ({"ckpt": "a", "size": 32}, "size is for a summary without ckpt"),
        ({"model._target_": "x", "channels": 0}, "channels=0"),
        ({"ckpt": "a", "images": "a.png", "index": [1]}, "give images or index"),
        ({"ckpt": "a", "n": 0}, "n=0: a whole number of images, 1 to 64"),
        ({"ckpt": "a", "split": "all"}, "split=all: one of train, val, test"),
        ({"ckpt": "a", "steps": 0}, "steps=0: a whole number, 1 to 4,096"),
        ({"ckpt": "a", "noise": "much"}, "noise=much"),
        ({"ckpt": "a", "figures": 3}, "figures=3: true or false"),
        ({"ckpt": "a", "layer": 3}, "layer=3: the name of a layer"),
        ({"ckpt": "a", "images": []}, r"images=\[\]: a file, a folder"),
        ({"ckpt": "a", "images": 5}, "images=5: a file, a folder"),
        ({"ckpt": "a", "methods": []}, r"methods=\[\]: one or more of saliency"),
        ({"ckpt": "a", "methods": "foo"}, "methods=foo: one or more of saliency"),
        ({"ckpt": "a", "methods": ["saliency", 3]}, "methods=3: one or more of saliency"),
        ({"ckpt": "a", "which": "foo"}, "which=foo: one of worst"),
        ({"ckpt": "a", "device": "foo"}, "device=foo: one of auto, cpu"),
        ({"ckpt": "a", "threads": 0}, "threads=0: a whole number, 1 to"),
        ({"model._target_": "x", "size": 100_000}, "size=100000: a whole number, 1 to 1,024"),
        ({"ckpt": "a", "images": "a.png", "which": "best"}, "which and images exclude each other"),
        ({"ckpt": "a", "images": "a.png", "split": "val"}, "split and images exclude each other"),
        ({"ckpt": "a", "index": [3], "n": 2}, "n and index exclude each other"),
        ({"model._target_": "x", "which": "best"}, "which needs a trained network"),
        ({"model._target_": "x", "n": 4}, "n needs a trained network"),
    ],
)
def test_invalid_and_exclusive_options_are_refused(change, message):
    cfg = OmegaConf.load(CONF / "explain.yaml")
    for key, value in change.items():
        OmegaConf.update(cfg, key, value)
    with pytest.raises(InputError, match=message) as caught:
        explain.check(cfg, set(change))
    assert "\n" not in str(caught.value)


def test_the_command_knows_the_same_methods_and_selections():
    assert list(METHODS) == list(explain.METHODS)
    assert explain_batch.WHICH == explain.WHICH
