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
from src.data.sources.folder import read_picture
from src.errors import InputError


def test_pictures_of_every_format_are_read(picture_folder):
    data = ImageData("folder", root=str(picture_folder), val=0.2)
    data.setup()
    assert data.info.class_names == ("cross", "ring")
    assert data.info.shape == (1, 28, 28)
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
        _ = ImageData("folder", root=str(tmp_path)).test_set


def test_a_picture_keeps_its_aspect_ratio_and_border(tmp_path):
    wide = np.full((10, 40), 200, np.uint8)
    wide[3:7, 10:30] = 10
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = read_picture(tmp_path / "wide.png", 28, 1)[0]
    assert picture.shape == (28, 28)
    assert picture[:9].unique().tolist() == [200], "filled with the border's level"
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
    with pytest.raises(InputError, match="1 class folder:"):
        ImageData("folder", root=str(tmp_path))
    (tmp_path / "two").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        ImageData("folder", root=str(tmp_path)).setup()
