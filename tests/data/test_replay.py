"""Corrections mixed with the original data."""

import sqlite3

import pytest
import torch

from src.data.datamodule import ImageData
from src.data.sources.corrections import CorrectionStore
from src.data.sources.replay import ALWAYS_TRAINED
from src.errors import InputError
from src.pictures.inputs import resolve_ink
from tests.data.corrections import a_store, an_image


def mixed(root, data_root, **options) -> ImageData:
    mix = {"name": "kmnist", "root": str(data_root), **options.pop("mix", {})}
    data = ImageData("feedback", root=str(root), mix=mix, download=False, **{"val": 50, **options})
    data.setup()
    return data


def test_the_original_splits_stay_and_corrections_are_added(tmp_path, data_root):
    a_store(tmp_path / "feedback.sqlite", 15)
    plain = ImageData("kmnist", root=str(data_root), download=False, val=50)
    plain.setup()
    data = mixed(tmp_path, data_root, held_out=0.0, replay=None)
    assert data.val_set.indices.equal(plain.val_set.indices), "what a run validated on is never trained on"
    assert data.test_set.images.equal(plain.test_set.images)
    rows = data.train_set.indices
    assert set(plain.train_set.indices.tolist()) == {row for row in rows.tolist() if row < 200}
    assert set(rows.tolist()) - set(range(200)) == set(range(200, 215)), "few corrections all train"
    assert data.train_set.images[200].equal(torch.from_numpy(an_image(0)))
    assert data.train_set.labels[200:].tolist() == [place % 10 for place in range(15)]
    assert data.few_labels
    assert not plain.few_labels


@pytest.mark.parametrize("count", [1, 5, 15])
def test_corrections_have_their_share(tmp_path, data_root, count):
    a_store(tmp_path / "f.sqlite", count)
    data = mixed(tmp_path / "f.sqlite", data_root, share=0.25, repeats=50, replay=90)
    rows = data.train_set.indices
    added = rows[rows >= 200]
    assert len(rows) - len(added) == 90
    assert added.unique(return_counts=True)[1].unique().tolist() == [min(50, round(30 / count))]
    counts = data.train_set.labels[rows[rows < 200]].bincount(minlength=10)
    assert counts.max() - counts.min() <= 1, "every class is rehearsed"
    seldom = mixed(tmp_path / "f.sqlite", data_root, share=0.9, repeats=2).train_set.indices
    assert (seldom >= 200).sum() == 2 * count


def test_some_of_many_are_held_out_for_ever(tmp_path, data_root):
    store = a_store(tmp_path / "f.sqlite", 80)
    assert mixed(store.path, data_root, held_out=0.0).target_data() is None
    first = mixed(store.path, data_root, held_out=0.3)
    goal = first.target_data()
    apart = {image.numpy().tobytes() for image in goal.test_set.images}
    learnt = {image.numpy().tobytes() for image in first.train_set.images[200:]}
    assert not apart & learnt
    assert len(apart) + len(learnt) == 80
    assert 8 <= len(apart) <= 30
    assert not apart & {an_image(place).tobytes() for place in range(ALWAYS_TRAINED)}
    for place in range(80, 160):
        store.add(an_image(place), b"", "o", "ki")
    later = {
        image.numpy().tobytes() for image in mixed(store.path, data_root, held_out=0.3).target_data().test_set.images
    }
    assert apart < later
    assert first.cache_key != goal.cache_key


def test_many_validate_in_proportion(tmp_path, data_root):
    a_store(tmp_path / "f.sqlite", 100)
    data = mixed(tmp_path / "f.sqlite", data_root, held_out=0.0)  # a quarter of the original images validate
    added = data.val_set.indices[data.val_set.indices >= 200]
    assert data.val_set.labels[added].bincount().tolist() == [2] * 10
    assert not set(data.val_set.indices.tolist()) & set(data.train_set.indices.tolist())


def test_classes_need_not_be_digits(tmp_path, picture_folder):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(an_image(0), b"", "cross", "ring")
    data = ImageData("feedback", root=str(store.path), mix={"name": "folder", "root": str(picture_folder)}, val=0.2)
    data.setup()
    assert data.info.class_names == ("cross", "ring")
    assert data.train_set.labels[-1] == 1


def test_its_networks_read_pictures_as_those_of_the_mix(tmp_path, data_root):
    a_store(tmp_path / "f.sqlite", 1)
    info = mixed(tmp_path / "f.sqlite", data_root).info
    for name, ink, expected in (("mnist", "none", True), ("folder", "none", False), ("folder", "mnist", True)):
        trained = {"name": "feedback", "ink": "none", "mix": {"name": name, "ink": ink}}
        assert resolve_ink("auto", info.shape, trained) is expected
        assert resolve_ink("auto", info.shape, trained["mix"]) is expected
        assert resolve_ink("none", info.shape, trained) is False


