"""The user's pictures as inputs of a command: found, and read as images of the network's shape."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.errors import choice, require, text
from src.pictures.file_types import FORMATS
from src.pictures.listing import LeftOut, list_pictures
from src.pictures.reader import Reader

INKS = ("auto", "mnist", "none")
HANDWRITTEN = ("mnist", "qmnist", "emnist", "usps", "digits")  # data sets of light ink on a dark background


def find_pictures(patterns: str | Sequence[str], missing: bool = False) -> list[Path]:
    """The files that names, folders (searched recursively, by suffix) and patterns with * stand for; each once.

    missing: keep a name without a file, to be reported by whoever opens it.
    Raises InputError for a name or a pattern without any file, or a folder without pictures.
    """
    found: dict[Path, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        path = Path(text("images", pattern, "files, folders, or patterns such as 'digits/*.png'")).expanduser()
        if path.is_dir():
            files = list_pictures(path, LeftOut())
            problem = f"the folder holds no pictures ({', '.join(FORMATS)})"
        else:
            names = [path] if path.is_file() else glob.glob(str(path), recursive=True)
            files = sorted(Path(name) for name in names if Path(name).is_file())
            problem = "there is no such file, folder or pattern"
        require(bool(files) or missing, f"images={pattern}: {problem}")
        found |= dict.fromkeys(files or [path])
    return list(found)


def resolve_ink(ink: str, shape: tuple[int, int, int], data_config: Mapping) -> bool:
    """Whether pictures are brought to MNIST's form.

    ink: mnist, none, or auto: yes for a network of handwritten characters, 1x28x28. shape: of the images that the
    network reads. data_config: of the data it was trained on; with corrections, of their `mix`.
    Raises InputError for another word, or a network that does not read that form.
    """
    choice("ink", ink, INKS)
    fits = tuple(shape) == (1, 28, 28)
    if ink == "mnist":
        size = "x".join(map(str, shape))
        require(fits, f"ink=mnist makes pictures of 1x28x28, this network reads {size}: give ink=none")
    data_config = data_config.get("mix") or data_config
    handwritten = data_config.get("name") in HANDWRITTEN or data_config.get("ink") == "mnist"
    return fits and (ink == "mnist" or (ink == "auto" and handwritten))


def reads_strokes(shape: tuple[int, int, int], data_config: Mapping) -> bool:
    """Whether a network recognises handwritten characters, of any size; the arguments are those of `resolve_ink`."""
    return resolve_ink("auto", shape, data_config) or (data_config.get("mix") or data_config).get("name") in HANDWRITTEN


def load_picture_images(
    paths: Sequence[Path], shape: tuple[int, int, int], ink: bool, limit: int | None = None
) -> tuple[Tensor, list[tuple[Path, int, int]]]:
    """The images on pictures, uint8 (N, C, H, W) of the network's shape, and where each comes from.

    An origin is the picture, the image's number on it, from 1, and how many images the picture holds.
    ink: as of `src.pictures.reader.Reader`. limit: of images; no picture is opened after them.
    Raises InputError naming the first file that is not a picture, or that has no ink.
    """
    reader, pictures = Reader(shape, ink), []
    origins: list[tuple[Path, int, int]] = []
    for path in paths:
        if limit is not None and len(origins) >= limit:
            break
        picture = reader.segment(path)
        count = len(picture.digits)
        require(count > 0, f"{path} holds no ink: it is of one grey level; ink=none reads it as it is")
        pictures.append(picture)
        origins += [(path, number, count) for number in range(1, count + 1)]
    images = np.concatenate([one.images for one in reader.to_network_input(pictures)])
    return torch.from_numpy(images[:limit]), origins[:limit]
