"""The shape of image that suits a set of pictures, from their headers."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import numpy as np
from PIL import Image

from src.pictures.decode import FILE_LIMITS

SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 224)  # halved two times and more without a remainder
ENLARGED = 4  # times that data.size may enlarge the median picture before it is said
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
SAMPLE = 16  # pictures whose colour is looked at where it decides nothing
COLOR_SIDE, COLOR_LEVELS = 64, 8  # a picture has colour where its channels differ by more levels at this size, pixels


class PictureShapes(NamedTuple):
    """channels, size: of the images that suit them. sides: the median picture, width and height. color: whether any
    picture has colour; of a few, where channels are fixed."""

    channels: int
    size: int
    sides: tuple[int, int]
    color: bool


def measure_pictures(paths: Sequence[Path], size: int | None = None, channels: int | None = None) -> PictureShapes:
    """The smallest of SIZES not below the median longer side, at most 224; 3 channels if any picture has colour.

    size, channels: fixed values instead. Only headers are read, and pixels until one picture has colour. Files that
    cannot be read do not count; without any other the shape is 1x28x28.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sides = [each for each in pool.map(_read_sides, paths) if each is not None]
    longer = median_low([max(each) for each in sides]) if sides else SIZES[0]
    typical = next((each for each in sides if max(each) == longer), (longer, longer))
    color = any(map(_has_color, paths if channels is None else paths[:: max(1, len(paths) // SAMPLE)]))
    return PictureShapes(channels or (3 if color else 1), size or _fitting_size(longer), typical, color)


def describe_enlargement(size: int, sides: tuple[int, int]) -> list[str]:
    """A line about images of `size` pixels that enlarge the median picture (width, height) beyond what it asks for;
    none up to ENLARGED times."""
    longer, fitting = max(sides), _fitting_size(max(sides))
    if size <= max(ENLARGED * longer, fitting):
        return []
    what = f"the pictures ({sides[0]}x{sides[1]}, the median) {size // longer} times"
    return [f"data.size={size} enlarges {what}; they ask for {fitting}, unless a trained network reads {size}"]


def _fitting_size(longer: int) -> int:
    return next((each for each in SIZES if each >= longer), SIZES[-1])


def _read_sides(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path, formats=FILE_LIMITS.formats) as picture:
            return picture.size
    except Exception:  # whoever reads it reports it
        return None


def _has_color(path: Path) -> bool:
    try:
        with Image.open(path, formats=FILE_LIMITS.formats) as picture:
            if picture.mode.startswith(GREY_MODES) or picture.width * picture.height > FILE_LIMITS.pixels:
                return False
            picture.draft(None, (COLOR_SIDE, COLOR_SIDE))  # JPEG at an eighth
            small = picture.convert("RGBA").reduce(max(1, max(picture.size) // COLOR_SIDE))
            pixels = np.asarray(small).astype(np.int16)
    except Exception:
        return False
    visible = pixels[pixels[..., 3] > 127][:, :3]
    return bool(visible.size) and int((visible.max(1) - visible.min(1)).max()) > COLOR_LEVELS
