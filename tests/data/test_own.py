"""data=own: what a loader of one's own may return, and what is said of anything else."""

import numpy as np
import pytest
import torch
from PIL import Image

from src.cli.inputs import data_as_trained
from src.data.datamodule import ImageData
from src.data.source import Source
from src.data.sources.own import load_own
from src.errors import InputError
from tests.small_data import own_data_set, striped_digits

COLOUR = np.zeros((6, 8, 9, 3), np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


class Pictures:
    """A dataset as torchvision's are."""

    classes = ("dark", "light")

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Image.fromarray(np.full((8, 8, 3), 40 + 160 * (index % 2), np.uint8)), index % 2


@pytest.mark.parametrize(
    ("split", "shape"),
    [
        ((COLOUR, LABELS), (3, 8, 9)),
        ((COLOUR.transpose(0, 3, 1, 2), np.array(LABELS)), (3, 8, 9)),
        ((COLOUR[..., 0], torch.tensor(LABELS)), (1, 8, 9)),
        ((torch.from_numpy(COLOUR), LABELS), (3, 8, 9)),
        (Pictures(), (3, 8, 8)),
    ],
    ids=["NHWC", "NCHW", "NHW", "tensor", "dataset"],
)
def test_images_of_every_usual_form_are_read(split, shape):
    for source in ((split, split), {"train": split, "test": split}):
        loaded = load_own(source)
        images, labels = loaded.train()
        assert tuple(images.shape) == (6, *shape) and images.dtype == torch.uint8
        assert labels.dtype == torch.int64
    assert loaded.class_names == (("dark", "light") if isinstance(split, Pictures) else ("0", "1", "2"))


def test_names_and_sources_are_taken_as_they_are():
    split = (COLOUR, LABELS)
    assert load_own((split, split, ["a", "b", "c"])).class_names == ("a", "b", "c")
    source = Source(("a", "b"), lambda: None, lambda: None)
    assert load_own(source) is source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, r"give data\.source\._target_"),
        (3, "returned int without"),
        ({"train": (COLOUR, LABELS)}, "without a train and a test split"),
        (((COLOUR / 255, LABELS),) * 2, "torch.float64 6x3x8x9"),
        (((COLOUR, LABELS[:4]),) * 2, "6 images and 4 labels"),
        (((COLOUR, ["a"] * 6),) * 2, "no whole numbers"),
        (((COLOUR, LABELS),) * 2 + (["a", "b"],), "labels of train (are|from) 0 to 2, not 0 to 1"),
        (((COLOUR, [0] * 6),) * 2, "1 class names"),
        (("train", "test"), "no dataset of pairs|is str"),
    ],
)
def test_anything_else_is_one_line(source, reason):
    with pytest.raises(InputError, match=reason) as caught:
        load_own(source).train()
    assert "\n" not in str(caught.value)


def test_it_is_split_and_batched_like_any_other():
    data = ImageData("own", source=own_data_set(), batch_size=16, val=0.2)
    data.setup()
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (96, 24, 40)
    assert data.info.class_names[0] == "class 0" and data.info.shape == (1, 28, 28)
    images, labels = data.test_set[torch.arange(40)]
    expected = striped_digits(40, 1)
    assert torch.equal(images[:, 0], torch.from_numpy(expected[0])) and labels.tolist() == expected[1].tolist()


def test_a_checkpoint_names_no_loader_that_is_not_trusted():
    with pytest.raises(InputError, match=r"come from os\.system: give data=<name>"):
        data_as_trained({"name": "own", "source": {"_target_": "os.system", "command": "true"}}, {})
    with pytest.raises(InputError, match=r"give trust=\[tests\].*data=<name>"):
        data_as_trained({"name": "own", "source": {"_target_": "tests.small_data.own_data_set"}}, {})
