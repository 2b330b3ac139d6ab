"""Class-named folders of pictures."""

import os
import shutil
import signal
from multiprocessing.process import BaseProcess

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.datamodule import ImageData
from src.data.sources.folder import load_folder
from src.data.summary import describe_data
from src.errors import InputError
from src.pictures.decode import FILE_LIMITS
from src.pictures.reader import Reader
from tests.photo_files import CLASSES, draw_photo, read_folder, write_photos
from tests.small_data import draw_seven


def read_picture(path, size, channels):
    return Reader((channels, size, size), ink=False).read(path)[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty colour pictures of each of three classes, 50x64."""
    return write_photos(tmp_path_factory.mktemp("photos") / "all", 20)


def test_pictures_of_every_format_are_read(picture_folder):
    data = ImageData("folder", root=str(picture_folder), val=0.2)
    data.setup()
    assert data.info.class_names == ("cross", "ring")
    assert data.info.shape == (1, 48, 48), "grey, and the median picture is 40x41"
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 48
    assert len(data.test_set) == 10


def test_pictures_decoded_batch_by_batch_equal_those_in_memory(picture_folder):
    in_memory, streamed = (
        ImageData("folder", root=str(picture_folder), val=0.2, memory_gb=gb, num_workers=2, batch_size=8)
        for gb in (1, 0)
    )
    for data in (in_memory, streamed):
        data.setup()
    assert isinstance(in_memory.train_set.images, torch.Tensor)
    assert not isinstance(streamed.train_set.images, torch.Tensor)
    assert in_memory.info == streamed.info
    for ours, theirs in zip(in_memory.train_dataloader(), streamed.train_dataloader(), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_workers_leave_signals_to_the_command(picture_folder, monkeypatch):
    """Ctrl-C and a scheduler's SIGTERM reach every process of a command; it still finishes its step."""
    workers = []

    def interrupt():
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(worker.pid, number)

    def start(worker, start=BaseProcess.start):
        start(worker)
        workers.append(worker)
        interrupt()  # before it has set a handler of its own

    monkeypatch.setattr(BaseProcess, "start", start)
    data = ImageData("folder", root=str(picture_folder), val=0.2, memory_gb=0, num_workers=2, batch_size=4)
    data.setup()
    batches = iter(data.train_dataloader())
    received = [next(batches)]
    assert len(workers) == 2
    interrupt()
    received += batches
    assert sum(len(labels) for _, labels, *_ in received) == len(data.train_set)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this process hears its own"


def test_train_and_test_folders_are_the_splits(picture_folder, tmp_path):
    shutil.copytree(picture_folder, tmp_path / "train")
    shutil.copytree(picture_folder / "ring", tmp_path / "test" / "ring")
    data = ImageData("folder", root=str(tmp_path), val=0.2)
    data.setup()
    assert len(data.train_set) + len(data.val_set) == 48
    assert data.test_set.labels.tolist() == [1] * 24
    shutil.copytree(picture_folder / "ring", tmp_path / "test" / "square")
    with pytest.raises(InputError, match="square"):
        ImageData("folder", root=str(tmp_path))


def test_a_picture_keeps_its_aspect_ratio_and_border(tmp_path):
    wide = np.full((10, 40), 200, np.uint8)
    wide[3:7, 10:30] = 10
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = read_picture(tmp_path / "wide.png", 28, 1)[0]
    assert picture.shape == (28, 28)
    assert np.unique(picture[:9]).tolist() == [200], "filled with the border's level"
    assert int(picture[14, 14]) < 60


def test_a_transparent_background_becomes_white(tmp_path):
    ink = np.zeros((28, 28, 4), np.uint8)
    ink[10:18, 10:18, 3] = 255  # opaque black on nothing
    Image.fromarray(ink).save(tmp_path / "ink.png")
    picture = read_picture(tmp_path / "ink.png", 28, 1)[0]
    assert int(picture[0, 0]) == 255
    assert int(picture[14, 14]) == 0


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    picture = read_picture(tmp_path / "ramp.png", 28, 1)[0]
    assert int(picture[14, 0]) == pytest.approx(128, abs=3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n broken", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_the_error_names_an_unreadable_picture(tmp_path, picture_folder, content):
    root = tmp_path / "pictures"
    shutil.copytree(picture_folder, root)
    (root / "ring" / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png.*remove or replace"):
        data = ImageData("folder", root=str(root), val=0.2)
        data.setup()
        _ = data.test_set.images


def test_a_huge_picture_is_rejected_in_one_line(tmp_path, picture_folder, recwarn):
    """Without Pillow's own warning of it."""
    root = tmp_path / "pictures"
    shutil.copytree(picture_folder, root)
    Image.new("1", (12_000, 9000)).save(root / "ring" / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png has 12000x9000 pixels"):
        data = ImageData("folder", root=str(root), val=0.2)
        data.setup()
        _ = data.test_set
    assert not recwarn.list


def test_one_picture_per_class_is_too_few(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (9, 9)).save(tmp_path / part / name / "only.png")
    with pytest.raises(InputError, match="has 2 training images of 2 classes: give 3 per class, or more"):
        ImageData("folder", root=str(tmp_path), val=0.2).setup()


def test_folders_that_are_no_data_set_are_rejected(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        ImageData("folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"needs data\.root"):
        ImageData("folder", root=None)
    with pytest.raises(InputError, match="0 class folders"):
        ImageData("folder", root=str(tmp_path))
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="no pictures in its class folders"):
        ImageData("folder", root=str(tmp_path))
    Image.new("L", (9, 9)).save(tmp_path / "one" / "a.png")
    with pytest.raises(InputError, match="has 1 class, one: a classifier needs at least 2"):
        read_folder(tmp_path)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "b.heic").write_bytes(b"x")
    for name in "cdef":
        Image.new("L", (9, 9)).save(tmp_path / "one" / f"{name}.png")
    with pytest.raises(InputError, match="too few images left for training and validation: two has 0; a class needs"):
        read_folder(tmp_path)


def test_size_and_channels_come_from_the_pictures(photos):
    data = read_folder(photos)
    assert data.info.shape == (3, 64, 64)
    assert data.settled == {"ink": "none"}
    data = read_folder(photos, size=28, channels=1)
    assert data.info.shape == (1, 28, 28)
    assert data.settled == {"ink": "none", "size": 28, "channels": 1, "root": str(photos)}
    assert "1x28x28 made from 50x64 (the median) in colour" in describe_data(data)


@pytest.mark.parametrize(("size", "times"), [(1000, 31), (129, 4), (128, None), (None, None)])
def test_a_size_far_beyond_the_pictures_is_said(size, times, tmp_path):
    data = ImageData("folder", root=str(picture_sides(tmp_path, 32)), size=size, val=0.2)
    lines = data.source.describe().splitlines()
    said = [line for line in lines if "enlarges" in line]
    what = f"data.size={size} enlarges the pictures (32x32, the median) {times} times; they ask for 32"
    assert said == ([] if times is None else [f"{what}, unless a trained network reads {size}"])


def test_tiny_pictures_in_the_smallest_shape_are_not_called_enlarged(tmp_path):
    data = ImageData("folder", root=str(picture_sides(tmp_path, 3)), val=0.2)
    assert data.source.describe().count("enlarges") == 0


def picture_sides(root, side):
    """Eight pictures of this side in each of two classes; returns `root`."""
    for name in "ab":
        (root / name).mkdir()
        for index in range(8):
            Image.new("L", (side, side), index).save(root / name / f"{index}.png")
    return root


def test_pictures_are_read_as_a_trained_network_reads(photos):
    data = ImageData("folder", root=str(photos), size=None, channels=None, val=0.2)
    data.read_as((3, 32, 32), ink=False)
    data.setup()
    assert data.info.shape == tuple(data.test_set.images.shape[1:]) == (3, 32, 32)
    data = ImageData("folder", root=str(photos), size=48, channels=None, val=0.2)
    data.read_as((1, 32, 32), ink=False)
    data.setup()
    assert data.info.shape == (1, 48, 48), "what was asked for stays"
    with pytest.raises(InputError, match="square images"):
        ImageData("folder", root=str(photos)).read_as((3, 32, 40), ink=False)


def test_the_first_lines_say_what_was_read(photos, tmp_path):
    root = tmp_path / "pics"
    shutil.copytree(photos, root)
    (root / "dogs" / ".ipynb_checkpoints").mkdir()
    shutil.copy(root / "dogs" / "001.png", root / "dogs" / ".ipynb_checkpoints" / "001.png")
    (root / "cats" / "x.heic").write_bytes(b"x")
    draw_photo(0, np.random.default_rng(0)).save(root / "loose.png")
    draw_photo(1, np.random.default_rng(0)).save(
        root / "dogs" / "pages.tif", save_all=True, append_images=[draw_photo(0, np.random.default_rng(1))]
    )
    data = read_folder(root)
    _ = data.test_set
    lines = describe_data(data).splitlines()
    assert lines[0].endswith("61 pictures of 3 classes; 3x64x64 made from 50x64 (the median) in colour")
    assert (
        lines[1]
        == "there is no test split: a fifth of the pictures, the same until one is added or removed, is the test"
    )
    assert lines[2] == "1 pictures have several pages or frames: the first is read"
    assert lines[3] == "left out: 1 hidden, 1 .heic, 1 picture outside the folders"
    table = [line.split() for line in lines[4:]]
    assert table[:2] == [["train", "val", "test"], ["cats", "13", "3", "4"]]
    assert table[2:] == [["dogs", "13", "4", "4"], ["Äpfel", "und", "Öl", "13", "3", "4"]]
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 61


def test_the_files_of_all_splits_are_named_and_disjoint(photos):
    data = read_folder(photos)
    parts = [{part.files[row] for row in part.indices} for part in (data.train_set, data.val_set, data.test_set)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert set.union(*parts) == {f"{name}/{index:03}.png" for name in CLASSES for index in range(20)}
    for part in (data.train_set, data.test_set):
        file, label = part.files[part.indices[0]], part.labels[part.indices[0]]
        assert file.startswith(CLASSES[label])
        image = part[torch.tensor([0])][0][0]
        assert np.array_equal(image, read_picture(photos / file, 64, 3))
    assert len(data.all_set) == 60
    assert sorted(data.all_set.files) == sorted(set.union(*parts))


@pytest.mark.parametrize("memory_gb", [1, 0])
def test_all_images_are_those_of_every_split(photos, memory_gb):
    data = ImageData("folder", root=str(photos), val=0.2, memory_gb=memory_gb, num_workers=0)
    images, labels = (torch.cat(parts) for parts in zip(*data.loader(data.all_set), strict=True))
    assert images.shape == (60, 3, 64, 64)
    for row in (0, 47, 48, 59):
        assert np.array_equal(images[row], read_picture(photos / data.all_set.files[row], 64, 3))
        assert data.all_set.files[row].startswith(CLASSES[labels[row]])


def damage(root):
    shutil.copytree(root, root.parent / "damaged")
    root = root.parent / "damaged"
    for name, content in (
        ("cats/000.png", b"no picture"),
        ("dogs/003.png", b""),
        ("dogs/005.png", b"\x89PNG\r\n\x1a\n x"),
    ):
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize("memory_gb", [1, 0])
def test_every_unreadable_picture_is_named_before_training(photos, tmp_path, memory_gb):
    root = damage(shutil.copytree(photos, tmp_path / "all"))
    data = ImageData("folder", root=str(root), val=0.2, memory_gb=memory_gb)
    with pytest.raises(
        InputError, match=r"3 of 60 pictures cannot be read: .*000\.png; .*003\.png; .*005\.png: remove or"
    ):
        _ = data.all_set


@pytest.mark.parametrize("memory_gb", [1, 0])
def test_unreadable_pictures_are_skipped_on_request(photos, tmp_path, memory_gb):
    root = damage(shutil.copytree(photos, tmp_path / "all"))
    whole, rest = read_folder(photos), read_folder(root, on_error="skip", memory_gb=memory_gb, num_workers=0)
    left = {"cats/000.png", "dogs/003.png", "dogs/005.png"}
    parts = [(data.train_set, data.val_set, data.test_set) for data in (whole, rest)]
    files = [[{part.files[row] for row in part.indices} for part in each] for each in parts]
    assert files[1][2] == files[0][2] - left, "the others stay in the test split they were in"
    assert files[1][0] | files[1][1] == (files[0][0] | files[0][1]) - left
    assert {file for file, _ in rest.skipped} == left
    assert all("cannot be read" in reason for _, reason in rest.skipped)
    assert "3 pictures cannot be read and are left out: skipped.csv" in describe_data(rest)


def test_a_large_data_set_of_pictures_opens_each_once(photos, monkeypatch, tmp_path):
    """With the cache of large pictures, the second start decodes none."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "big" / name).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "big" / name / f"{index}.png")
    first = read_folder(tmp_path / "big", val=0.4).train_set.images
    monkeypatch.setattr(Reader, "decode", None)
    assert torch.equal(read_folder(tmp_path / "big", val=0.4).train_set.images, first)
    with pytest.raises(TypeError):
        read_folder(tmp_path / "big", val=0.4, cache_gb=0)


def test_dark_ink_is_read_as_predict_reads_it(tmp_path):
    """data.ink=mnist: dark ink on light paper becomes light on black, in training as in src.predict."""
    rng = np.random.default_rng(0)
    for name in ("seven", "bar"):
        (tmp_path / name).mkdir()
        for index in range(8):
            side = int(rng.integers(60, 120))
            ink = np.asarray(draw_seven(side)) if name == "seven" else np.zeros((side, side), np.uint8)
            if name == "bar":
                ink[side // 4 : -side // 4, side // 2 - 4 : side // 2 + 4] = 255
            Image.fromarray(230 - (ink * 0.8).astype(np.uint8)).save(tmp_path / name / f"{index}.png")
    data = read_folder(tmp_path, ink="mnist")
    assert data.info.shape == (1, 28, 28)
    reader = Reader((1, 28, 28), ink=True)
    for row in (0, len(data.test_set) - 1):
        segmented = reader.segment(tmp_path / data.test_set.files[row], FILE_LIMITS)
        assert torch.equal(
            data.test_set.images[row], torch.from_numpy(reader.to_network_input([segmented])[0].images[0])
        )
    auto = ImageData("folder", root=str(tmp_path), ink="auto", val=0.2)
    auto.read_as((1, 28, 28), ink=True)
    auto.setup()
    assert torch.equal(auto.train_set.images, data.train_set.images)
    assert auto.settled == {"ink": "mnist"}
    Image.new("L", (60, 60), 200).save(tmp_path / "bar" / "blank.png")
    with pytest.raises(InputError, match=r"blank\.png holds no ink.*data\.ink=none"):
        read_folder(tmp_path, ink="mnist")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"data\.size=0"),
        ({"channels": 2}, r"data\.channels=2: one of 1, 3, or null"),
        ({"layout": "flat"}, r"data\.layout=flat: one of auto, classes, splits, table"),
        ({"on_error": "ignore"}, r"data\.on_error=ignore: one of stop, skip"),
        ({"cache_gb": -1}, r"data\.cache_gb=-1"),
        ({"memory_gb": "much"}, r"data\.memory_gb=much"),
    ],
)
def test_wrong_options_are_refused(options, message, photos):
    with pytest.raises(InputError, match=message):
        load_folder(str(photos), **options)
