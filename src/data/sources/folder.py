"""A user's own pictures in class-named folders."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from src.data.source import Images, Source, Split
from src.data.splits import stratified
from src.errors import InputError
from src.pictures.decode import FILES, decode, square
from src.pictures.file_types import SUFFIXES

TEST_SHARE, TEST_SEED = 0.2, 0  # where there is no test folder: drawn once, by this seed


def read_picture(path: Path, size: int, channels: int, enlarge: bool = True) -> Tensor:
    """One picture as uint8 (channels, size, size): longest side scaled to `size`, the rest its border's median.

    enlarge: without it, a picture with shorter sides than `size` stays as it is, in a square of its longer side.
    Opened as `src.pictures.decode.decode` says. Raises PictureError, an InputError, naming the file if it is no picture
    of a known format, damaged, or over 64 megapixels.
    """
    return torch.from_numpy(square(decode(path, FILES, channels).image, size, channels, enlarge))


class PictureFiles:
    """Pictures on disk behind the face of a (N, C, H, W) uint8 tensor; decoded at each access."""

    def __init__(self, paths: Sequence[Path], size: int, channels: int):
        self.paths, self.shape = list(paths), (len(paths), channels, size, size)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return torch.stack([self._read(row) for row in index.tolist()])

    def _read(self, row: int) -> Tensor:
        return read_picture(self.paths[row], self.shape[2], self.shape[1])

    def select(self, rows: Tensor) -> "PictureFiles":
        return PictureFiles([self.paths[row] for row in rows.tolist()], self.shape[2], self.shape[1])

    def decoded(self) -> Tensor:
        """All of them as one tensor, read by as many threads as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return torch.stack(list(pool.map(self._read, range(len(self.paths)))))


def folder(
    root: str | None,
    size: int = 28,
    channels: int = 1,
    memory_gb: float = 4.0,
    download: bool = False,
    mirrors: Sequence[str] | None = None,
) -> Source:
    """Pictures under `root`/<class>/, or `root`/train/<class>/ and `root`/test/<class>/.

    Without a test folder, a fixed stratified fifth is the test split. Classes are the folders' names, sorted.
    memory_gb: up to this size decoded, pictures are held in memory; a larger set is decoded batch by batch.
    download and mirrors are accepted and not used.
    Raises InputError if there is no such folder, fewer than two classes, a class without pictures, or classes of
    test that train does not have.
    """
    if root is None:
        raise InputError("data=folder needs data.root=<folder that holds one folder of pictures per class>")
    base = Path(root).expanduser()
    if channels not in (1, 3) or size < 1:
        raise InputError(f"data.size={size} data.channels={channels}: size is at least 1, channels 1 (grey) or 3 (RGB)")
    split_on_disk = (base / "train").is_dir()
    train_folder = base / "train" if split_on_disk else base
    names = _class_names(train_folder)

    def held(pictures: PictureFiles) -> Images:
        bytes_needed = len(pictures.paths) * size * size * channels
        return pictures.decoded() if bytes_needed <= memory_gb * 1e9 else pictures

    def read(part: str) -> Split:
        pictures, labels = _listing(base / part if split_on_disk else base, names, size, channels)
        if not split_on_disk:
            test = stratified(labels, round(TEST_SHARE * len(labels)), TEST_SEED)
            rows = (test == (part == "test")).nonzero().flatten()
            pictures, labels = pictures.select(rows), labels[rows]
        return Split(held(pictures), labels)

    return Source(names, lambda: read("train"), lambda: read("test"))


def _folders(base: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _class_names(base: Path) -> tuple[str, ...]:
    if not base.is_dir():
        raise InputError(f"data.root={base} is no folder: give the folder that holds one folder of pictures per class")
    names = _folders(base)
    if len(names) < 2:
        raise InputError(
            f"data.root={base} holds {len(names)} class folder{'s' * (len(names) != 1)}: a classifier needs at least 2"
        )
    return names


def _listing(base: Path, names: tuple[str, ...], size: int, channels: int) -> tuple[PictureFiles, Tensor]:
    if not base.is_dir():
        raise InputError(f"{base} is missing: beside train/ there must be test/ with the same class folders")
    strangers = set(_folders(base)) - set(names)
    if strangers:
        raise InputError(f"{base} has classes that train does not have: {', '.join(sorted(strangers))}")
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(p for p in (base / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found and base.name != "test":
            raise InputError(f"{base / name} holds no pictures ({', '.join(sorted(SUFFIXES))})")
        paths += found
        labels += [label] * len(found)
    return PictureFiles(paths, size, channels), torch.tensor(labels)
