"""Corrections beside the original data, and the scenario in which they are a new task."""

import sqlite3
from functools import partial

import pytest
import torch

from src.data.data_sets import Renewal
from src.data.datamodule import ImageData
from src.data.sources.correction_networks import CorrectedNetwork
from src.data.sources.correction_selection import ALWAYS_TRAINED
from src.data.sources.corrections import CorrectionStore
from src.data.sources.idx_catalog import KUZUSHIJI_NAMES
from src.data.task_data import OldImages, TaskData
from src.errors import InputError
from src.pictures.inputs import resolve_ink
from tests.data.corrections import make_image, make_store


def make_data(root, data_root, make=ImageData, **options) -> ImageData:
    mix = {"name": "kmnist", "root": str(data_root), **options.pop("mix", {})}
    data = make(name="feedback", root=str(root), mix=mix, download=False, **{"val": 50, **options})
    data.setup()
    return data


def make_renewal(root, data_root, old_images=None, **options) -> ImageData:
    return make_data(root, data_root, partial(TaskData, Renewal(), old_images), **options)


def test_corrections_are_added_and_the_original_splits_stay(tmp_path, data_root):
    make_store(tmp_path / "feedback.sqlite", 15)
    plain = ImageData("kmnist", root=str(data_root), download=False, val=50)
    plain.setup()
    data = make_data(tmp_path, data_root, held_out=0.0)
    assert data.val_set.indices.equal(plain.val_set.indices), "what a run validated on is never trained on"
    assert data.test_set.images.equal(plain.test_set.images)
    rows = data.train_set.indices
    assert set(plain.train_set.indices.tolist()) == {row for row in rows.tolist() if row < 200}
    assert set(rows.tolist()) - set(range(200)) == set(range(200, 215)), "few corrections all train"
    assert data.train_set.images[200].equal(torch.from_numpy(make_image(0)))
    assert data.train_set.labels[200:].tolist() == [index % 10 for index in range(15)]
    assert data.few_labels
    assert not plain.few_labels


@pytest.mark.parametrize("count", [1, 5, 15])
def test_corrections_have_their_share_of_an_epoch(tmp_path, data_root, count):
    make_store(tmp_path / "f.sqlite", count)
    data = make_renewal(tmp_path / "f.sqlite", data_root, OldImages(90, 0.25, 50))
    rows = data.train_set.indices
    added = rows[rows >= 200]
    assert len(rows) - len(added) == 90
    assert added.unique(return_counts=True)[1].unique().tolist() == [min(50, round(30 / count))]
    counts = data.train_set.labels[rows[rows < 200]].bincount(minlength=10)
    assert counts.max() - counts.min() <= 1, "every class is rehearsed"
    assert data.class_counts.tolist() == data.train_set.labels[rows].bincount(minlength=10).tolist()
    limited = make_renewal(tmp_path / "f.sqlite", data_root, OldImages(None, 0.9, 2)).train_set.indices
    assert (limited >= 200).sum() == 2 * count


def test_how_often_corrections_are_repeated_is_said(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 5)
    repeated = "an epoch has 90 old images and 30 new ones, each 6 times (continual.share, continual.repeats)"
    once = "an epoch has 90 old images and 5 new ones"
    for old_images, line in ((OldImages(90, 0.25, 50), repeated), (OldImages(90, 0.25, 1), once), (None, "")):
        data = make_renewal(tmp_path / "f.sqlite", data_root, old_images)
        assert data.describe_epoch(1) == line


