"""Images rotated by known angles: the regression target `angle`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import derive_seed
from src.data.transforms import to_uint8
from src.errors import choice, number, require

CHUNK = 4_096


def check_target(target: str, max_deg: float, augment: object) -> None:
    """Raise InputError for an unknown target, or an augmentation that would falsify angles."""
    choice("data.target", target, ("class", "angle"))
    number("data.max_angle_deg", max_deg, above=0, most=180)
    require(
        target == "class" or not getattr(getattr(augment, "affine", augment), "rotate", 0),
        "data.target=angle: an augmentation that rotates falsifies it; give augment=none or augment.rotate_deg=0",
    )


def rotate_randomly(images: Tensor, max_deg: float, split: str) -> tuple[Tensor, Tensor]:
    """Rotate each image about its centre by its own angle: uint8 (N, C, H, W), and the angles, degrees, float32 (N,).

    max_deg: angles are uniform in -max_deg..max_deg, counterclockwise, the same in every run. split: train or test,
    which draw independently.
    """
    generator = torch.Generator().manual_seed(derive_seed(0, len(split), len(images)))
    angles = (torch.rand(len(images), generator=generator) * 2 - 1) * max_deg
    chunks = zip(images.split(CHUNK), angles.split(CHUNK), strict=True)
    return torch.cat([_rotate(chunk, angles_deg) for chunk, angles_deg in chunks]), angles


def _rotate(images: Tensor, angles_deg: Tensor) -> Tensor:
    radians = angles_deg.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # Output to input; the y axis points down, so a counterclockwise rotation reads clockwise.
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return to_uint8(F.grid_sample(images.float(), grid, align_corners=False))
