"""Transforms of a source: classes selected and merged, images turned."""

import pytest

from src.data.sources.registry import load_dataset
from src.data.transforms import transform_source
from src.errors import InputError


def test_classes_are_selected_and_merged_and_images_turned(data_root):
    source = load_dataset("kmnist", root=str(data_root), download=False)
    names = source.class_names
    images, labels = source.train()
    selected = transform_source(source, classes=[names[3], names[5]])
    assert selected.class_names == (names[3], names[5])
    rows = (labels == 3) | (labels == 5)
    assert selected.train().images.equal(images[rows])
    assert selected.train().labels.equal((labels[rows] == 5).long())
    merged = transform_source(source, classes={"even": list(names[::2]), "odd": list(names[1::2])})
    assert merged.train().labels.equal(labels % 2)
    assert transform_source(source, quarter_turns=1).test().images.equal(source.test().images.rot90(1, (2, 3)))
    assert transform_source(source, quarter_turns=4).train().images.equal(images)
    for wrong, message in (
        ({"classes": ["x", names[0]]}, "x is no class of this data set"),
        ({"classes": [names[0]]}, "at least two classes"),
        ({"classes": [names[0], names[0]]}, "at least two|listed twice"),
        ({"ink": "pen"}, "one of none, mnist"),
        ({"quarter_turns": 0.5}, "a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            transform_source(source, **wrong)
