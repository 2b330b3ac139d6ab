"""A user's own pictures in class-named folders."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from src.data.source import Source, Split
from src.data.splits import stratified_mask
from src.errors import InputError, choice, positive_int, require
from src.pictures.decode import FILE_LIMITS, decode, fit_square
from src.pictures.file_types import SUFFIXES

TEST_FRACTION, TEST_SEED = 0.2, 0  # of pictures without a test folder: drawn once, by this seed


def read_picture(path: Path, size: int, channels: int) -> Tensor:
    """One picture as uint8 (channels, size, size): longer side scaled to `size`, the rest the median of its border.

    Decoded by `src.pictures.decode.decode`. Raises PictureError, an InputError that names the file, for an unknown
    format, a damaged file, or more than 64 megapixels.
    """
    return torch.from_numpy(fit_square(decode(path, FILE_LIMITS, channels).image, size, channels))


class PictureFiles:
    """Files of pictures as Images (N, C, H, W); decoded at each access."""

    def __init__(self, paths: Sequence[Path], size: int, channels: int):
        self.paths, self.shape = paths, (len(paths), channels, size, size)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return torch.stack([self._read(row) for row in index.tolist()])

    def _read(self, row: int) -> Tensor:
        return read_picture(self.paths[row], self.shape[2], self.shape[1])

    def decode_all(self) -> Tensor:
        """All pictures as one tensor, decoded by one thread per core."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return torch.stack(list(pool.map(self._read, range(len(self.paths)))))


def load_folder(
    root: str | None,
    size: int = 28,
    channels: int = 1,
    memory_gb: float = 4.0,
    download: bool = False,
    mirrors: Sequence[str] | None = None,
) -> Source:
    """Pictures under `root`/<class>/, or `root`/train/<class>/ and `root`/test/<class>/.

    Without a test folder, a fixed stratified fifth is the test split. Classes are the folders' names, sorted.
    memory_gb: pictures are held in memory up to this decoded size; a larger data set is decoded batch by batch.
    download and mirrors are accepted and ignored.
    Raises InputError for a missing folder, fewer than two classes, a class without pictures, or classes of test/ that
    train/ does not have.
    """
    if root is None:
        raise InputError("data=folder needs data.root=<folder that holds one folder of pictures per class>")
    positive_int("data.size", size, unit="pixels")
    choice("data.channels", channels, (1, 3))
    base = Path(root).expanduser()
    has_splits = (base / "train").is_dir()
    names = _class_names(base / "train" if has_splits else base)

    def read(split: str) -> Split:
        paths, labels = _list_pictures(base / split if has_splits else base, names)
        if not has_splits:
            in_test = stratified_mask(labels, round(TEST_FRACTION * len(labels)), TEST_SEED)
            rows = (in_test == (split == "test")).nonzero().flatten()
            paths, labels = [paths[row] for row in rows.tolist()], labels[rows]
        pictures = PictureFiles(paths, size, channels)
        in_memory = len(paths) * size * size * channels <= memory_gb * 1e9
        return Split(pictures.decode_all() if in_memory else pictures, labels)

    return Source(names, lambda: read("train"), lambda: read("test"))


def _subfolders(base: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _class_names(base: Path) -> tuple[str, ...]:
    if not base.is_dir():
        raise InputError(f"data.root={base} is no folder: give the folder that holds one folder of pictures per class")
    names = _subfolders(base)
    count = f"{len(names)} class folder{'s' * (len(names) != 1)}"
    require(len(names) >= 2, f"data.root={base} holds {count}: a classifier needs at least 2")
    return names


def _list_pictures(base: Path, names: tuple[str, ...]) -> tuple[list[Path], Tensor]:
    if not base.is_dir():
        raise InputError(f"{base} is missing: beside train/, give test/ with the same class folders")
    if unknown := set(_subfolders(base)) - set(names):
        raise InputError(f"{base} has classes that train does not have: {', '.join(sorted(unknown))}")
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(p for p in (base / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found and base.name != "test":
            raise InputError(f"{base / name} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        paths += found
        labels += [label] * len(found)
    return paths, torch.tensor(labels)
