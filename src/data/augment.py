"""Label-preserving changes to digits, one draw per image, on whole batches, on the device of the images.

Each option is called as `augment(images, generator)`: (B, C, H, W) grey levels 0..255 of any dtype to the same shape;
the same generator state gives the same result. Never a flip: a mirrored 2 is no 2.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import is_count, require


class Identity:
    """No change."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images


class Shift:
    """Move each image by its own whole-pixel offset; uncovered pixels become background (0).

    max_px: largest offset per axis, pixels.
    """

    def __init__(self, max_px: int = 2):
        require(is_count(max_px) and 0 <= max_px < 28, f"augment.max_px={max_px}: whole pixels, 0 to 27")
        self.max_px = max_px

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        reach = 2 * self.max_px + 1
        offsets = torch.randint(reach, (2, batch, 1), generator=generator, device=images.device)
        padded = F.pad(images, [self.max_px] * 4)
        rows = (offsets[0] + torch.arange(height, device=images.device)).view(batch, 1, height, 1)
        columns = (offsets[1] + torch.arange(width, device=images.device)).view(batch, 1, 1, width)
        each = torch.arange(batch, device=images.device).view(batch, 1, 1, 1)
        channel = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
        return padded[each, channel, rows, columns]


class Affine:
    """Rotate, scale, shear and move each image about its centre, bilinearly; what comes from outside is 0.

    rotate_deg, shear_deg: largest angle, degrees; scale: largest relative change of size, per axis;
    shift_px: largest offset per axis, pixels. Draws are uniform and independent.
    """

    def __init__(self, rotate_deg: float = 12.0, scale: float = 0.12, shear_deg: float = 8.0, shift_px: float = 2.0):
        require(0 <= rotate_deg <= 45, f"augment.rotate_deg={rotate_deg}: 0 to 45; beyond, a 6 becomes a 9")
        require(0 <= scale < 1, f"augment.scale={scale}: 0 to below 1")
        require(0 <= shear_deg <= 45, f"augment.shear_deg={shear_deg}: 0 to 45")
        require(shift_px >= 0, f"augment.shift_px={shift_px}: 0 or more pixels")
        self.rotate, self.shear = math.radians(rotate_deg), math.radians(shear_deg)
        self.scale, self.shift_px = scale, shift_px

    def matrices(self, shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
        """Output-to-input maps in the normalised coordinates of `grid_sample`: (B, 2, 3)."""
        batch, _, height, width = shape
        draw = torch.rand(6, batch, generator=generator, device=device) * 2 - 1
        angle, shear = draw[0] * self.rotate, draw[1] * self.shear
        wide, high = 1 + draw[2] * self.scale, 1 + draw[3] * self.scale
        cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
        matrix = torch.empty(batch, 2, 3, device=device)
        matrix[:, 0, 0], matrix[:, 0, 1] = cos / wide, (cos * tan - sin) / wide
        matrix[:, 1, 0], matrix[:, 1, 1] = sin / high, (sin * tan + cos) / high
        matrix[:, 0, 2], matrix[:, 1, 2] = draw[4] * 2 * self.shift_px / width, draw[5] * 2 * self.shift_px / height
        return matrix

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        matrices = self.matrices(images.shape, generator, images.device)
        grid = F.affine_grid(matrices, images.shape, align_corners=False)
        return F.grid_sample(images.float(), grid, align_corners=False)


class Elastic:
    """Elastic distortion (Simard et al. 2003): each pixel is moved by a smooth random field, after an affine change.

    alpha_px: standard deviation of the displacement at the field's knots, pixels; sigma_px: their distance, pixels.
    rotate_deg, scale, shear_deg, shift_px: as for Affine; 0 leaves them out.
    """

    def __init__(self, alpha_px: float = 1.0, sigma_px: float = 4.0, **affine: float):
        require(alpha_px >= 0, f"augment.alpha_px={alpha_px}: 0 or more pixels")
        require(sigma_px > 0, f"augment.sigma_px={sigma_px}: above 0 pixels")
        self.alpha_px, self.sigma_px, self.affine = alpha_px, sigma_px, Affine(**affine)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        device = images.device
        grid = F.affine_grid(self.affine.matrices(images.shape, generator, device), images.shape, align_corners=False)
        # A coarse field, a knot per sigma, interpolated bicubically: as smooth as a Gaussian, ten times cheaper.
        knots = [max(2, round(side / self.sigma_px)) for side in (height, width)]
        field = torch.randn(batch, 2, *knots, generator=generator, device=device)
        field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
        pixel = torch.tensor([2 / width, 2 / height], device=device)
        grid = grid + field.permute(0, 2, 3, 1) * (self.alpha_px * pixel)
        return F.grid_sample(images.float(), grid, align_corners=False)


class Cutout:
    """Blank one square per image (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552), with background (0).

    size_px: side of the square, pixels; its centre is anywhere in the image, so that part of it may lie outside.
    """

    def __init__(self, size_px: int = 8):
        require(is_count(size_px) and size_px >= 0, f"augment.size_px={size_px}: whole pixels, 0 or more")
        self.size_px = size_px

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        device = images.device
        top = torch.randint(height, (batch, 1), generator=generator, device=device) - self.size_px // 2
        left = torch.randint(width, (batch, 1), generator=generator, device=device) - self.size_px // 2
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        in_rows = (rows >= top) & (rows < top + self.size_px)
        in_columns = (columns >= left) & (columns < left + self.size_px)
        hole = in_rows.view(batch, 1, height, 1) & in_columns.view(batch, 1, 1, width)
        return images.masked_fill(hole, 0)
