"""The size and the channels of images, chosen by the pictures."""

import numpy as np
import pytest
from PIL import Image

from src.pictures.shape import measure_pictures


def save(folder, *pictures):
    paths = [folder / f"{index}.png" for index in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    return paths


@pytest.mark.parametrize(
    ("sides", "size"), [(8, 28), (28, 28), (29, 32), (64, 64), (65, 96), (100, 128), (224, 224), (4000, 224)]
)
def test_the_size_is_the_smallest_that_the_median_picture_fits(sides, size, tmp_path):
    paths = save(tmp_path, *(Image.new("L", each) for each in ((1, 1), (sides, 5), (5, sides), (5000, 5000))))
    shapes = measure_pictures(paths)
    assert (shapes.channels, shapes.size) == (1, size)
    assert max(shapes.sides) == sides


def test_one_picture_with_colour_makes_three_channels(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    as_rgb = Image.fromarray(grey).convert("RGB")
    tinted = Image.fromarray((np.stack([grey, grey, grey], 2) * 0.9 + [20, 0, 0]).astype(np.uint8))
    hidden = Image.merge("RGBA", [*as_rgb.split()[:2], Image.new("L", (40, 40), 255), Image.new("L", (40, 40), 0)])
    jpeg = tmp_path / "grey.jpg"
    as_rgb.save(jpeg)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = [*save(tmp_path, as_rgb, hidden, Image.fromarray(grey).convert("P")), jpeg, tmp_path / "broken.png"]
    assert measure_pictures(paths)[0] == 1, "grey, however it is stored; transparent colour is not seen"
    tinted.save(tmp_path / "tinted.png")
    assert measure_pictures([*paths, tmp_path / "tinted.png"])[0] == 3
    assert measure_pictures([tmp_path / "tinted.png"], size=40, channels=1) == (1, 40, (40, 40), True)
    assert measure_pictures([tmp_path / "broken.png"]) == (1, 28, (28, 28), False)
