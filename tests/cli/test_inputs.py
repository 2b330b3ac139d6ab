"""Rows, targets and pictures of a command become images and columns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from src.cli.inputs import positions_of_rows, read_pictures, target_columns
from src.data.info import DataInfo
from src.errors import InputError
from tests.small_data import draw_seven

SHAPE = (1, 28, 28)
INFO = DataInfo(SHAPE, ("horizontal", "vertical"), (0.1,), (0.3,))
DIGITS = DataInfo(SHAPE, tuple("0123456789"), (0.1307,), (0.3081,))


def test_each_digit_of_a_picture_is_an_image(tmp_path):
    one = np.asarray(draw_seven())
    draw_seven().save(tmp_path / "a.png")
    Image.fromarray(np.hstack([one, one, one])).save(tmp_path / "b.png")
    net = SimpleNamespace(info=DIGITS, config={"data": {"name": "mnist"}})

    def read(n, ink="auto"):
        return read_pictures(OmegaConf.create({"images": str(tmp_path), "n": n, "ink": ink}), net)

    images, names, ink, left_out = read(9)
    several = [f"{tmp_path}/b.png digit {place} of 3" for place in (1, 2, 3)]
    assert (names, ink, left_out) == ([f"{tmp_path}/a.png", *several], True, None)
    assert images.shape == (4, 1, 28, 28)
    assert all(image.equal(images[0]) for image in images)
    images, names, _, left_out = read(3)
    assert (len(images), names[1:]) == (3, several[:2])
    assert left_out.startswith("the first 3 digits, of 2 of 2 pictures")
    assert read(1)[3].startswith("the first 1 of 2 pictures")
    images, names, ink, left_out = read(9, "none")
    assert (len(images), names, ink, left_out) == (2, [f"{tmp_path}/{name}.png" for name in "ab"], False, None)


def test_rows_and_targets_are_checked():
    every = torch.arange(60)
    assert positions_of_rows([3, 59], every, 60, "test").tolist() == [3, 59]
    assert positions_of_rows(7, every, 60, "test").tolist() == [7]
    for wrong in (60, [-1], ["a"], "a", [True], 1.5, True, {"a": 1}):
        with pytest.raises(InputError, match=r"a row of the test file, 0 to 59"):
            positions_of_rows(wrong, every, 60, "test")
    odd, even = every[1::2], every[::2]  # rows of the training file, in two splits
    assert odd[positions_of_rows([9, 3], odd, 60, "train")].tolist() == [9, 3]
    assert even[positions_of_rows([58], even, 60, "val")].tolist() == [58]
    with pytest.raises(InputError, match=r"index=4 is not in the train split: try split=val"):
        positions_of_rows([3, 4], odd, 60, "train")
    with pytest.raises(InputError, match=r"index=60: a row of the training file, 0 to 59"):
        positions_of_rows(60, odd, 60, "train")
    outputs, labels = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([1, 0])
    assert target_columns(None, outputs, labels, INFO).tolist() == [0, 1]
    assert target_columns("label", outputs, labels, INFO).tolist() == [1, 0]
    assert target_columns("vertical", outputs, labels, INFO).tolist() == [1, 1]
    assert target_columns(["vertical", "label"], outputs, labels, INFO).tolist() == [1, 0]
    assert target_columns(3, outputs[:, :1].expand(2, 10), None, DIGITS).tolist() == [3, 3]
    for target, info, message in [
        ("slanted", INFO, "target=slanted is no class"),
        (["label"], INFO, "1 classes for 2 images"),
        ("label", DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0), "leave target out"),
    ]:
        with pytest.raises(InputError, match=message):
            target_columns(target, outputs, labels, info)
    with pytest.raises(InputError, match="pictures of files have no label"):
        target_columns("label", outputs, None, INFO)
