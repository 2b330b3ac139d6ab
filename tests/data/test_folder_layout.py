"""How folders of pictures may be laid out."""

import os
import shutil
import sys

import pytest
from PIL import Image

from src.data.datamodule import ImageData
from src.data.summary import describe_data
from src.errors import InputError
from tests.photo_files import CLASSES, files_of, read_folder, write_photos


def splits(root, *names, count=6):
    for seed, name in enumerate(names):
        write_photos(root / name, count, seed)
    return root


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "TEST"),
        ("training set", "validation set", "test set"),
        ("train_images", "val_images", "test_images"),
        ("Train Data", "Dev-Data", "test-data"),
        ("dataset_train", "data-valid", "Images Test"),
        ("trainset", "valset", "testset"),
        ("training_data_set", "Validation Pictures", "TEST SPLIT"),
    ],
)
def test_split_names_are_understood_in_any_case(train, val, test, tmp_path):
    data = read_folder(splits(tmp_path, train, val, test))
    assert data.info.class_names == CLASSES
    for part, name in ((data.train_set, train), (data.val_set, val), (data.test_set, test)):
        assert len(files_of(part)) == 18
        assert {file.split("/")[0] for file in files_of(part)} == {name}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode")
def test_names_of_bytes_and_of_line_breaks_are_classes(tmp_path):
    write_photos(tmp_path, 6, names=("a\nb", os.fsdecode(b"caf\xe9"), "苹果"))
    data = read_folder(tmp_path)
    assert data.info.class_names == ("a\nb", "caf\\udce9", "苹果")
    assert {file.split("/")[0] for file in data.test_set.files} == set(data.info.class_names)
    write_photos(tmp_path, 6, names=("caf\\udce9",))
    with pytest.raises(InputError, match="two folders that read the same"):
        read_folder(tmp_path)


def test_without_val_or_test_they_are_cut_from_training(tmp_path):
    data = read_folder(splits(tmp_path, "train", count=10))
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [19, 5, 6]
    assert "no test split: a fifth" in describe_data(data)
    write_photos(tmp_path / "valid", 4, 1)
    data = read_folder(tmp_path)
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [24, 12, 6]


def test_folds_take_the_pictures_of_val_too(tmp_path):
    data = [read_folder(splits(tmp_path / str(k), "train", "val", "test"), folds=3, fold=k) for k in range(3)]
    assert [len(part.val_set) for part in data] == [12, 12, 12]
    assert len(set.union(*(files_of(part.val_set) for part in data))) == 36


def test_a_class_may_be_called_train(tmp_path):
    root = write_photos(tmp_path / "vehicles", 8, names=("bus", "train", "car"))
    assert read_folder(root).info.class_names == ("bus", "car", "train")
    root = write_photos(tmp_path / "two", 8, names=("train", "test"))
    assert read_folder(root).info.class_names == ("test", "train"), "pictures lie in them, not folders"
    (root / "train" / "steam").mkdir()
    with pytest.raises(InputError):
        read_folder(root)
    assert read_folder(root, layout="classes").info.class_names == ("test", "train")


@pytest.mark.parametrize(
    "names", [("train2017", "val2017"), ("my_train", "my_test"), ("train", "test_v2"), ("validation set", "test set"),
              ("train1", "train2", "test"), ("TrainFull", "TestFull")]
)  # fmt: skip
def test_folders_that_may_be_splits_or_classes_are_asked_about(names, tmp_path):
    root = splits(tmp_path, *names)
    with pytest.raises(
        InputError, match=r"may be splits or classes: give data\.layout=splits or data\.layout=classes"
    ) as error:
        read_folder(root)
    assert all(name in str(error.value) for name in names)
    assert read_folder(root, layout="classes").info.class_names == tuple(sorted(names))


def test_told_that_they_are_splits_folders_of_like_names_are_read(tmp_path):
    data = read_folder(splits(tmp_path, "train2017", "my_val", "TestFull"), layout="splits")
    for part, name in ((data.train_set, "train2017"), (data.val_set, "my_val"), (data.test_set, "TestFull")):
        assert {file.split("/")[0] for file in files_of(part)} == {name}
    write_photos(tmp_path / "train2014", 2)
    with pytest.raises(InputError, match="train2014 and train2017 are both the train split"):
        read_folder(tmp_path, layout="splits")


@pytest.mark.parametrize("names", [("training set", "car"), ("bus", "test tubes", "train sets"), ("trains", "tests")])
def test_folders_beside_others_stay_classes(names, tmp_path):
    assert read_folder(splits(tmp_path, *names)).info.class_names == tuple(sorted(names))


def test_folders_beside_the_splits_are_named(tmp_path):
    root = splits(tmp_path, "train", "test")
    write_photos(tmp_path / "annotations", 1)
    data = read_folder(root)
    assert data.info.class_names == CLASSES
    assert "left out: the folder annotations" in describe_data(data)


def test_a_class_without_test_pictures_is_said(tmp_path):
    root = splits(tmp_path, "train", "test")
    shutil.rmtree(root / "test" / "dogs")
    (root / "test" / "dogs").mkdir()
    data = read_folder(root)
    _ = data.test_set
    assert "the test split has no images of dogs" in describe_data(data)


def test_what_is_wrong_with_a_layout_is_said(tmp_path):
    def refused(message, **options):
        with pytest.raises(InputError, match=message):
            ImageData("folder", root=str(tmp_path / "pics"), **options)

    root = splits(tmp_path / "pics", "train", "test")
    for name in CLASSES:
        shutil.rmtree(root / "test" / name)
    refused("test holds no pictures: remove it, and this split is cut")
    write_photos(root / "testing", 2)
    refused("test and testing are both the test split")
    shutil.rmtree(root / "test")
    write_photos(root / "dev" / "foxes", 1)
    refused("dev has classes that train does not have: foxes")
    shutil.rmtree(root / "dev")
    shutil.rmtree(root / "train")
    refused(r"has no train/", layout="splits")
    shutil.rmtree(root / "testing")
    for index in range(3):
        Image.new("RGB", (9, 9)).save(root / f"{index}.png")
    refused("0 class folders, and 3 pictures without one: give one folder of pictures per class, or a labels.csv")
