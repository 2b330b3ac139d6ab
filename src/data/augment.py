"""Label-preserving changes to digits, one draw per image, on whole batches, on the device of the images.

Each option is called as `augment(images, generator)`: (B, C, H, W) grey levels 0..255 of any dtype to the same shape;
the same generator state gives the same result. Never a flip: a mirrored 2 is no 2.
`fill` says what pixels get that nothing covers: background, which is 0 and right for digits; for photographs reflect,
their mirror image, or mean, the mean of the image, per channel.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import choice, fraction, integer, number

FILLS = ("background", "reflect", "mean")


class Identity:
    """No change."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images


class Shift:
    """Move each image by its own whole-pixel offset; uncovered pixels get `fill`.

    max_px: largest offset per axis, pixels.
    """

    def __init__(self, max_px: int = 2, fill: str = "background"):
        self.max_px = integer("augment.max_px", max_px, 0, 27, unit="pixels")
        self.fill = choice("augment.fill", fill, FILLS)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        offsets = torch.randint(2 * self.max_px + 1, (2, batch, 1), generator=generator, device=images.device)
        padded = F.pad(images, [self.max_px] * 4)
        rows = (offsets[0] + torch.arange(height, device=images.device)).view(batch, 1, height, 1)
        columns = (offsets[1] + torch.arange(width, device=images.device)).view(batch, 1, 1, width)
        each = torch.arange(batch, device=images.device).view(batch, 1, 1, 1)
        channel = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
        if self.fill == "background":
            return padded[each, channel, rows, columns]
        rows, columns = rows - self.max_px, columns - self.max_px
        moved = images[each, channel, _mirrored(rows, height), _mirrored(columns, width)]
        if self.fill == "reflect":
            return moved
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        return torch.where(outside, _mean(images).to(images.dtype), moved)


def _mirrored(index: Tensor, side: int) -> Tensor:
    """Positions outside 0..side-1 mirrored at the frame, as often as it takes."""
    index = index % (2 * side)
    return index.minimum(2 * side - 1 - index)


def _mean(images: Tensor) -> Tensor:
    """The mean grey level of each channel of each image, a whole number: (B, C, 1, 1)."""
    return images.float().mean((2, 3), keepdim=True).round()


def _sample(images: Tensor, grid: Tensor, fill: str) -> Tensor:
    """The images at the positions of `grid`, bilinearly; `fill` outside the frame."""
    images = images.float()
    if fill == "mean":
        level = _mean(images)
        return (F.grid_sample(images - level, grid, align_corners=False) + level).clamp(0, 255)
    mode = "reflection" if fill == "reflect" else "zeros"
    return F.grid_sample(images, grid, padding_mode=mode, align_corners=False)


