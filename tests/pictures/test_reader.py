"""A picture gives the same digits whatever its format, size, position and polarity."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from src.errors import InputError
from src.pictures.reader import Reader
from tests.picture_files import READER, encode, read


def read_one(content: bytes) -> np.ndarray:
    """The image of a picture of one digit, uint8 (28, 28)."""
    (one,) = read(content)
    assert len(one.images) == 1, one
    return one.images[0, 0]


def correlation(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(image.ravel(), other.ravel())[0, 1])


def test_an_image_of_the_data_set_is_unchanged(scans):
    for image in scans:
        assert np.array_equal(read_one(encode(image)), image)
        assert np.array_equal(read_one(encode(255 - image)), image)


def test_position_and_margins_do_not_matter(scans):
    for image in scans:
        first = read_one(encode(np.pad(image, 40)))
        assert correlation(first, image) > 0.9
        for above, below, left, right in ((0, 50, 1, 1), (7, 3, 90, 0), (200, 10, 10, 200)):
            assert np.array_equal(read_one(encode(np.pad(image, ((above, below), (left, right))))), first)


def test_format_mode_and_transparency_do_not_matter(scans):
    for image in scans[:30]:
        large = np.asarray(Image.fromarray(image).resize((140, 140), Image.Resampling.BICUBIC))
        first = read_one(encode(large))
        flat = Image.fromarray(255 - large)
        black_ink = Image.new("RGBA", flat.size, (0, 0, 0, 0))
        black_ink.putalpha(Image.fromarray(large))
        white_ink = Image.new("RGBA", flat.size, (255, 255, 255, 0))
        white_ink.putalpha(Image.fromarray(large))
        files = [
            encode(flat),
            encode(flat, "BMP"),
            encode(flat.convert("RGB"), "WEBP", lossless=True),
            encode(flat, "GIF"),
            encode(flat, "TIFF"),
            encode(flat, "PPM"),
            encode(flat.convert("RGBA")),
            encode(Image.merge("LA", [flat, Image.new("L", flat.size, 255)])),
            encode((255 - large).astype(np.uint16) * 257),
            encode(black_ink),
            encode(white_ink),
        ]
        for index, content in enumerate(files):
            assert np.abs(read_one(content).astype(int) - first).max() <= 1, index


@pytest.mark.parametrize("times", [2, 3, 5, 10, 40])
def test_size_hardly_matters(scans, times):
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # half a pixel is rounded either way
    for image in scans[:40]:
        large = read_one(encode(image.repeat(times, 0).repeat(times, 1)))
        assert max(correlation(np.roll(large, move, (0, 1)), image) for move in moves) > 0.97


def test_boxes_are_in_pixels_of_the_upright_original():
    page = np.full((300, 3000), 255, np.uint8)
    page[50:250, 2100:2180] = 0
    exif = Image.Exif()
    exif[0x0112] = 8
    rotated = Image.fromarray(np.rot90(page, -1))
    for content in (encode(page), encode(page, "JPEG"), encode(rotated, exif=exif), encode(rotated, "JPEG", exif=exif)):
        (one,) = read(content)
        assert one.size == (3000, 300)
        assert np.abs(np.subtract(one.boxes[0], (2100, 50, 2180, 250))).max() <= 6
        assert one.inverted


def test_an_empty_picture_and_notes_are_reported(scans):
    blank = Image.new("L", (50, 40), 230)
    frames = encode(blank, "GIF", save_all=True, append_images=[Image.new("L", (50, 40), 3)])
    white = Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    white.putalpha(Image.fromarray(scans[0]))
    empty, light = read(frames, encode(white))
    assert (empty.reason, len(empty.images), empty.boxes) == ("empty", 0, [])
    assert empty.notes == ("the first of several frames",)
    assert light.notes == ("light ink on a transparent background, put on black",)
    assert light.reason is None


def test_digits_are_read_from_left_to_right_and_lines_from_the_top(scans):
    row = np.concatenate([np.pad(scans[index], 6) for index in range(4)], 1)
    page = np.concatenate([row, row[:, ::-1]])
    inputs = read(encode(row), encode(page), encode(255 - page.repeat(3, 0).repeat(3, 1)))
    assert [len(one.images) for one in inputs] == [4, 8, 8]
    assert inputs[1].notes == ("2 lines, read from the top one down",)
    assert [box[0] for box in inputs[0].boxes] == sorted(box[0] for box in inputs[0].boxes)
    for image, scan in zip(inputs[0].images, scans[:4], strict=True):
        assert correlation(image[0], scan) > 0.9
    for small, large in zip(inputs[1].boxes, inputs[2].boxes, strict=True):
        assert np.abs(np.array(small) * 3 - large).max() <= 6
    (single,) = read(encode(row), reader=Reader(READER.shape, ink=True, several=False))
    assert len(single.images) == 1


def test_pictures_read_together_or_by_threads_equal_those_read_alone(scans):
    contents = [encode(np.pad(image, 10 + index)) for index, image in enumerate(scans[:24])]
    contents.insert(5, encode(np.zeros((30, 30), np.uint8)))
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(READER.segment, contents))
    for one, content in zip(READER.to_network_input(pictures), contents, strict=True):
        assert np.array_equal(one.images, read(content)[0].images)
    assert READER.to_network_input([]) == []


def test_without_ink_a_picture_is_one_image(scans):
    reader = Reader((3, 32, 32), ink=False)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :, 0] = 200
    (one,) = reader.to_network_input([reader.segment(encode(wide))])
    assert one.images.shape == (1, 3, 32, 32)
    assert one.boxes == [(0, 0, 60, 20)]
    assert (one.images[0, 0] == 200).all(), "filled with the border's level"
    with pytest.raises(InputError, match=r"MNIST's form is 1x28x28, not 3x32x32"):
        Reader((3, 32, 32), ink=True)


SIDES = [(height, width) for height in range(1, 41, 3) for width in range(1, 41, 3)]
SIDES += [(400, 3), (3, 400), (1, 1), (1, 500), (500, 1), (2, 3000), (3000, 2), (1, 5000)]


@pytest.mark.parametrize("ink", [True, False])
@pytest.mark.parametrize("content", ["noise", "white", "ink", "line"])
def test_pictures_of_every_shape_are_read(content, ink):
    """No picture is too flat or too thin, and boxes lie within it."""
    rng, readers = np.random.default_rng(0), [Reader((1, 28, 28), ink)]
    readers += [] if ink else [Reader((3, 32, 32), False)]
    for height, width in SIDES:
        pixels = np.full((height, width, 3), 255, np.uint8)
        if content == "noise":
            pixels = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
        elif content == "ink":
            pixels[height // 3 :, width // 3 : width // 3 + 1 + width // 3] = 0
        elif content == "line":
            pixels[height // 2] = 0
        for reader in readers:
            one = read(encode(pixels), reader=reader)[0]
            assert one.images.shape[1:] == reader.shape
            assert all(0 <= a < c <= width and 0 <= b < d <= height for a, b, c, d in one.boxes), (height, width)
