"""Digits sheared upright."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_SLANT = 1.0  # 45 degrees; beyond it the moments are no measure of slant


class Deslant(nn.Module):
    """Shear each image along its rows, about its centre of mass, until its ink is upright; bilinear, no parameters.

    images: real (B, C, H, W); the darkest value of an image is its background, and fills uncovered pixels. The slant is
    the covariance of row and column over the variance of the row, weighted by ink, as LeCun et al. 1998 (section III)
    take it from the moments of inertia. An image without ink does not change, nor does one image affect another.
    """

    def forward(self, images: Tensor) -> Tensor:
        background = images.amin((2, 3), keepdim=True)
        ink = images - background
        matrices = self.shears(ink.detach().float().sum(1))
        if torch.compiler.is_exporting():
            grid = _export_affine_grid(matrices, images.shape)
        else:
            grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        return F.grid_sample(ink, grid.to(ink.dtype), align_corners=False) + background

    def shears(self, ink: Tensor) -> Tensor:
        """Matrices (B, 2, 3) from output to input, in the coordinates of `grid_sample`; ink: (B, H, W), 0 or more."""
        height, width = ink.shape[1:]
        rows, columns = (torch.arange(side, device=ink.device, dtype=ink.dtype) for side in (height, width))
        row_mass = ink.sum(2)
        mass = row_mass.sum(1).clamp(min=1e-6)
        mean_row = (row_mass @ rows) / mass
        mean_column = ink.sum(1) @ columns / mass
        row_offsets, column_offsets = rows - mean_row.unsqueeze(1), columns - mean_column.unsqueeze(1)
        variance = (row_mass * row_offsets.square()).sum(1) / mass
        covariance = (ink @ column_offsets.unsqueeze(2)).squeeze(2).mul(row_offsets).sum(1) / mass
        slant = (covariance / variance.clamp(min=1e-3)).clamp(-MAX_SLANT, MAX_SLANT) * (height / width)
        shift = -slant * ((2 * mean_row + 1) / height - 1)
        one, zero = torch.ones_like(slant), torch.zeros_like(slant)
        return torch.stack([one, slant, shift, zero, one, zero], 1).unflatten(1, (2, 3))


def _export_affine_grid(matrices: Tensor, shape: torch.Size) -> Tensor:
    """affine_grid (B, H, W, 2) as one product: ONNX Runtime takes six times as long for what it exports as."""
    device, dtype = matrices.device, matrices.dtype
    y, x = ((2 * torch.arange(side, device=device, dtype=dtype) + 1) / side - 1 for side in shape[2:])
    ones = torch.ones_like(y).unsqueeze(1) * torch.ones_like(x)
    positions = torch.stack([ones * x, ones * y.unsqueeze(1), ones], 2).flatten(0, 1)  # (H * W, 3)
    return (positions @ matrices.transpose(1, 2)).unflatten(1, shape[2:])
