"""A user's own pictures: read in one shape, those that cannot be read reported or left out."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.data.seen_images import image_digest
from src.data.source import Source, Split
from src.data.sources.folder_layout import Layout, read_layout
from src.data.splits import stratified_mask
from src.errors import InputError, choice, integer, number, printable, require
from src.files import display_path, system_path, utf8_name
from src.pictures.cache import PictureCache
from src.pictures.decode import PictureError, read_file
from src.pictures.reader import Reader
from src.pictures.shape import PictureShapes, describe_enlargement, measure_pictures

TEST_FRACTION, TEST_SEED = 0.2, 0  # of pictures without a test split: drawn once, by this seed
NAMED = 20  # unreadable pictures that an error names
Entries = list[tuple[Path, int]]


class PictureFiles:
    """Files of pictures as Images (N, C, H, W); read at each access."""

    def __init__(self, paths: Sequence[Path], reader: Reader, cache: PictureCache):
        self.paths, self.reader, self.cache = paths, reader, cache
        self.shape = (len(paths), *reader.shape)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([self.read(row)[0] for row in index.tolist()]))

    def read(self, row: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """One image, uint8 (C, H, W), and the remarks on its picture. Raises PictureError."""
        path = self.paths[row]
        return self.cache.read(path, lambda: read_file(path), lambda content: self.reader.read(content, path))


@dataclass
class PictureFolder:
    """The pictures of one folder and what was found in reading them.

    size, channels: of the images; None takes what suits the training pictures (`src.pictures.shape`). ink: bring each
    picture's ink to MNIST's form, as `src.predict` does. memory_gb: decoded size up to which images are held in memory.
    skip: leave pictures out that cannot be read. notes: remarks on pictures, counted.
    """

    root: Path
    layout: Layout
    size: int | None
    channels: int | None
    memory_gb: float
    cache_gb: float
    skip: bool
    ink: bool = False
    notes: Counter = field(default_factory=Counter)

    @cached_property
    def measured(self) -> PictureShapes:
        """The shape of the images, and the pictures that it was chosen by."""
        size, channels = (28, 1) if self.ink else (self.size, self.channels)
        return measure_pictures([path for path, _ in self.layout.splits["train"]], size, channels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        if self.size is not None and self.channels is not None and not self.ink:
            return self.channels, self.size, self.size
        return self.measured.channels, self.measured.size, self.measured.size

    @cached_property
    def reader(self) -> Reader:
        """Reads each picture as one image."""
        return Reader(self.shape, self.ink, several=False)

    def entries(self, split: str) -> Entries:
        """Files and labels of train (without those cut for the test), val or test."""
        found = self.layout.splits.get(split, [])
        if "test" in self.layout.splits or split == "val":
            return found
        rows = self.layout.splits["train"]
        labels = torch.tensor([label for _, label in rows])
        in_test = stratified_mask(labels, round(TEST_FRACTION * len(labels)), TEST_SEED).tolist()
        return [entry for entry, test in zip(rows, in_test, strict=True) if test == (split == "test")]

    def read(self, entries: Entries) -> tuple[Entries, Tensor | PictureFiles, Tensor, dict[Path, str]]:
        """Those pictures that can be read, their images, in memory if there is room for them, the digests of these
        (`src.data.seen_images`), and why others cannot be read.

        Each picture is read once here, so that a damaged one is found before training. Raises InputError that names
        those that cannot be read, unless they are to be skipped.
        """
        total = sum(map(len, self.layout.splits.values())) * prod(self.shape)
        fits = total <= self.cache_gb * 1e9  # a larger folder would drive its own pictures out
        cache = PictureCache(self.shape, "ink" if self.ink else "whole", self.cache_gb if fits else 0)
        files = PictureFiles([path for path, _ in entries], self.reader, cache)
        in_memory = len(entries) * prod(self.shape) <= self.memory_gb * 1e9
        images = torch.empty(len(entries) if in_memory else 0, *self.shape, dtype=torch.uint8)
        digests = torch.zeros(len(entries), dtype=torch.int64)

        def read(row: int) -> PictureError | tuple[str, ...]:
            try:
                image, notes = files.read(row)
            except PictureError as error:
                return error
            if in_memory:
                images[row] = torch.from_numpy(image)
            digests[row] = image_digest(image)
            return notes

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(read, range(len(entries))))
        damaged = {files.paths[row]: str(one) for row, one in enumerate(results) if isinstance(one, PictureError)}
        if damaged and not self.skip:
            raise InputError(self._describe_unreadable(entries, damaged))
        self.notes.update(note for one in results if not isinstance(one, PictureError) for note in one)
        good = [row for row, one in enumerate(results) if not isinstance(one, PictureError)]
        kept = [entries[row] for row in good]
        if not in_memory:
            return kept, PictureFiles([path for path, _ in kept], self.reader, cache), digests[good], damaged
        return kept, images[good] if damaged else images, digests[good], damaged

    def _describe_unreadable(self, entries: Entries, damaged: dict[Path, str]) -> str:
        """One line about all pictures of the folder that cannot be read; `damaged` are those of `entries`."""
        read = set(entries)
        others = [entry for found in self.layout.splits.values() for entry in found if entry not in read]
        damaged = damaged | replace(self, memory_gb=0, skip=True, notes=Counter()).read(others)[3]
        ink = "; data.ink=none reads pictures as they are, without looking for ink" if self.ink else ""
        if len(damaged) == 1:
            return f"{next(iter(damaged.values()))}; data.on_error=skip leaves it out{ink}"
        names = "; ".join(printable(path, 120) for path in list(damaged)[:NAMED])
        more = f" and {len(damaged) - NAMED:,} more" if len(damaged) > NAMED else ""
        counts = f"{len(damaged):,} of {len(entries) + len(others):,}"
        advice = "remove or replace them, or give data.on_error=skip, which lists them in the run"
        return f"{counts} pictures cannot be read: {names}{more}: {advice}{ink}"

    def read_split(self, *splits: str) -> Split:
        """The pictures of train, val or test, or of several of them."""
        wanted = [(entry, split == "val") for split in splits for entry in self.entries(split)]
        in_val = dict(wanted)
        kept, images, digests, damaged = self.read([entry for entry, _ in wanted])
        labels = torch.tensor([label for _, label in kept], dtype=torch.long)
        names = tuple(self._name(path) for path, _ in kept)
        mask = torch.tensor([in_val[entry] for entry in kept]) if "val" in self.layout.splits else None
        skipped = tuple((self._name(path), _reason(path, why)) for path, why in damaged.items())
        return Split(images, labels, names, mask, skipped, digests)

    def _name(self, path: Path) -> str:
        return utf8_name(os.path.relpath(path, self.root))

    def describe(self, cut: bool = True) -> str:
        """What was read, how, and what was left out. cut: whether the test split, if it is cut here, matters."""
        count = sum(map(len, self.layout.splits.values()))
        names, shape, measured = self.layout.class_names, "x".join(map(str, self.shape)), self.measured
        color = "in colour" if measured.color else "in grey"
        how = "MNIST's form of the ink on" if self.ink else "made from"
        lines = [
            f"{display_path(self.root)}: {count:,} pictures of {len(names):,} classes; "
            f"{shape} {how} {measured.sides[0]}x{measured.sides[1]} (the median) {color}"
        ]
        lines += describe_enlargement(self.shape[1], measured.sides)
        if cut and "test" not in self.layout.splits:
            lines.append(
                "there is no test split: a fifth of the pictures, the same until one is added or removed, is the test"
            )
        frames = sum(count for note, count in self.notes.items() if note.startswith("the first of"))
        lines += [f"{frames:,} pictures have several pages or frames: the first is read"] * bool(frames)
        return "\n".join(lines + [f"left out: {self.layout.left_out}"] * bool(str(self.layout.left_out)))


def _reason(path: Path, message: str) -> str:
    """A PictureError's message without the file's name and the advice."""
    return message.removeprefix(f"{path} ").removesuffix(": remove or replace it")


@dataclass(frozen=True, kw_only=True)
class FolderSource(Source):
    """The splits of a `PictureFolder`."""

    folder: PictureFolder
    may_be_damaged = True

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        channels, height, width = shape
        require(height == width, f"this network reads {height}x{width}: pictures need a network of square images")
        size, channels = self.folder.size or height, self.folder.channels or channels
        return folder_source(replace(self.folder, size=size, channels=channels, notes=Counter()))

    def read_ink(self) -> Source:
        return folder_source(replace(self.folder, ink=True, notes=Counter()))

    def describe(self, cut: bool = True) -> str:
        return self.folder.describe(cut)


def load_folder(
    root: str | None,
    layout: str = "auto",
    size: int | None = None,
    channels: int | None = None,
    on_error: str = "stop",
    memory_gb: float = 4.0,
    cache_gb: float = 4.0,
    download: bool = False,
    mirrors: Sequence[str] | None = None,
) -> FolderSource:
    """The pictures of a folder, laid out as `src.data.sources.folder_layout` reads it.

    Without a test split, a fixed stratified fifth of the training pictures is the test split; a val split validates.
    size, channels: of the images; None takes what suits the pictures. on_error: stop or skip, for pictures that cannot
    be read. memory_gb: images are held in memory up to this size; a larger data set is decoded batch by batch.
    cache_gb: limit of the cache of large pictures (`src.pictures.cache`), 0 for none.
    download and mirrors are accepted and ignored.
    Raises InputError for invalid values and for what `read_layout` refuses.
    """
    if root is None or not str(root).strip():
        raise InputError("data=folder needs data.root=<folder that holds one folder of pictures per class>")
    integer("data.size", size, 1, 4096, optional=True, unit="pixels")
    choice("data.channels", channels, (1, 3), optional=True)
    choice("data.on_error", on_error, ("stop", "skip"))
    number("data.memory_gb", memory_gb, least=0)
    number("data.cache_gb", cache_gb, least=0)
    base = system_path(root).expanduser()
    found = read_layout(base, layout)
    folder = base.parent if base.is_file() else base
    return folder_source(PictureFolder(folder, found, size, channels, memory_gb, cache_gb, on_error == "skip"))


def folder_source(folder: PictureFolder) -> FolderSource:
    """Its splits, read on demand."""
    return FolderSource(
        folder.layout.class_names,
        lambda: folder.read_split("train", "val"),
        lambda: folder.read_split("test"),
        folder=folder,
        version=f"{folder.size} {folder.channels} {folder.ink}",
    )
