"""The images of a data set that a report looks at: both splits in memory, at most so many of each."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import Batches
from src.data.datamodule import ImageData
from src.data.splits import stratified
from src.dataset_report.pca import Axes, axes_of
from src.errors import require

MOST_BYTES = 2_000_000_000  # of decoded pictures per split
AXES = 128  # that neighbours are searched along; distances are then taken on all pixels
MOST_SIDE = 32  # pixels; larger pictures are compared at this size


@dataclass
class Part:
    """Images of one split: uint8 (N, C, H, W), labels (N,), and each one's row in the whole split.

    total: images of the whole split, of which these may be a sample.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def vectors(self) -> Tensor:
        """Each image as a direction, without its mean grey level and its contrast: float32 (N, D), of length 1.

        The distance of two is sqrt(2 - 2 r), r their correlation over pixels. An image of one grey level is 0.
        """
        flat = torch.cat([shrunk(some).flatten(1) for some in self.images.split(4096)])
        flat -= flat.mean(1, keepdim=True)
        length = flat.norm(dim=1, keepdim=True)
        return flat.div_(torch.where(length > 1e-3, length, torch.inf))

    def alike(self, rows: Tensor) -> bool:
        """Whether no two of these images differ in more than brightness and contrast; so does a single one."""
        some = self.vectors[rows]
        return bool((some - some[:1]).abs().amax() < 1e-4) if len(some) else True

    @cached_property
    def axes(self) -> Axes:
        """The first 128 principal axes of `vectors`."""
        return axes_of(self.vectors, AXES)


@dataclass
class Collection:
    """What there is to look at.

    counts: images per class, by split, of everything that is there: train and val as the data module splits them.
    notes: sentences on what was left out.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    test: Part
    counts: dict[str, list[int]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        return len(self.class_names)


def shrunk(images: Tensor) -> Tensor:
    """Grey levels as float32 (N, C, h, w), averaged down to at most 32 pixels a side."""
    sides = [min(side, MOST_SIDE) for side in images.shape[2:]]
    values = images.float()
    return values if list(values.shape[2:]) == sides else F.adaptive_avg_pool2d(values, sides)


def collect(data: ImageData, max_images: int, seed: int) -> Collection:
    """Read both splits of `data`; of each at most `max_images`, every class in proportion, drawn by `seed`.

    Raises InputError if the labels are numbers (data.target=angle), or the images of the splits differ in shape.
    """
    require(data.target == "class", f"data.target={data.target}: the report is about classes, give data.target=class")
    data.setup()
    names, test_set = data.source.class_names, data.test_set
    splits = {"train": data.train_set, "val": data.val_set, "test": test_set}
    counts = {name: part.labels[part.indices].bincount(minlength=len(names)).tolist() for name, part in splits.items()}
    shapes = [tuple(part.images.shape[1:]) for part in (data.train_set, test_set)]
    require(shapes[0] == shapes[1], f"training images are {shapes[0]}, test images {shapes[1]}: give data.size")
    learnt = torch.cat([data.train_set.indices, data.val_set.indices]).sort().values
    train, test = Batches(data.train_set.images, data.train_set.labels, learnt), test_set
    parts, notes = [], []
    for name, batches in (("training", train), ("test", test)):
        part = _take(data, batches, max_images, seed)
        parts.append(part)
        if len(part) < part.total:
            why = (
                "" if isinstance(batches.images, Tensor) else "; the pictures are decoded from disk as they are needed"
            )
            notes.append(
                f"A sample of {len(part):,} of {part.total:,} {name} images is looked at, every class in proportion "
                f"(max_images={max_images}, seed {seed}){why}."
            )
    if max(shapes[0][1:]) > MOST_SIDE:
        notes.append(f"Pictures of {shapes[0][2]}x{shapes[0][1]} are compared at {MOST_SIDE} pixels a side.")
    return Collection(data.name, names, *parts, counts, data.info.mean, data.info.std, notes)


def _take(data: ImageData, batches: Batches, max_images: int, seed: int) -> Part:
    size = batches.images.shape[1] * batches.images.shape[2] * batches.images.shape[3]
    most, rows = min(max_images, MOST_BYTES // size), batches.indices
    if len(rows) > most:
        rows = rows[stratified(batches.labels[rows], most, seed)]
    if isinstance(batches.images, Tensor):
        images = batches.images.index_select(0, rows)
    else:  # decoded by the data module's workers
        images = torch.cat([some for some, _ in data.loader(Batches(batches.images, batches.labels, rows))])
    return Part(images, batches.labels[rows], rows, len(batches.indices))
