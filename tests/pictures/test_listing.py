"""Which files of a folder are pictures of it."""

import os

import pytest
from PIL import Image

from src.pictures.file_types import SUFFIXES, sniff_format
from src.pictures.inputs import find_pictures
from src.pictures.listing import LeftOut, list_pictures


@pytest.fixture
def folder(tmp_path):
    """Two pictures of a class, and what archives, editors and notebooks leave beside them."""
    root = tmp_path / "class"
    for name in ("a.png", "deep/er/b.JPG", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "deep/._b.JPG", ".hidden.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(root / name)
    for name in ("Thumbs.db", "notes.txt", "c.heic", "d.HEIC", "README"):
        (root / name).write_bytes(b"x")
    return root


def test_hidden_files_and_other_formats_are_left_out_and_counted(folder):
    left_out = LeftOut()
    assert [path.name for path in list_pictures(folder, left_out)] == ["a.png", "b.JPG"]
    assert left_out.hidden == 5
    assert left_out.others == {".heic": 2, ".txt": 1, "": 1}
    assert str(left_out) == "5 hidden, 2 .heic, 1 without a suffix, 1 .txt"


def test_predict_reads_the_same_files_of_a_folder(folder):
    assert find_pictures(str(folder)) == list_pictures(folder, LeftOut())


def test_links_are_followed_and_loops_end(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("L", (9, 9)).save(elsewhere / "far.png")
    os.symlink(elsewhere, folder / "linked")
    os.symlink(elsewhere, folder / "linked again")
    os.symlink(folder, folder / "deep" / "back")
    os.symlink(tmp_path, folder / "all classes")
    os.symlink(tmp_path / "nowhere.png", folder / "broken.png")
    os.mkfifo(folder / "pipe.png")
    os.symlink(elsewhere / "far.png", folder / "one.png")
    left_out = LeftOut()
    names = [path.name for path in list_pictures(folder, left_out)]
    assert names == ["a.png", "b.JPG", "far.png", "one.png"]
    assert left_out.links == 5


@pytest.mark.parametrize(
    ("form", "suffixes"),
    [
        ("PNG", ".png .apng"),
        ("JPEG", ".jpg .jpeg .jpe .jfif"),
        ("WEBP", ".webp"),
        ("BMP", ".bmp .dib"),
        ("GIF", ".gif"),
        ("TIFF", ".tif .tiff"),
        ("PPM", ".ppm .pgm .pbm .pnm"),
        ("AVIF", ".avif"),
        ("JPEG2000", ".jp2 .j2k .jpx .jpf .j2c .jpc"),
        ("QOI", ".qoi"),
    ],
)
def test_every_format_is_read_under_each_of_its_suffixes(form, suffixes, tmp_path):
    from src.pictures.decode import decode

    picture = Image.new("RGB", (40, 30), (200, 30, 30))
    for suffix in suffixes.split():
        path = tmp_path / f"p{suffix}"
        picture.save(path, form)
        assert sniff_format(path.read_bytes()) == form
        assert list_pictures(tmp_path, LeftOut())[-1:] == [max(tmp_path.iterdir())]
        pixel = decode(path).pixels[15, 20].tolist()
        assert all(abs(got - drawn) < 8 for got, drawn in zip(pixel, (200, 30, 30), strict=True))
    assert set(suffixes.split()) <= SUFFIXES
