"""Label-preserving changes to digits, one draw per image, on whole batches, on the device of the images.

Each option is called as `augment(images, generator)`: (B, C, H, W) grey levels 0..255 of any dtype to the same shape;
the same generator state gives the same result. Never a flip: a mirrored 2 is no 2.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import is_integer, is_number, require


class Identity:
    """No change."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images


class Shift:
    """Move each image by its own whole-pixel offset; uncovered pixels become background (0).

    max_px: largest offset per axis, pixels.
    """

    def __init__(self, max_px: int = 2):
        require(is_integer(max_px) and 0 <= max_px < 28, f"augment.max_px={max_px}: whole pixels, 0 to 27")
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
        require(
            is_number(rotate_deg) and 0 <= rotate_deg <= 45,
            f"augment.rotate_deg={rotate_deg}: 0 to 45; beyond, a 6 becomes a 9",
        )
        require(is_number(scale) and 0 <= scale < 1, f"augment.scale={scale}: 0 to below 1")
        require(is_number(shear_deg) and 0 <= shear_deg <= 45, f"augment.shear_deg={shear_deg}: 0 to 45")
        require(is_number(shift_px) and shift_px >= 0, f"augment.shift_px={shift_px}: 0 or more pixels")
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
        require(is_number(alpha_px) and alpha_px >= 0, f"augment.alpha_px={alpha_px}: 0 or more pixels")
        require(is_number(sigma_px) and sigma_px > 0, f"augment.sigma_px={sigma_px}: above 0 pixels")
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


class Stroke:
    """Thicken or thin the strokes of each image by its own amount and blur it, after an affine change: other pens.

    thicken_px, thin_px: most that a stroke's edge moves out or in, pixels, at most 1 and below 1. A thinned pixel keeps
    1 - thin_px of its grey level, so that no digit is ever erased.
    blur_px: largest standard deviation of the blur, pixels, at most 1. Draws are uniform and independent.
    rotate_deg, scale, shear_deg, shift_px: as for Affine; 0 leaves them out.
    """

    def __init__(self, thicken_px: float = 0.8, thin_px: float = 0.5, blur_px: float = 0.7, **affine: float):
        require(is_number(thicken_px) and 0 <= thicken_px <= 1, f"augment.thicken_px={thicken_px}: 0 to 1 pixels")
        require(
            is_number(thin_px) and 0 <= thin_px < 1,
            f"augment.thin_px={thin_px}: 0 to below 1 pixels; at 1, thin strokes are erased",
        )
        require(is_number(blur_px) and 0 <= blur_px <= 1, f"augment.blur_px={blur_px}: 0 to 1 pixels")
        self.thicken_px, self.thin_px, self.blur_px = thicken_px, thin_px, blur_px
        self.affine = Affine(**affine)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = self.affine(images, generator)
        draw = torch.rand(2, len(images), 1, 1, 1, generator=generator, device=images.device)
        change = draw[0] * (self.thicken_px + self.thin_px) - self.thin_px
        # A part of a step of grey dilation or erosion (Serra 1982) moves an edge by that part of a pixel.
        sign = torch.where(change < 0, -1.0, 1.0)
        images = images.lerp(_widest(images * sign) * sign, change.abs())
        # A part of a blur of variance 1 has that part as its variance.
        return images.lerp(_smooth(images), (draw[1] * self.blur_px).square())


def _widest(images: Tensor) -> Tensor:
    """The lightest of each pixel and its four neighbours; the square of eight thickens slanting strokes by 1.4."""
    # Slices take 1.1 ms for 512 images, max_pool2d takes 15.
    padded = F.pad(images, [1] * 4, value=-math.inf)
    high = padded[:, :, :-2, 1:-1].maximum(padded[:, :, 2:, 1:-1])
    return images.maximum(high).maximum(padded[:, :, 1:-1, :-2]).maximum(padded[:, :, 1:-1, 2:])


def _smooth(images: Tensor) -> Tensor:
    """Binomial blur of standard deviation 1 pixel; beyond the frame is background (0)."""
    rows, columns = (_band(side, images.device) for side in images.shape[2:])
    return rows @ images @ columns


def _band(side: int, device: torch.device) -> Tensor:
    place = torch.arange(side, device=device)
    weights = torch.tensor([6.0, 4, 1, 0], device=device) / 16
    return weights[(place - place.view(-1, 1)).abs().clamp(max=3)]


class Cutout:
    """Blank one square per image (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552), with background (0).

    size_px: side of the square, pixels; its centre is anywhere in the image, so that part of it may lie outside.
    """

    def __init__(self, size_px: int = 8):
        require(is_integer(size_px) and size_px >= 0, f"augment.size_px={size_px}: whole pixels, 0 or more")
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
