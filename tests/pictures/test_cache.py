"""Large pictures are decoded once."""

import os
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from src.pictures.cache import MIN_BYTES, PictureCache
from src.pictures.decode import read_file
from src.pictures.reader import Reader

SHAPE = (3, 32, 32)


class Counted:
    """Reads pictures through a cache, and counts how many it decodes."""

    def __init__(self, path, limit_gb=1.0, shape=SHAPE):
        self.reader, self.decoded = Reader(shape, ink=False), 0
        self.cache = PictureCache(shape, "whole", limit_gb, path)

    def __call__(self, picture):
        return self.cache.read(picture, lambda: read_file(picture), lambda content: self._decode(content, picture))[0]

    def _decode(self, content, picture):
        self.decoded += 1
        return self.reader.read(content, picture)


def large_picture(path, seed=0):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (180, 200, 3), dtype=np.uint8)).save(path)
    assert path.stat().st_size > MIN_BYTES
    return path


def test_a_large_picture_is_decoded_once(tmp_path):
    picture, file = large_picture(tmp_path / "a.png"), tmp_path / "cache" / "pictures.sqlite"
    first, second = Counted(file), Counted(file)
    assert np.array_equal(first(picture), second(picture))
    assert np.array_equal(first(picture), Reader(SHAPE, ink=False).read(picture)[0])
    assert (first.decoded, second.decoded) == (1, 0)


def test_the_content_decides_wherever_the_file_is(tmp_path):
    picture, read = large_picture(tmp_path / "a.png"), Counted(tmp_path / "c.sqlite")
    read(picture)
    copy = shutil.copy(picture, tmp_path / "copy.png")
    read(type(picture)(copy))
    assert read.decoded == 1
    before = os.stat(picture)
    other = Reader(SHAPE, ink=False).read(large_picture(tmp_path / "b.png", seed=1))[0]
    os.replace(tmp_path / "b.png", picture)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert np.array_equal(read(picture), other), "another content under the old name and time"
    assert read.decoded == 2


def test_another_shape_is_another_image(tmp_path):
    picture = large_picture(tmp_path / "a.png")
    assert Counted(tmp_path / "c.sqlite")(picture).shape == SHAPE
    assert Counted(tmp_path / "c.sqlite", shape=(1, 28, 28))(picture).shape == (1, 28, 28)


def test_small_pictures_and_a_limit_of_zero_leave_no_cache(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
    read = Counted(tmp_path / "c.sqlite")
    read(tmp_path / "small.png")
    off = Counted(tmp_path / "c.sqlite", limit_gb=0)
    off(large_picture(tmp_path / "a.png"))
    assert not (tmp_path / "c.sqlite").exists()


def test_the_oldest_leave_a_full_cache(tmp_path):
    read = Counted(tmp_path / "c.sqlite", limit_gb=150_000 / 1e9)
    pictures = [large_picture(tmp_path / f"{seed}.png", seed) for seed in range(60)]
    for picture in pictures:
        read(picture)
    assert (tmp_path / "c.sqlite").stat().st_size < 250_000
    read(pictures[-1])
    assert read.decoded == 60, "the newest is there"
    read(pictures[0])
    assert read.decoded == 61, "the oldest is not"


@pytest.mark.parametrize(
    "damage", [b"no database at all, but long enough to be looked at as one" * 40, b"SQLite format 3\0"]
)
def test_a_damaged_cache_is_left_alone(damage, tmp_path, caplog):
    file, picture = tmp_path / "c.sqlite", large_picture(tmp_path / "a.png")
    file.write_bytes(damage)
    read = Counted(file)
    with caplog.at_level("INFO"):
        first, second = read(picture), read(picture)
    assert np.array_equal(first, second)
    assert caplog.text.count("is not used") == 1
    assert file.read_bytes() == damage


def test_threads_share_a_cache(tmp_path):
    pictures = [large_picture(tmp_path / f"{seed}.png", seed) for seed in range(8)]
    read, found = Counted(tmp_path / "c.sqlite"), []
    threads = [threading.Thread(target=lambda: found.extend(map(read, pictures))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    again = Counted(tmp_path / "c.sqlite")
    assert all(again(picture).shape == SHAPE for picture in pictures)
    assert again.decoded == 0
