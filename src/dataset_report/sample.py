"""The images that a report analyses: both splits in memory, at most so many of each."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import BatchDataset
from src.data.datamodule import ImageData
from src.data.splits import stratified_mask
from src.dataset_report.statistics import PCA, fit_pca
from src.errors import require
from src.plotting import label, shorten_path

MAX_BYTES = 2_000_000_000  # of decoded pictures per split
MAX_SIDE = 32  # pixels; larger pictures are compared at this size
PCA_COMPONENTS = 128  # that neighbours are searched in; distances are then measured on all pixels
CHUNK = 4096  # images


@dataclass
class SplitSample:
    """Images of one split."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # (N,)
    rows: Tensor  # (N,), in the whole split
    total: int  # images in the whole split
    files: list[str] | None = None  # of pictures of files, relative to data.root

    def image_name(self, position: int, most: int = 16) -> str:
        """What tells an image from others in a figure: the end of its file's path, else the number of its row."""
        return f"#{self.rows[position]}" if self.files is None else label(shorten_path(self.files[position], most))

    def files_of(self, positions: list[int]) -> dict[str, list[str]]:
        """The entry `files` for report.json; nothing where the images are not pictures of files."""
        return {} if self.files is None else {"files": [self.files[position] for position in positions]}

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def vectors(self) -> Tensor:
        """Each image without its mean grey level and its contrast: float32 (N, D), of length 1.

        Two of them are sqrt(2 - 2 r) apart, r their correlation over pixels. An image of one grey level is 0.
        """
        vectors = torch.cat([downscale(chunk).flatten(1) for chunk in self.images.split(CHUNK)])
        vectors -= vectors.mean(1, keepdim=True)
        length = vectors.norm(dim=1, keepdim=True)
        return vectors.div_(torch.where(length > 1e-3, length, torch.inf))

    def all_alike(self, positions: Tensor) -> bool:
        """Whether these images differ in brightness and contrast only; true for fewer than two."""
        vectors = self.vectors[positions]
        return bool((vectors - vectors[:1]).abs().amax() < 1e-4) if len(vectors) else True

    @cached_property
    def pca(self) -> PCA:
        """The first 128 principal components of `vectors`."""
        return fit_pca(self.vectors, PCA_COMPONENTS)


@dataclass
class DatasetSample:
    """What a report is computed from."""

    name: str
    class_names: tuple[str, ...]
    train: SplitSample
    test: SplitSample
    counts: dict[str, list[int]]  # split -> images per class of the whole data set, as the data module splits it
    mean: tuple[float, ...]  # per channel, of grey levels scaled to 0..1
    std: tuple[float, ...]
    notes: list[str] = field(default_factory=list)  # sentences on what was left out


def downscale(images: Tensor) -> Tensor:
    """Grey levels as float32 (N, C, h, w), averaged down to at most 32 pixels a side."""
    sides = [min(side, MAX_SIDE) for side in images.shape[2:]]
    return images.float() if list(images.shape[2:]) == sides else F.adaptive_avg_pool2d(images.float(), sides)


def sample_dataset(data: ImageData, max_images: int, seed: int) -> DatasetSample:
    """Read both splits of `data`, at most `max_images` of each, drawn by `seed` with every class in proportion.

    train holds the images of the training and the validation split.
    Raises InputError for data.target=angle, and for splits whose images differ in shape.
    """
    require(data.target.name is None, f"{data.target.option}: the report is about classes, give data.target=class")
    data.setup()
    names, test_set = data.source.class_names, data.test_set
    splits = {"train": data.train_set, "val": data.val_set, "test": test_set}
    counts = {name: part.labels[part.indices].bincount(minlength=len(names)).tolist() for name, part in splits.items()}
    shape, test_shape = (tuple(part.images.shape[1:]) for part in (data.train_set, test_set))
    require(shape == test_shape, f"training images are {shape}, test images {test_shape}: give data.size")
    rows = torch.cat([data.train_set.indices, data.val_set.indices]).sort().values
    both = BatchDataset(data.train_set.images, data.train_set.labels, rows, data.train_set.files)
    train = _sample_split(data, both, max_images, seed)
    test = _sample_split(data, test_set, max_images, seed)
    notes = data.source.describe().splitlines()
    if data.skipped:
        notes.append(f"{len(data.skipped):,} pictures cannot be read and are left out:")
        notes += [f"{file} {reason}" for file, reason in data.skipped]
    for name, sample, batches in (("training", train, data.train_set), ("test", test, test_set)):
        if len(sample) < sample.total:
            lazy = "" if isinstance(batches.images, Tensor) else "; the pictures are decoded from disk when needed"
            notes.append(
                f"This page describes a sample of {len(sample):,} of {sample.total:,} {name} images, with every class "
                f"in proportion (max_images={max_images}, seed {seed}){lazy}."
            )
    if max(shape[1:]) > MAX_SIDE:
        notes.append(f"To compare pictures of {shape[2]}x{shape[1]} pixels, they are reduced to {MAX_SIDE} a side.")
    return DatasetSample(data.name, names, train, test, counts, data.info.mean, data.info.std, notes)


def _sample_split(data: ImageData, batches: BatchDataset, max_images: int, seed: int) -> SplitSample:
    most, rows = min(max_images, MAX_BYTES // math.prod(batches.images.shape[1:])), batches.indices
    if len(rows) > most:
        rows = rows[stratified_mask(batches.labels[rows], most, seed)]
    if isinstance(batches.images, Tensor):
        images = batches.images.index_select(0, rows)
    else:  # decoded by the data module's workers
        images = torch.cat([chunk for chunk, _ in data.loader(BatchDataset(batches.images, batches.labels, rows))])
    files = None if batches.files is None else [batches.files[row] for row in rows.tolist()]
    return SplitSample(images, batches.labels[rows], rows, len(batches.indices), files)
