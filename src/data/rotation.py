"""Images turned by known angles: a target that is a number, for networks that estimate one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import derive_seed
from src.errors import is_number, require

CHUNK = 4_096


def check_target(target: str, max_deg: float, augment: object) -> None:
    """Raise InputError for a target that does not exist, or an augmentation that would spoil angles."""
    require(target in ("class", "angle"), f"data.target={target}: class or angle")
    require(is_number(max_deg) and 0 < max_deg <= 180, f"data.max_angle_deg={max_deg}: above 0, at most 180")
    require(
        target == "class" or not getattr(getattr(augment, "affine", augment), "rotate", 0),
        "data.target=angle: an augmentation that turns images spoils it; give augment=none or augment.rotate_deg=0",
    )


def turn(images: Tensor, max_deg: float, part: str) -> tuple[Tensor, Tensor]:
    """Turn each image about its middle by its own angle: uint8 (N, C, H, W), and the angles, degrees, float32 (N,).

    max_deg: the angles are uniform in -max_deg..max_deg, counterclockwise, the same in every run. part: train or test,
    which draw on their own.
    """
    generator = torch.Generator().manual_seed(derive_seed(0, len(part), len(images)))
    angles = (torch.rand(len(images), generator=generator) * 2 - 1) * max_deg
    turned = [
        _turn(some, some_angles) for some, some_angles in zip(images.split(CHUNK), angles.split(CHUNK), strict=True)
    ]
    return torch.cat(turned), angles


def _turn(images: Tensor, angles_deg: Tensor) -> Tensor:
    radians = angles_deg.deg2rad()
    cos, sin, none = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # From where each pixel comes; the y axis points down, so a counterclockwise turn reads clockwise.
    matrix = torch.stack([cos, -sin, none, sin, cos, none], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, images.shape, align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().clamp(0, 255).to(torch.uint8)
