"""How folders of pictures may be laid out."""

import os
import shutil
import sys

import pytest
from PIL import Image

from src.data.datamodule import ImageData
from src.data.summary import describe_data
from src.errors import InputError
from tests.photo_files import CLASSES, write_photos


def set_up(root, **options):
    data = ImageData("folder", root=str(root), **{"val": 0.2, **options})
    data.setup()
    return data


def files(part):
    return {part.files[row] for row in part.indices}


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
    ],
)
def test_split_names_are_understood_in_any_case(train, val, test, tmp_path):
    data = set_up(splits(tmp_path, train, val, test))
    assert data.info.class_names == CLASSES
    for part, name in ((data.train_set, train), (data.val_set, val), (data.test_set, test)):
        assert len(files(part)) == 18
        assert {file.split("/")[0] for file in files(part)} == {name}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode")
def test_names_of_bytes_and_of_line_breaks_are_classes(tmp_path):
    write_photos(tmp_path, 6, names=("a\nb", os.fsdecode(b"caf\xe9"), "苹果"))
    data = set_up(tmp_path)
    assert data.info.class_names == ("a\nb", "caf\\udce9", "苹果")
    assert {file.split("/")[0] for file in data.test_set.files} == set(data.info.class_names)
    write_photos(tmp_path, 6, names=("caf\\udce9",))
    with pytest.raises(InputError, match="two folders that read the same"):
        set_up(tmp_path)


def test_without_val_or_test_they_are_cut_from_training(tmp_path):
    data = set_up(splits(tmp_path, "train", count=10))
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [19, 5, 6]
    assert "no test split: a fifth" in describe_data(data)
    write_photos(tmp_path / "valid", 4, 1)
    data = set_up(tmp_path)
    assert [len(part) for part in (data.train_set, data.val_set, data.test_set)] == [24, 12, 6]


def test_folds_take_the_pictures_of_val_too(tmp_path):
    data = [set_up(splits(tmp_path / str(k), "train", "val", "test"), folds=3, fold=k) for k in range(3)]
    assert [len(part.val_set) for part in data] == [12, 12, 12]
    assert len(set.union(*(files(part.val_set) for part in data))) == 36


def test_a_class_may_be_called_train(tmp_path):
    root = write_photos(tmp_path / "vehicles", 8, names=("bus", "train", "car"))
    assert set_up(root).info.class_names == ("bus", "car", "train")
    root = write_photos(tmp_path / "two", 8, names=("train", "test"))
    assert set_up(root).info.class_names == ("test", "train"), "pictures lie in them, not folders"
    (root / "train" / "steam").mkdir()
    with pytest.raises(InputError):
        set_up(root)
    assert set_up(root, layout="classes").info.class_names == ("test", "train")


def test_folders_beside_the_splits_are_named(tmp_path):
    root = splits(tmp_path, "train", "test")
    write_photos(tmp_path / "annotations", 1)
    data = set_up(root)
    assert data.info.class_names == CLASSES
    assert "left out: the folder annotations" in describe_data(data)


def test_a_class_without_test_pictures_is_said(tmp_path):
    root = splits(tmp_path, "train", "test")
    shutil.rmtree(root / "test" / "dogs")
    (root / "test" / "dogs").mkdir()
    data = set_up(root)
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


def write_table(root, text, name="labels.csv"):
    (root / name).write_bytes(text.encode("utf-8"))
    return root


@pytest.fixture
def loose(tmp_path):
    """Pictures a0 to a7 and b0 to b7 in one folder."""
    for label in "ab":
        for index in range(8):
            (tmp_path / "img").mkdir(exist_ok=True)
            Image.new("RGB", (30, 30), (200 if label == "a" else 20, 20, index)).save(
                tmp_path / "img" / f"{label}{index}.png"
            )
    return tmp_path


def rows(separator=",", split=False):
    parts = ("train", "valid", "test", "train", "Training", "train", "train", "test")
    lines = [separator.join(["Filename", "Class"] + ["subset"] * split)]
    for label in "ab":
        lines += [
            separator.join([f"img/{label}{index}.png", f"{label} class"] + [parts[index]] * split) for index in range(8)
        ]
    return "\n".join(lines)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_labels_is_a_data_set(separator, loose):
    data = set_up(write_table(loose, "\ufeff" + rows(separator).replace("\n", "\r\n") + "\r\n\r\n"))
    assert data.info.class_names == ("a class", "b class")
    assert len(files(data.train_set) | files(data.val_set) | files(data.test_set)) == 16
    for part in (data.train_set, data.test_set):
        assert all(("/a" in part.files[row]) == (part.labels[row] == 0) for row in part.indices)


def test_a_table_may_name_splits(loose):
    data = set_up(write_table(loose, rows(split=True)))
    assert files(data.val_set) == {"img/a1.png", "img/b1.png"}
    assert files(data.test_set) == {"img/a2.png", "img/b2.png", "img/a7.png", "img/b7.png"}
    assert len(data.train_set) == 10


def test_a_table_of_another_name_is_the_root(loose):
    write_table(loose, "\n".join(rows().splitlines()[:-1]), "mine.csv")
    data = set_up(loose / "mine.csv")
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 15
    assert "left out: 1 picture outside the folders" in describe_data(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line has no file and no label"),
        ("a,b\nimg/a0.png,x\n", "first line has no file and no label"),
        ("file,label\n", "lists no pictures"),
        ("file,label\nimg/a0.png\n", "line 2: 1 cells, the first line has 2"),
        ("file,label\nimg/a0.png,x\nimg/nosuch.png,y\n", "line 3: img/nosuch.png is missing"),
        ("file,label\nimg/a0.png,\n", "line 2: img/a0.png has no label"),
        ("file,label\nimg/a0.png,x\nimg/a0.png,y\n", "line 3: img/a0.png is listed in line 2 already"),
        ("file,label\nimg/a0,x\n", "line 2: img/a0 is no picture's name"),
        ("file,label,split\nimg/a0.png,x,holdout\n", "line 2: split 'holdout'; there are train, training"),
        ("file,label,class\nimg/a0.png,x,y\n", "several columns for label: label, class"),
    ],
)
def test_a_wrong_table_is_refused_by_line(text, message, loose):
    with pytest.raises(InputError, match=message):
        set_up(write_table(loose, text))


def test_a_table_that_is_no_text_is_refused(loose):
    (loose / "labels.csv").write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="cannot be read as a table in UTF-8"):
        set_up(loose)
    (loose / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels\.csv cannot be read as a table"):
        set_up(loose, layout="table")