def test_in_a_renewal_only_corrections_are_new(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 80)
    data = make_renewal(tmp_path / "f.sqlite", data_root, None, held_out=0.3)
    plain = make_data(tmp_path / "f.sqlite", data_root, held_out=0.3)
    new = data.train_set.indices[data.positions(1)]
    assert new.tolist() == [row for row in plain.train_set.indices.tolist() if row >= 200]
    assert [data.task_of(epoch) for epoch in (0, 7)] == [1, 1]
    assert data.source.task_names == ("kmnist", "corrections")
    held_out = plain.target_data().test_set
    test, count = data.test_set, len(plain.test_set)
    assert test.images[:count].equal(plain.test_set.images) and test.images[count:].equal(held_out.images)
    assert test.task_of_each.tolist() == [0] * count + [1] * len(held_out)
    assert data.target_data().test_set.images.equal(held_out.images)
    images, labels, counts = data.earlier_images(1, 40, 0, balanced=True)
    assert images.shape == (40, 1, 28, 28) and labels.bincount().tolist() == [4] * 10
    assert sum(counts.values()) == 150, "of the training images, none of validation or of the corrections"


def test_a_renewal_without_held_out_corrections_tests_the_original_data(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 3)
    data = make_renewal(tmp_path / "f.sqlite", data_root)
    assert len(data.test_set) == len(make_data(tmp_path / "f.sqlite", data_root).test_set)
    assert data.target_data() is None


def test_a_renewal_is_of_corrections(data_root):
    with pytest.raises(InputError, match="give data=feedback, not data=kmnist"):
        TaskData(Renewal(), name="kmnist", root=str(data_root), download=False)


def test_held_out_corrections_stay_held_out(tmp_path, data_root):
    store = make_store(tmp_path / "f.sqlite", 80)
    assert make_data(store.path, data_root, held_out=0.0).target_data() is None
    first = make_data(store.path, data_root, held_out=0.3)
    target = first.target_data()
    held_out = {image.numpy().tobytes() for image in target.test_set.images}
    training = {image.numpy().tobytes() for image in first.train_set.images[200:]}
    assert not held_out & training
    assert len(held_out) + len(training) == 80
    assert 8 <= len(held_out) <= 30
    assert not held_out & {make_image(index).tobytes() for index in range(ALWAYS_TRAINED)}
    for index in range(80, 160):
        store.add(make_image(index), b"", "o", "ki")
    later = {
        image.numpy().tobytes()
        for image in make_data(store.path, data_root, held_out=0.3).target_data().test_set.images
    }
    assert held_out < later
    assert first.cache_key != target.cache_key


def test_many_corrections_validate_in_proportion(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 100)
    data = make_data(tmp_path / "f.sqlite", data_root, held_out=0.0)  # a quarter of the original images validate
    added = data.val_set.indices[data.val_set.indices >= 200]
    assert data.val_set.labels[added].bincount().tolist() == [2] * 10
    assert not set(data.val_set.indices.tolist()) & set(data.train_set.indices.tolist())


def test_classes_need_not_be_digits(tmp_path, picture_folder):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(make_image(0), b"", "cross", "ring")
    data = ImageData("feedback", root=str(store.path), mix={"name": "folder", "root": str(picture_folder)}, val=0.2)
    data.read_as((1, 28, 28), ink=False)  # as the corrected network reads
    data.setup()
    assert data.info.class_names == ("cross", "ring")
    assert data.train_set.labels[-1] == 1


def test_ink_is_resolved_as_for_the_original_data(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 1)
    info = make_data(tmp_path / "f.sqlite", data_root).info
    for name, ink, expected in (("mnist", "none", True), ("folder", "none", False), ("folder", "mnist", True)):
        trained = {"name": "feedback", "ink": "none", "mix": {"name": name, "ink": ink}}
        assert resolve_ink("auto", info.shape, trained) is expected
        assert resolve_ink("auto", info.shape, trained["mix"]) is expected
        assert resolve_ink("none", info.shape, trained) is False


