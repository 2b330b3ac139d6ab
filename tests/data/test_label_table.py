"""Tables of pictures and their labels."""

import pytest
from PIL import Image

from src.data.summary import describe_data
from src.errors import InputError
from tests.photo_files import files_of, read_folder


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
    data = read_folder(write_table(loose, "\ufeff" + rows(separator).replace("\n", "\r\n") + "\r\n\r\n"))
    assert data.info.class_names == ("a class", "b class")
    assert len(files_of(data.train_set) | files_of(data.val_set) | files_of(data.test_set)) == 16
    for part in (data.train_set, data.test_set):
        assert all(("/a" in part.files[row]) == (part.labels[row] == 0) for row in part.indices)


def test_a_table_may_name_splits(loose):
    data = read_folder(write_table(loose, rows(split=True)))
    assert files_of(data.val_set) == {"img/a1.png", "img/b1.png"}
    assert files_of(data.test_set) == {"img/a2.png", "img/b2.png", "img/a7.png", "img/b7.png"}
    assert len(data.train_set) == 10


def test_a_table_of_another_name_is_the_root(loose):
    write_table(loose, "\n".join(rows().splitlines()[:-1]), "mine.csv")
    data = read_folder(loose / "mine.csv")
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 15
    assert "left out: 1 picture outside the folders" in describe_data(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line has no file and no label"),
        ("a,b\nimg/a0.png,x\n", "first line has no file and no label"),
        ("file,label\n", "lists no pictures"),
        ("file,label\nimg/a0.png\n", "line 2: 1 cell, the first line has 2"),
        ("file,label\nimg/a0.png,x\nimg/nosuch.png,y\n", "line 3: img/nosuch.png is missing"),
        ("file,label\nimg/a0.png,\n", "line 2: img/a0.png has no label"),
        ("file,label\nimg/a0.png,x\nimg/a0.png,y\n", "line 3: img/a0.png is listed in line 2 already"),
        ("file,label\nimg/a0,x\n", "line 2: img/a0 is no picture's name"),
        ("file,label,split\nimg/a0.png,x,holdout\n", "line 2: split 'holdout'; there are train, training"),
        ("file,label,split\nimg/a0.png,x,test\nimg/a1.png,x\n", "line 3: 2 cells, the first line has 3"),
        ("file,label\nimg/a0.png,x, y\n", "line 2: 3 cells, the first line has 2: put a cell that holds"),
        ("file,label,split\nimg/a0.png,x, \n", "line 2: img/a0.png has no split: every row needs one"),
        ("file,label\nimg/a0.png,x\nimg/../img/a0.png,y\n", "line 3: .* is listed in line 2 already"),
        ('file,label\nimg/a0.png,"x\ny"\nimg/a1.png,\n', "line 4: img/a1.png has no label"),
        ("file,label,class\nimg/a0.png,x,y\n", "several columns for label: label, class"),
    ],
)
def test_a_wrong_table_is_refused_by_line(text, message, loose):
    with pytest.raises(InputError, match=message):
        read_folder(write_table(loose, text))


def test_a_table_that_is_no_text_is_refused(loose):
    (loose / "labels.csv").write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="cannot be read as a table in UTF-8"):
        read_folder(loose)
    (loose / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"data\.root=.* has no labels\.csv, which data\.layout=table reads"):
        read_folder(loose, layout="table")
    (loose / "labels.csv").write_bytes("file,label\nimg/a0.png,x\nimg/a1.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 3 has another encoding; save it as UTF-8"):
        read_folder(loose)
    (loose / "labels.csv").write_bytes(("file,label\n" + "x" * 200_000).encode())
    with pytest.raises(InputError, match=r"cannot be read as a table \(field larger"):
        read_folder(loose)


@pytest.mark.parametrize(
    "file", ["../other/a.png", "img/../../other/a.png", "{root}/other/a.png", "{root}/pics/img/a0.png"]
)
def test_a_table_names_no_file_outside_its_folder(file, tmp_path):
    for folder in ("pics/img", "other"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("a.png", "a0.png"):
            Image.new("RGB", (9, 9)).save(tmp_path / folder / name)
    write_table(tmp_path / "pics", f"file,label\nimg/a0.png,x\n{file.format(root=tmp_path)},y\n")
    with pytest.raises(
        InputError, match=r"labels\.csv, line 3: .* is not below the table's folder: files are relative"
    ):
        read_folder(tmp_path / "pics")


def test_the_missing_files_of_a_table_are_counted_and_the_first_named(loose):
    write_table(loose, "file,label\nimg/a0.png,x\n" + "".join(f"img/no{k}.png,y\n" for k in range(1200)))
    first = r"img/no0\.png \(line 3\), img/no1\.png \(line 4\), img/no2\.png \(line 5\) and 1,197 more"
    with pytest.raises(InputError, match=f"1,200 of 1,201 files are missing: {first}"):
        read_folder(loose)


def test_a_file_that_is_no_table_is_refused_as_a_root(loose):
    for name, content in (("file.txt", b"some words\n"), ("pics.zip", b"PK\x03\x04\xff\xfe"), ("empty.txt", b"")):
        (loose / name).write_bytes(content)
        for layout in ("auto", "table"):
            with pytest.raises(
                InputError, match=f"{name} is a file and no table of labels: give the folder .* labels.csv"
            ):
                read_folder(loose / name, layout=layout)
        with pytest.raises(InputError, match=r"is a file: data\.layout=classes reads a folder"):
            read_folder(loose / name, layout="classes")
    with pytest.raises(InputError, match=r"a0\.png is a file and no table"):
        read_folder(loose / "img" / "a0.png")
    write_table(loose, rows("\t"), "mine.txt")
    assert read_folder(loose / "mine.txt").info.class_names == ("a class", "b class")
