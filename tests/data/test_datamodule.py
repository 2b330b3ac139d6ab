"""ImageData: its splits, its checks, its statistics, and augmentation by epoch and step."""

from types import SimpleNamespace

import pytest
import torch

from src.data.augment import Affine
from src.data.datamodule import ImageData
from src.errors import InputError


def kmnist(data_root, **options) -> ImageData:
    return ImageData("kmnist", root=str(data_root), download=False, **{"val": 50, **options})


def test_training_and_validation_are_disjoint_and_complete(data_root):
    data = kmnist(data_root)
    data.setup()
    train, val = data.train_set.indices, data.val_set.indices
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(200))
    assert len(val) == 50


def test_the_validation_split_is_the_same_for_every_seed(data_root):
    splits = []
    for seed in (0, 1):
        data = kmnist(data_root, seed=seed)
        data.setup()
        splits.append(data.val_set.indices.tolist())
    assert splits[0] == splits[1]
    other = kmnist(data_root, split_seed=5)
    other.setup()
    assert other.val_set.indices.tolist() != splits[0]


def test_the_folds_validate_every_image_once(data_root):
    seen = []
    for fold in range(4):
        data = kmnist(data_root, folds=4, fold=fold)
        data.setup()
        seen += data.val_set.indices.tolist()
    assert sorted(seen) == list(range(200))


def test_shots_and_fraction_do_not_change_the_validation_split(data_root):
    full, few, part = kmnist(data_root), kmnist(data_root, shots=2), kmnist(data_root, fraction=0.5)
    for data in (full, few, part):
        data.setup()
        assert torch.equal(data.val_set.indices, full.val_set.indices)
    assert len(few.train_set) == 20
    assert len(part.train_set) == 75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": "many"}, "batch_size=many"),
        ({"eval_batch_size": -1}, "eval_batch_size"),
        ({"val": 0}, "val=0"),
        ({"val": -3}, "val=-3"),
        ({"val": 12.5}, "whole number"),
        ({"val": 200}, "10 to 190"),
        ({"val": 5}, "10 to 190"),
        ({"val": 5}, "10 to 190"),
        ({"shots": 0}, "shots=0"),
        ({"shots": 100}, "shots=100.*class"),
        ({"fraction": 0}, "fraction=0"),
        ({"fraction": 1.5}, r"fraction=1\.5"),
        ({"folds": 1, "fold": 0}, "folds=1"),
        ({"folds": 5}, "fold=null.*0 to 4"),
        ({"folds": 5, "fold": 5}, "fold=5.*0 to 4"),
        ({"fold": 1}, "folds=null"),
        ({"folds": 50, "fold": 0}, "smallest class"),
        ({"seed": -1}, "seed=-1"),
        ({"num_workers": -1}, "num_workers"),
    ],
)
def test_the_error_of_an_invalid_value_is_one_line_that_names_the_key(data_root, options, message):
    with pytest.raises(InputError, match=message) as error:
        kmnist(data_root, **options).setup()
    assert "\n" not in str(error.value)
    assert "data." in str(error.value)


def test_the_error_of_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(InputError, match=r"imagenet.*mnist.*folder"):
        ImageData("imagenet")


def test_statistics_are_of_the_training_images(data_root):
    data = kmnist(data_root)
    data.setup()
    pixels = data.train_set.images[data.train_set.indices].double() / 255
    assert data.info.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-9)
    assert data.info.std[0] == pytest.approx(float(pixels.std(correction=0)), abs=1e-9)
    normal = data.normalize(data.train_set.images[data.train_set.indices])
    assert float(normal.mean()) == pytest.approx(0, abs=1e-5)
    assert float(normal.std()) == pytest.approx(1, abs=1e-4)


def test_only_training_batches_are_augmented_by_seed_epoch_and_step(data_root):
    data = kmnist(data_root, augment=Affine())
    data.setup()
    batch = data.train_set[torch.arange(8)]

    def seen(training=True, epoch=0, step=0):
        progress = SimpleNamespace(current=SimpleNamespace(ready=step))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        precision = SimpleNamespace(convert_input=lambda values: values)
        data.trainer = SimpleNamespace(
            training=training, current_epoch=epoch, fit_loop=loop, global_rank=0, precision_plugin=precision
        )
        return data.on_after_batch_transfer(batch, 0)[0]

    assert torch.equal(seen(training=False), data.normalize(batch[0]))
    assert torch.equal(seen(), seen())
    assert not torch.equal(seen(), seen(epoch=1))
    assert not torch.equal(seen(), seen(step=1))
