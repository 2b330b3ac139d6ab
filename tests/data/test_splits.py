"""Splits: exact, proportional, nested, disjoint."""

import pytest
import torch

from src.data.splits import (
    check_classes,
    class_ranks,
    few_shot_mask,
    fold_mask,
    sample_rows,
    stratified_mask,
    validation_mask,
)
from src.errors import InputError

LABELS = torch.randint(0, 7, (1003,), generator=torch.Generator().manual_seed(1))


def test_ranks_number_every_class_from_zero():
    ranks = class_ranks(LABELS, 3)
    for label in range(7):
        assert sorted(ranks[label == LABELS].tolist()) == list(range(int((label == LABELS).sum())))
    assert not torch.equal(ranks, class_ranks(LABELS, 4))


@pytest.mark.parametrize("count", [7, 100, 501, 996])
def test_stratified_is_exact_and_proportional(count):
    mask = stratified_mask(LABELS, count, 0)
    assert int(mask.sum()) == count
    shares = LABELS[mask].bincount(minlength=7) - LABELS.bincount() * count / len(LABELS)
    assert float(shares.abs().max()) <= 1


def test_a_fraction_of_few_images_validates_one_of_each_class():
    few = torch.arange(30).repeat(3)
    mask = validation_mask(few, 30, 0.15, None, None, 0, "folder")
    assert few[mask].bincount().tolist() == [1] * 30
    with pytest.raises(InputError, match=r"data\.val=20 of 90 training images.*30 to 60 images"):
        validation_mask(few, 30, 20, None, None, 0, "folder")
    assert int(validation_mask(LABELS, 7, 0.15, None, None, 0, "folder").sum()) == 150


def test_folds_are_disjoint_covering_and_even():
    masks = torch.stack([fold_mask(LABELS, 5, fold, 0) for fold in range(5)])
    assert torch.equal(masks.sum(0), torch.ones_like(LABELS))
    per_class = torch.stack([LABELS[mask].bincount(minlength=7) for mask in masks])
    assert int((per_class.max(0).values - per_class.min(0).values).max()) <= 1
    assert int(masks.sum(1).max() - masks.sum(1).min()) <= 7


def test_shots_are_exact_and_nested():
    one, five = few_shot_mask(LABELS, 1, 2), few_shot_mask(LABELS, 5, 2)
    assert LABELS[one].bincount().tolist() == [1] * 7
    assert LABELS[five].bincount().tolist() == [5] * 7
    assert bool((five | ~one).all())
    with pytest.raises(InputError, match=r"data\.shots=1000.*class 0 has \d+, class 1 has"):
        few_shot_mask(LABELS, 1000, 0)


def test_shots_beyond_a_class_name_the_classes():
    labels = torch.tensor([0] * 9 + [1] * 4 + [2] * 6)
    with pytest.raises(InputError, match=r"data\.shots=8 is more than .*: dogs has 4, Öl has 6; give at most 4"):
        few_shot_mask(labels, 8, 0, ("cats", "dogs", "Öl"))
    with pytest.raises(InputError, match=": dogs has 3"):
        sample_rows(torch.tensor([0, 1, 2, 3, 9, 10, 11]), labels, 1.0, 4, 0, ("cats", "dogs", "Öl"))


def test_classes_with_too_few_images_are_all_named():
    names = tuple("abcdefghijkl")
    with pytest.raises(InputError) as error:
        check_classes(torch.tensor([0, 1, 2, 2, 2]), names, "folder")
    assert str(error.value) == (
        "data=folder: these classes have too few images left for training and validation: a has 1, b has 1, d has 0, "
        "e has 0, f has 0, g has 0, h has 0, i has 0 and 3 more; "
        "a class needs at least 3 (training, validation and test)"
    )
    with pytest.raises(InputError, match=r"^data\.root=pics: these classes .* b has 0;"):
        check_classes(torch.tensor([0, 0]), ("a", "b"), "folder", "pics")
    check_classes(torch.tensor([0, 1]), ("a", "b"), "folder")


def test_a_single_class_is_named_and_a_deeper_root_suggested():
    with pytest.raises(InputError) as error:
        check_classes(torch.zeros(9, dtype=torch.long), ("animals",), "folder", "pics")
    assert str(error.value) == (
        "data.root=pics has 1 class, animals: a classifier needs at least 2; if it holds the folders of the classes, "
        "give data.root=pics/animals"
    )
    with pytest.raises(InputError, match=r"^data=own has 1 class, seven: a classifier needs at least 2$"):
        check_classes(torch.zeros(9, dtype=torch.long), ("seven",), "own")
