"""What a source model hands on to the network that is fine-tuned."""

from dataclasses import replace

import pytest

from src.errors import InputError
from src.inference.model import InferenceModel
from src.models.lenet import LeNet
from src.training.initialize import match_data_info


def test_the_source_gives_the_normalization_and_the_data_the_classes(small_kmnist):
    data = small_kmnist
    net = InferenceModel(LeNet((1, 28, 28), 10), data.info, {})
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
