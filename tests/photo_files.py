"""Colour pictures that tests draw, in folders as people have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from src.data.batches import BatchDataset
from src.data.datamodule import ImageData

CLASSES = ("cats", "dogs", "Äpfel und Öl")


def draw_photo(shape: int, rng: np.random.Generator, size: tuple[int, int] = (50, 64)) -> Image.Image:
    """A disc, a square or a triangle of any colour on noise, (width, height)."""
    picture = Image.fromarray(rng.integers(90, 160, (size[1], size[0], 3), dtype=np.uint8))
    draw, color = ImageDraw.Draw(picture), tuple(int(level) for level in rng.choice([0, 40, 215, 255], 3))
    left, top, side = int(rng.integers(2, 12)), int(rng.integers(2, 25)), int(rng.integers(26, 34))
    box = (left, top, left + side, top + side)
    if shape == 0:
        draw.ellipse(box, fill=color)
    elif shape == 1:
        draw.rectangle(box, fill=color)
    else:
        draw.polygon([(left, top + side), (left + side, top + side), (left + side / 2, top)], fill=color)
    return picture


def write_photos(folder: Path, count: int, seed: int = 0, names: Sequence[str] = CLASSES, suffix: str = "png") -> Path:
    """`count` pictures of each class in a folder of its name; returns `folder`."""
    rng = np.random.default_rng(seed)
    for shape, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            draw_photo(shape % 3, rng).save(folder / name / f"{index:03}.{suffix}")
    return folder


def read_folder(root: Path, **options) -> ImageData:
    """The pictures of a folder or a table, split as `options` say."""
    data = ImageData("folder", root=str(root), **{"val": 0.2, **options})
    data.setup()
    return data


def files_of(part: BatchDataset) -> set[str]:
    """The files of a split, relative to the data set's folder."""
    assert part.names is not None
    return set(part.names)