class Affine:
    """Rotate, scale, shear and move each image about its centre, bilinearly; outside the frame is `fill`.

    rotate_deg, shear_deg: largest angle, degrees, at most 45: long before 90, a 6 becomes a 9.
    scale: largest relative change of size, per axis, below 1; shift_px: largest offset per axis, pixels.
    Draws are uniform and independent.
    """

    def __init__(
        self,
        rotate_deg: float = 12.0,
        scale: float = 0.12,
        shear_deg: float = 8.0,
        shift_px: float = 2.0,
        fill: str = "background",
    ):
        self.rotate = math.radians(number("augment.rotate_deg", rotate_deg, 0, 45))
        self.shear = math.radians(number("augment.shear_deg", shear_deg, 0, 45))
        self.scale = fraction("augment.scale", scale, one=False)
        self.shift_px = number("augment.shift_px", shift_px, 0, unit="pixels")
        self.fill = choice("augment.fill", fill, FILLS)

    def grid(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The input position of each output pixel, in the normalised coordinates of `grid_sample`: (B, H, W, 2)."""
        batch, _, height, width = images.shape
        draw = torch.rand(6, batch, generator=generator, device=images.device) * 2 - 1
        angle, shear = draw[0] * self.rotate, draw[1] * self.shear
        x_scale, y_scale = 1 + draw[2] * self.scale, 1 + draw[3] * self.scale
        cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
        matrix = torch.empty(batch, 2, 3, device=images.device)
        matrix[:, 0, 0], matrix[:, 0, 1] = cos / x_scale, (cos * tan - sin) / x_scale
        matrix[:, 1, 0], matrix[:, 1, 1] = sin / y_scale, (sin * tan + cos) / y_scale
        matrix[:, 0, 2], matrix[:, 1, 2] = draw[4] * 2 * self.shift_px / width, draw[5] * 2 * self.shift_px / height
        return F.affine_grid(matrix, list(images.shape), align_corners=False)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return _sample(images, self.grid(images, generator), self.fill)


class Elastic:
    """Elastic distortion (Simard et al. 2003): an affine change, then a smooth random displacement of each pixel.

    alpha_px: standard deviation of the displacement at the field's knots, pixels; sigma_px: distance between knots,
    pixels, above 0. rotate_deg, scale, shear_deg, shift_px: as for Affine; 0 turns them off. fill: as for Affine.
    """

    def __init__(self, alpha_px: float = 1.0, sigma_px: float = 4.0, **affine: Any):
        self.alpha_px = number("augment.alpha_px", alpha_px, 0, unit="pixels")
        self.sigma_px = number("augment.sigma_px", sigma_px, above=0, unit="pixels")
        self.affine = Affine(**affine)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        device = images.device
        grid = self.affine.grid(images, generator)
        # A coarse field, one knot per sigma, interpolated bicubically: as smooth as a Gaussian blur, ten times cheaper.
        knots = [max(2, round(side / self.sigma_px)) for side in (height, width)]
        field = torch.randn(batch, 2, *knots, generator=generator, device=device)
        field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
        pixel = torch.tensor([2 / width, 2 / height], device=device)
        grid = grid + field.permute(0, 2, 3, 1) * (self.alpha_px * pixel)
        return _sample(images, grid, self.affine.fill)


class Stroke:
    """Imitate other pens: an affine change, then thicker or thinner strokes and a blur, drawn for each image.

    thicken_px: largest outward move of a stroke's edge, pixels, at most 1; thin_px: largest inward move, below 1. A
    thinned pixel keeps 1 - thin_px of its grey level, so that no digit is ever erased.
    blur_px: largest standard deviation of the blur, pixels, at most 1. Draws are uniform and independent.
    rotate_deg, scale, shear_deg, shift_px: as for Affine; 0 turns them off. fill: as for Affine; with another than
    background, the blur takes no pixels from outside the frame.
    """

    def __init__(self, thicken_px: float = 0.8, thin_px: float = 0.5, blur_px: float = 0.7, **affine: Any):
        self.thicken_px = number("augment.thicken_px", thicken_px, 0, 1, unit="pixels")
        self.thin_px = number("augment.thin_px", thin_px, 0, below=1, unit="pixels")
        self.blur_px = number("augment.blur_px", blur_px, 0, 1, unit="pixels")
        self.affine = Affine(**affine)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = self.affine(images, generator)
        draw = torch.rand(2, len(images), 1, 1, 1, generator=generator, device=images.device)
        change = draw[0] * (self.thicken_px + self.thin_px) - self.thin_px
        # A fraction of a step of grey dilation or erosion (Serra 1982) moves an edge by that fraction of a pixel.
        sign = torch.where(change < 0, -1.0, 1.0)
        images = images.lerp(_dilate(images * sign) * sign, change.abs())
        # Mixing in a fraction of a blur of variance 1 gives a blur of that fraction as variance.
        blurred = _blur(images)
        if self.affine.fill != "background":
            blurred = blurred / _blur(torch.ones_like(images[:1, :1]))
        return images.lerp(blurred, (draw[1] * self.blur_px).square())


def _dilate(images: Tensor) -> Tensor:
    """Maximum of each pixel and its four neighbours; all eight would thicken slanting strokes 1.4 times as much."""
    # Slices take 1.1 ms for 512 images, max_pool2d 15 ms.
    padded = F.pad(images, [1] * 4, value=-math.inf)
    vertical = padded[:, :, :-2, 1:-1].maximum(padded[:, :, 2:, 1:-1])
    return images.maximum(vertical).maximum(padded[:, :, 1:-1, :-2]).maximum(padded[:, :, 1:-1, 2:])


def _blur(images: Tensor) -> Tensor:
    """Binomial blur of standard deviation 1 pixel; outside the frame is background (0)."""
    rows, columns = (_binomial_matrix(side, images.device) for side in images.shape[2:])
    return rows @ images @ columns


def _binomial_matrix(side: int, device: torch.device) -> Tensor:
    position = torch.arange(side, device=device)
    weights = torch.tensor([6.0, 4, 1, 0], device=device) / 16
    return weights[(position - position.view(-1, 1)).abs().clamp(max=3)]


class Cutout:
    """Blank one square per image (DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552), with `fill`.

    size_px: side of the square, pixels; its centre is anywhere in the image, so part of the square may lie outside.
    fill: background or mean; a square has no mirror image.
    """

    def __init__(self, size_px: int = 8, fill: str = "background"):
        self.size_px = integer("augment.size_px", size_px, 0, unit="pixels")
        self.fill = choice("augment.fill", fill, ("background", "mean"))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        device = images.device
        top = torch.randint(height, (batch, 1), generator=generator, device=device) - self.size_px // 2
        left = torch.randint(width, (batch, 1), generator=generator, device=device) - self.size_px // 2
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        in_rows = (rows >= top) & (rows < top + self.size_px)
        in_columns = (columns >= left) & (columns < left + self.size_px)
        hole = in_rows.view(batch, 1, height, 1) & in_columns.view(batch, 1, 1, width)
        if self.fill == "background":
            return images.masked_fill(hole, 0)
        return torch.where(hole, _mean(images).to(images.dtype), images)
