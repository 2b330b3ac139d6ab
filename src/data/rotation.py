"""What a network learns of the images: their classes, or the angle by which each is rotated."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import derive_seed
from src.data.info import DataInfo
from src.data.source import Source, Split
from src.data.transforms import to_uint8
from src.errors import InputError, choice, number, require

CHUNK = 4_096


@dataclass(frozen=True)
class ClassTarget:
    """The classes of the data set. name, scale: DataInfo's target and scale."""

    option = "data.target=class"
    name = None
    scale = 1.0

    def apply(self, data: Split, split: str) -> Split:
        """The images and labels of a split: train or test."""
        return data

    def describe(self, info: DataInfo) -> DataInfo:
        """The info of a classifier, changed for a network of this target."""
        return info


@dataclass(frozen=True)
class AngleTarget:
    """A regression: each image is rotated by an angle, and its label is that angle over `scale`, float32 (N,).

    scale: degrees; angles are uniform in -scale..scale, counterclockwise, the same in every run.
    """

    scale: float
    option = "data.target=angle"
    name = "angle_deg"

    def apply(self, data: Split, split: str) -> Split:
        """The images of a split, uint8 (N, C, H, W), rotated about their centres; train and test draw independently.

        Raises InputError for images that are not held in memory.
        """
        images = data.images
        if not isinstance(images, Tensor):
            raise InputError("data.target=angle needs the images in memory: raise data.memory_gb")
        generator = torch.Generator().manual_seed(derive_seed(0, len(split), len(images)))
        angles = (torch.rand(len(images), generator=generator) * 2 - 1) * self.scale
        chunks = zip(images.split(CHUNK), angles.split(CHUNK), strict=True)
        rotated = torch.cat([rotate(chunk, angles_deg) for chunk, angles_deg in chunks])
        return replace(data, images=rotated, labels=angles / self.scale)

    def describe(self, info: DataInfo) -> DataInfo:
        """The info of a classifier, changed for a network of this target."""
        return replace(info, class_names=(), target=self.name, scale=self.scale)


def build_target(target: str, max_angle_deg: float, augment: object, source: Source) -> ClassTarget | AngleTarget:
    """The target of data.target. Raises InputError for angles with a source or augmentation that cannot have them."""
    choice("data.target", target, ("class", "angle"))
    number("data.max_angle_deg", max_angle_deg, above=0, most=180)
    if target == "class":
        return ClassTarget()
    require(
        not getattr(getattr(augment, "affine", augment), "rotate", 0),
        "data.target=angle: an augmentation that rotates falsifies it; give augment=none or augment.rotate_deg=0",
    )
    require(source.transformable, "data.target=angle: corrections are about classes")
    return AngleTarget(max_angle_deg)


def rotate(images: Tensor, angles_deg: Tensor) -> Tensor:
    """Images, uint8 (N, C, H, W), turned counterclockwise about their centres, each by its angle (N,)."""
    radians = angles_deg.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # Output to input; the y axis points down, so a counterclockwise rotation reads clockwise.
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return to_uint8(F.grid_sample(images.float(), grid, align_corners=False))