def test_merged_classes_are_those_of_the_mix(tmp_path, data_root):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(an_image(0), b"", "even", "odd")
    merged = {"even": ["o", "su", "na", "ma", "re"], "odd": ["ki", "tsu", "ha", "ya", "wo"]}
    data = mixed(store.path, data_root, mix={"classes": merged})
    assert data.info.class_names == ("even", "odd")
    assert data.train_set.labels[-1] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mix": {"name": "feedback"}}, "data.mix"),
        ({"mix": {"colour": 1}}, "data.mix"),
        ({"mix": {"name": "nothing"}}, r"data\.mix\.name=nothing: one of mnist"),
        ({"classes": ["o", "ki"]}, "data.mix.classes"),
        ({"ink": "mnist"}, "data.mix.ink"),
        ({"share": 1.0}, "data.share=1.0"),
        ({"repeats": 0}, "data.repeats=0"),
        ({"replay": -1}, "data.replay=-1"),
        ({"held_out": 1}, "data.held_out=1"),
        ({"root": None}, "data.root"),
    ],
)
def test_bad_input_is_one_line(tmp_path, data_root, options, expected):
    a_store(tmp_path / "f.sqlite", 1)
    options = {"root": tmp_path / "f.sqlite", **options}
    if options["root"] is None:
        with pytest.raises(InputError, match=expected):
            ImageData("feedback", root=None, mix={"name": "kmnist", "root": str(data_root)})
        return
    with pytest.raises(InputError, match=expected) as caught:
        mixed(data_root=data_root, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "correction", "expected"),
    [(an_image(0), "eleven", "no class of data.mix"), (an_image(0, (1, 20, 20)), "o", "1x20x20.*1x28x28")],
)
def test_corrections_of_something_else_are_refused(tmp_path, data_root, image, correction, expected):
    CorrectionStore(tmp_path / "f.sqlite").add(image, b"", "o", correction)
    with pytest.raises(InputError, match=expected):
        mixed(tmp_path / "f.sqlite", data_root)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_copies_are_counted_once(tmp_path, data_root, caplog, held_out):
    store = CorrectionStore(tmp_path / "f.sqlite")
    for place in range(62):
        store.add(an_image(max(0, place - 59)), b"", "o", "ki" if place != 40 else "zebra")
    with caplog.at_level("INFO", "src"):
        data = mixed(store.path, data_root, held_out=held_out)
    assert "62 corrections of 3 pictures, the last row of each counts; held out: 0" in caplog.text
    assert "row 41 says 'zebra': no class of data.mix (o, ki, " in caplog.text
    assert "later rows on the same pictures count" in caplog.text
    assert len(data.train_set.images) == 203
    assert data.target_data() is None


def test_held_out_are_counted(tmp_path, data_root, caplog):
    a_store(tmp_path / "f.sqlite", 60)
    with caplog.at_level("INFO", "src"):
        apart = len(mixed(tmp_path / "f.sqlite", data_root, held_out=0.5).target_data().test_set)
    assert apart > 0
    assert caplog.messages == [f"60 corrections of 60 pictures; held out: {apart}"]


def test_a_name_of_no_class_is_said_before_the_original_data_are_read(tmp_path):
    store = a_store(tmp_path / "f.sqlite", 30)
    for correction in ("o", "zebra"):
        store.add(an_image(7), b"", "o", correction)
    with pytest.raises(InputError, match=r"row 32 of corrections says 'zebra', no class of data\.mix \(o, ki, "):
        mixed(store.path, tmp_path / "nothing")


def test_the_original_data_are_looked_for_where_data_mix_says(tmp_path, data_root):
    a_store(tmp_path / "f.sqlite", 1)
    with pytest.raises(InputError, match=r"give data\.mix\.root=<folder") as caught:
        mixed(tmp_path / "f.sqlite", tmp_path / "nothing")
    assert "data.root" not in str(caught.value)
    assert "data.download=true" in str(caught.value)
    with pytest.raises(InputError, match=r"^data\.mix\.name=nope: one of mnist"):
        mixed(tmp_path / "f.sqlite", data_root, mix={"name": "nope"})
    with pytest.raises(InputError, match=r"^data\.mix\.options\.variant=nope"):
        mixed(tmp_path / "f.sqlite", data_root, mix={"name": "emnist", "options": {"variant": "nope"}})


def test_none_is_one_clear_line(tmp_path, data_root):
    with pytest.raises(InputError, match=r"there is no such file.*data\.mix\.root") as caught:
        mixed(tmp_path / "zero.sqlite", data_root)
    assert str(caught.value).count("zero.sqlite") == 1
    with pytest.raises(InputError, match=r"there is no feedback\.sqlite.*data\.mix\.root"):
        mixed(tmp_path, data_root)
    (tmp_path / "zero.sqlite").touch()
    with pytest.raises(InputError, match="is no store of corrections: it is empty") as caught:
        mixed(tmp_path / "zero.sqlite", data_root)
    assert str(caught.value).count("zero.sqlite") == 1
    store = a_store(tmp_path / "feedback.sqlite", 1)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM corrections")
    with pytest.raises(InputError, match="no corrections yet"):
        mixed(tmp_path, data_root)
