"""Pictures that a user points at: found, read, and brought to what a network reads."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.errors import require
from src.pictures.file_types import SUFFIXES
from src.pictures.reader import Reader

INKS = ("auto", "mnist", "none")
WRITTEN = ("mnist", "qmnist", "emnist", "usps", "digits")  # data sets of light ink on dark ground


def find_pictures(given: str | Sequence[str], missing: bool = False) -> list[Path]:
    """The files that names, folders (searched through, by suffix) and patterns with * stand for; each once.

    missing: keep a name that stands for no file, so that whoever opens it says so.
    Raises InputError for a name or a pattern without any file, or a folder without pictures.
    """
    found: dict[Path, None] = {}
    for word in [given] if isinstance(given, str) else given:
        require(
            isinstance(word, str) and bool(word), f"images={word}: files, folders, or patterns such as 'digits/*.png'"
        )
        path = Path(word).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            require(
                bool(inside) or missing, f"images={word}: the folder holds no pictures ({', '.join(sorted(SUFFIXES))})"
            )
        elif path.is_file():
            inside = [path]
        else:
            inside = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
            require(bool(inside) or missing, f"images={word}: there is no such file, folder or pattern")
        found |= dict.fromkeys(inside or [path])
    return list(found)


def choose_ink(asked: str, shape: tuple[int, int, int], trained: Mapping) -> bool:
    """Whether pictures are to be brought to MNIST's form.

    shape: of the images that the network reads. trained: the config of the data that it was trained on; with
    corrections, their `mix` counts. asked: mnist, none, or auto, which takes it for a network of written characters,
    1x28x28.
    Raises InputError for another word, or a network that does not read that form.
    """
    require(asked in INKS, f"ink={asked}: one of {', '.join(INKS)}")
    fits = tuple(shape) == (1, 28, 28)
    if asked == "mnist":
        size = "x".join(map(str, shape))
        require(fits, f"ink=mnist makes pictures of 1x28x28, this network reads {size}: give ink=none")
    trained = trained.get("mix") or trained
    written = trained.get("name") in WRITTEN or trained.get("ink") == "mnist"
    return fits and (asked == "mnist" or (asked == "auto" and written))


def read_given(
    paths: Sequence[Path], shape: tuple[int, int, int], ink: bool, most: int | None = None
) -> tuple[Tensor, list[tuple[Path, int, int]]]:
    """The images on the pictures, as a network reads them, uint8 (N, C, H, W) of this shape.

    Beside them, for each image, its picture, its place on it, from 1, and how many images that picture holds.

    ink: find each digit and bring it to MNIST's form; without it a picture is one image, read as data=folder does.
    Both as `src.pictures.reader` does. most: so many images, and no picture is opened after them.
    Raises InputError naming the first file that is no picture, or that has no ink.
    """
    reader, pages, places = Reader(shape, ink), [], []
    for path in paths:
        if most is not None and len(places) >= most:
            break
        pages.append(reader.page(path))
        count = len(pages[-1].digits)
        require(count > 0, f"{path} holds no ink: it is of one grey; ink=none reads it as it is")
        places += [(path, place, count) for place in range(1, count + 1)]
    images = np.concatenate([reading.images for reading in reader.read(pages)])
    return torch.from_numpy(images[:most]), places[:most]
