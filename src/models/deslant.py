"""Upright digits: each image sheared until its ink leans neither way."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEEPEST = 1.0  # 45 degrees; beyond it the moments do not tell of a slant


class Deslant(nn.Module):
    """Shear each image along its rows so that its ink stands upright, about its own centre of mass, bilinearly.

    (B, C, H, W) real numbers to the same shape; an image's darkest value is its ground and comes in from outside. The
    slant is the covariance of row and column over the variance of the row, of all ink, as LeCun et al. 1998 (section
    III) take it from the moments of inertia; an image without ink stays as it is. No parameters; each image by itself.
    """

    def forward(self, images: Tensor) -> Tensor:
        ground = images.amin((2, 3), keepdim=True)
        ink = images - ground
        maps = self.shears(ink.detach().float().sum(1))
        grid = _grid(maps, images.shape) if torch.compiler.is_exporting() else _torch_grid(maps, images.shape)
        return F.grid_sample(ink, grid.to(ink.dtype), align_corners=False) + ground

    def shears(self, ink: Tensor) -> Tensor:
        """Output-to-input maps (B, 2, 3), in the coordinates of `grid_sample`, of ink (B, H, W) of 0 or more."""
        height, width = ink.shape[1:]
        rows, columns = (torch.arange(side, device=ink.device, dtype=ink.dtype) for side in (height, width))
        by_row = ink.sum(2)
        mass = by_row.sum(1).clamp(min=1e-6)
        middle = (by_row @ rows) / mass
        down = rows - middle.unsqueeze(1)
        across = columns - (ink.sum(1) @ columns / mass).unsqueeze(1)
        variance = (by_row * down.square()).sum(1) / mass
        covariance = (ink @ across.unsqueeze(2)).squeeze(2).mul(down).sum(1) / mass
        slant = (covariance / variance.clamp(min=1e-3)).clamp(-STEEPEST, STEEPEST) * (height / width)
        shift = -slant * ((2 * middle + 1) / height - 1)
        one, none = torch.ones_like(slant), torch.zeros_like(slant)
        return torch.stack([one, slant, shift, none, one, none], 1).unflatten(1, (2, 3))


def _torch_grid(maps: Tensor, shape: torch.Size) -> Tensor:
    return F.affine_grid(maps, shape, align_corners=False)


def _grid(maps: Tensor, shape: torch.Size) -> Tensor:
    """The same (B, H, W, 2) as one product: ONNX Runtime takes six times as long for what affine_grid is written as."""
    y, x = ((2 * torch.arange(side, device=maps.device, dtype=maps.dtype) + 1) / side - 1 for side in shape[2:])
    ones = torch.ones_like(y).unsqueeze(1) * torch.ones_like(x)
    places = torch.stack([ones * x, ones * y.unsqueeze(1), ones], 2).flatten(0, 1)  # (H * W, 3)
    return (places @ maps.transpose(1, 2)).unflatten(1, shape[2:])