def test_corrections_follow_the_merged_classes_of_the_mix(tmp_path, data_root):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(make_image(0), b"", "even", "odd")
    merged = {"even": ["o", "su", "na", "ma", "re"], "odd": ["ki", "tsu", "ha", "ya", "wo"]}
    data = make_data(store.path, data_root, mix={"classes": merged})
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
        ({"held_out": 1}, "data.held_out=1"),
        ({"root": None}, "data.root"),
    ],
)
def test_the_error_of_an_invalid_option_is_one_line(tmp_path, data_root, options, expected):
    make_store(tmp_path / "f.sqlite", 1)
    options = {"root": tmp_path / "f.sqlite", **options}
    if options["root"] is None:
        with pytest.raises(InputError, match=expected):
            ImageData("feedback", root=None, mix={"name": "kmnist", "root": str(data_root)})
        return
    with pytest.raises(InputError, match=expected) as caught:
        make_data(data_root=data_root, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "correction", "expected"),
    [
        (make_image(0), "eleven", r"\(classes o, .*\); there is 1 of classes eleven; 1x28x28: give the data\.mix"),
        (make_image(0, (1, 20, 20)), "o", r"; 1x28x28\); there is 1 of classes o; 1x20x20: give the data\.mix"),
    ],
)
def test_a_store_without_a_correction_of_the_network_is_an_error(tmp_path, data_root, image, correction, expected):
    CorrectionStore(tmp_path / "f.sqlite").add(image, b"", "o", correction)
    with pytest.raises(InputError, match=expected):
        make_data(tmp_path / "f.sqlite", data_root)


def test_corrections_of_other_networks_are_left_out_and_counted(tmp_path, data_root, caplog):
    store = make_store(tmp_path / "f.sqlite", 3)
    for index, name in enumerate(("cat", "dog", "cat")):
        store.add(make_image(index, (3, 64, 64)), b"", "dog", name)
    store.add(make_image(9, (3, 64, 64)), b"", None, "o")  # another network may have a class of this name
    store.add(make_image(1), b"", "A", "B")  # a network of letters has read the same image
    with caplog.at_level("INFO", "src"):
        data = make_data(store.path, data_root)
    assert caplog.messages == [
        "3 corrections of 3 pictures; held out: 0",
        "1 correction belongs to another network (classes B; 1x28x28): left out",
        "4 corrections belong to another network (classes cat, dog, o; 3x64x64): left out",
    ]
    assert data.train_set.images[200:].equal(torch.stack([torch.from_numpy(make_image(n)) for n in range(3)]))
    assert data.train_set.labels[200:].tolist() == [0, 1, 2]


def kuzushiji(data_name="kmnist", data_root="data", names=KUZUSHIJI_NAMES):
    return CorrectedNetwork(tuple(names), data_name, data_root)


def test_equally_named_classes_of_other_data_are_left_out(tmp_path, data_root, caplog):
    store = CorrectionStore(tmp_path / "f.sqlite")
    networks = {
        "a": kuzushiji(),
        "b": kuzushiji(names=reversed(KUZUSHIJI_NAMES)),  # the same classes in another order
        "c": kuzushiji("folder", "/srv/ratings"),
        "d": kuzushiji(names=(*KUZUSHIJI_NAMES, "wi")),  # it might have meant something else
    }
    for index, model in enumerate("abccd"):
        store.add(make_image(index), b"", "ki", "o", model, networks[model])
    store.add(make_image(0), b"", "ki", "su", "c", networks["c"])  # of an image that both networks have read
    with caplog.at_level("INFO", "src"):
        data = make_data(store.path, data_root)
    assert caplog.messages == [
        "2 corrections of 2 pictures; held out: 0",
        "1 correction belongs to another network (classes o, ki, su, tsu, na, ha, ma, ya, re, wo and 1 more; 1x28x28): "
        "left out",
        "3 corrections were made with a network of the same classes that was trained on folder in /srv/ratings, this "
        "one on kmnist: left out; data.other_data=true takes such corrections",
    ]
    assert data.train_set.labels[200:].tolist() == [0, 0], "the other network's word on an image does not count"
    caplog.clear()
    with caplog.at_level("INFO", "src"):
        data = make_data(store.path, data_root, other_data=True)
    assert caplog.messages[0] == "5 corrections of 4 pictures, the last row of each counts; held out: 0"
    assert data.train_set.labels[200:].tolist() == [2, 0, 0, 0]


