"""Which pictures a network has seen: digests that follow them through splits, checkpoints and changed folders."""

import shutil

import pytest
import torch

from src.data.datamodule import ImageData
from src.data.seen_images import check_same_images, image_digests, is_seen, seen_in_training
from src.data.source import Split, join
from src.errors import InputError
from tests.photo_files import write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 12)


def read(root, **options) -> ImageData:
    data = ImageData("folder", root=str(root), val=0.25, batch_size=8, **options)
    data.setup()
    return data


def seen_by(data: ImageData):
    return seen_in_training(data.train_set, data.val_set)


def all_digests(data: ImageData) -> torch.Tensor:
    digests = data.all_set.picture_digests
    assert digests is not None
    return digests


def test_equal_pixels_have_equal_digests():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    digests = image_digests(images)
    assert digests.dtype == torch.int64 and len(digests.unique()) == 5
    assert torch.equal(image_digests(images.flip(0)), digests.flip(0))
    images[2, 1, 3, 3] ^= 1
    assert (image_digests(images) != digests).tolist() == [False, False, True, False, False]


def test_training_validation_and_test_have_their_own_and_copies_are_found(photos, tmp_path):
    data = read(photos)
    seen = seen_by(data)
    assert seen is not None and {name: len(part) for name, part in seen.items()} == {"train": 22, "val": 7}
    assert not is_seen(data.test_set.picture_digests, seen).any()
    assert int(is_seen(all_digests(data), seen).sum()) == 29
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    for path in other.rglob("*.png"):
        path.rename(path.with_name(f"copy of {path.name}"))
    assert int(is_seen(all_digests(read(other)), seen).sum()) == 29, "whatever they are called"
    assert not is_seen(all_digests(read(write_photos(tmp_path / "new", 12, seed=5))), seen).any()
    assert seen_by(read(photos, shots=2))["train"].shape == (6,), "only those that train"


def test_pictures_that_are_decoded_batch_by_batch_have_the_same(photos):
    held, lazy = read(photos), read(photos, memory_gb=0)
    assert torch.equal(seen_by(held)["train"], seen_by(lazy)["train"])
    assert torch.equal(all_digests(held), all_digests(lazy))


def test_classes_that_are_chosen_keep_their_digests(photos):
    data = read(photos, classes=["dogs", "cats"])
    assert len(seen_by(data)["train"]) + len(seen_by(data)["val"]) == 19
    assert bool(torch.isin(data.test_set.picture_digests, all_digests(read(photos))).all())


def test_known_data_sets_have_none(data_root):
    data = ImageData("kmnist", root=str(data_root), download=False, val=50)
    data.setup()
    assert seen_by(data) is None and data.test_set.picture_digests is None


def test_two_splits_are_joined_and_selected_with_their_digests():
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    known = Split(images, labels, digests=torch.arange(4))
    assert join(known, known).digests.tolist() == [0, 1, 2, 3] * 2
    assert join(known, Split(images, labels)).digests is None
    assert known.select(torch.tensor([2, 0]), images[:2], labels[:2]).digests.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ([1, 2], [4], "1 of 4 are gone, 0 are new"),
        ([1, 2, 9], [4], "1 of 4 are gone, 1 are new"),
        ([7, 8, 9], [6], "4 of 4 are gone, 4 are new (or another version of Pillow reads them otherwise)"),
        ([1, 2, 4], [3], "they are the same, with other names or in other classes or splits"),
        ([2, 1, 3], [4], "they are the same, with other names or in other classes or splits"),
    ],
)
def test_a_resumed_run_has_the_images_it_began_with(train, val, message):
    began = {"train": torch.tensor([1, 2, 3]), "val": torch.tensor([4])}
    with pytest.raises(InputError) as caught:
        check_same_images(began, {"train": torch.tensor(train), "val": torch.tensor(val)})
    assert message in str(caught.value) and "init_from=" in str(caught.value)
    for saved, now in ((began, began), (None, began), (began, None)):
        check_same_images(saved, now)
    check_same_images({**began, "earlier": torch.tensor([7])}, began)


def test_a_fine_tuned_network_has_seen_what_its_source_has(photos, tmp_path):
    source, data = read(write_photos(tmp_path / "source", 12, seed=3)), read(photos)
    first = seen_in_training(data.train_set, data.val_set, seen_by(source))
    assert is_seen(source.train_set.picture_digests, first).all() and is_seen(data.val_set.picture_digests, first).all()
    assert not is_seen(source.test_set.picture_digests, first).any()
    again = seen_in_training(source.train_set, source.val_set, first)
    assert is_seen(data.train_set.picture_digests, again).all(), "over several fine-tunings"