def test_a_store_of_another_network_alone_is_an_error(tmp_path, data_root):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(make_image(0), b"", "ki", "o", "a", kuzushiji("folder", "/srv/ratings"))
    expected = r"made with networks trained on folder in /srv/ratings, this one on kmnist: .* or data\.other_data=true"
    with pytest.raises(InputError, match=expected):
        make_data(store.path, data_root)
    with pytest.raises(InputError, match=r"data\.other_data=2: true or false"):
        make_data(store.path, data_root, other_data=2)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_copies_of_a_picture_count_once(tmp_path, data_root, caplog, held_out):
    store = CorrectionStore(tmp_path / "f.sqlite")
    for index in range(62):
        store.add(make_image(max(0, index - 59)), b"", "o", "ki" if index != 40 else "zebra")
    with caplog.at_level("INFO", "src"):
        data = make_data(store.path, data_root, held_out=held_out)
    assert "61 corrections of 3 pictures, the last row of each counts; held out: 0" in caplog.text
    assert "1 correction belongs to another network (classes zebra; 1x28x28): left out" in caplog.text
    assert len(data.train_set.images) == 203
    assert data.target_data() is None


def test_the_log_counts_held_out_corrections(tmp_path, data_root, caplog):
    make_store(tmp_path / "f.sqlite", 60)
    with caplog.at_level("INFO", "src"):
        held_out = len(make_data(tmp_path / "f.sqlite", data_root, held_out=0.5).target_data().test_set)
    assert held_out > 0
    assert caplog.messages == [f"60 corrections of 60 pictures; held out: {held_out}"]


def test_unknown_classes_alone_are_an_error_before_the_original_data_are_read(tmp_path):
    store = CorrectionStore(tmp_path / "f.sqlite")
    for index in range(2):
        store.add(make_image(index), b"", "o", "zebra")
    with pytest.raises(InputError, match=r"no correction belongs to this network .* there are 2 of classes zebra"):
        make_data(store.path, tmp_path / "nothing")


def test_errors_of_the_original_data_name_the_keys_of_data_mix(tmp_path, data_root):
    make_store(tmp_path / "f.sqlite", 1)
    with pytest.raises(InputError, match=r"give data\.mix\.root=<folder") as caught:
        make_data(tmp_path / "f.sqlite", tmp_path / "nothing")
    assert "data.root" not in str(caught.value)
    assert "data.download=true" in str(caught.value)
    with pytest.raises(InputError, match=r"^data\.mix\.name=nope: one of mnist"):
        make_data(tmp_path / "f.sqlite", data_root, mix={"name": "nope"})
    with pytest.raises(InputError, match=r"^data\.mix\.options\.variant=nope"):
        make_data(tmp_path / "f.sqlite", data_root, mix={"name": "emnist", "options": {"variant": "nope"}})


def test_a_missing_or_empty_store_is_an_error_of_one_line(tmp_path, data_root):
    with pytest.raises(InputError, match=r"there is no such file.*data\.mix\.root") as caught:
        make_data(tmp_path / "zero.sqlite", data_root)
    assert str(caught.value).count("zero.sqlite") == 1
    with pytest.raises(InputError, match=r"there is no feedback\.sqlite.*data\.mix\.root"):
        make_data(tmp_path, data_root)
    (tmp_path / "zero.sqlite").touch()
    with pytest.raises(InputError, match="is no store of corrections: it is empty") as caught:
        make_data(tmp_path / "zero.sqlite", data_root)
    assert str(caught.value).count("zero.sqlite") == 1
    store = make_store(tmp_path / "feedback.sqlite", 1)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM corrections")
    with pytest.raises(InputError, match="no corrections yet"):
        make_data(tmp_path, data_root)
