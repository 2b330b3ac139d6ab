"""Measures of strokes: amount of ink, position, size, slant, stroke width. Pure functions of whole batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.15  # share of an image's strongest ink: less is background, more than 1 - EDGE is full ink
MEASURES = {
    "mass": "ink, in pixels of full ink",
    "width": "width of the bounding box, px",
    "height": "height of the bounding box, px",
    "slant": "slant, degrees to the right",
    "stroke": "stroke width, px",
    "right": "centre of mass, px right of the middle",
    "down": "centre of mass, px below the middle",
}


def ink_maps(images: Tensor) -> Tensor:
    """Ink from 0 to 1, float32 (N, H, W), of grey levels (N, C, H, W): the difference from the border's median.

    Light ink on a dark background gives the same as dark ink on a light one. Channels are averaged first.
    """
    grey = images.float().mean(1) / 255
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)
    return (grey - border.median(1).values.view(-1, 1, 1)).abs()


def measure_ink(images: Tensor) -> dict[str, Tensor]:
    """The `MEASURES` of grey levels (N, C, H, W), each float32 (N,); NaN for an image without ink (or slant)."""
    chunks = [_measure(ink_maps(chunk)) for chunk in images.split(4096)]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in MEASURES}


def _measure(ink: Tensor) -> dict[str, Tensor]:
    height, width = ink.shape[1:]
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    mass, peak = ink.sum((1, 2)), ink.amax((1, 2))
    blank = peak < 2 / 255
    solid = ((ink / peak.clamp_min(1e-6).view(-1, 1, 1) - EDGE) / (1 - 2 * EDGE)).clamp(0, 1)
    weight = solid.sum((1, 2)).clamp_min(1e-6)
    middle_y, middle_x = solid.sum(2) @ rows / weight, solid.sum(1) @ columns / weight
    measures = {
        "mass": mass,
        "width": _extent(solid.amax(1) > 0),
        "height": _extent(solid.amax(2) > 0),
        "slant": slant_deg(solid, rows - middle_y.unsqueeze(1), columns - middle_x.unsqueeze(1)),
        "stroke": stroke_width_px(solid),
        "right": middle_x - (width - 1) / 2,
        "down": middle_y - (height - 1) / 2,
    }
    return {name: value if name == "mass" else value.masked_fill(blank, torch.nan) for name, value in measures.items()}


def _extent(mask: Tensor) -> Tensor:
    """Positions from the first to the last that is set in each row (N, L), both included: float32 (N,)."""
    mask = mask.int()
    return (mask.shape[1] - mask.argmax(1) - mask.flip(1).argmax(1)).float()


def slant_deg(ink: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Degrees by which the ink (N, H, W) leans to the right, from its second moments (LeCun et al. 1998): (N,).

    down (N, H), across (N, W): rows and columns relative to the centre of mass. NaN for ink of a single row.
    """
    mass = ink.sum((1, 2)).clamp_min(1e-6)
    variance = (ink.sum(2) * down.square()).sum(1) / mass
    covariance = ((ink @ across.unsqueeze(2)).squeeze(2) * down).sum(1) / mass
    shear = torch.where(variance > 1e-2, covariance / variance.clamp_min(1e-2), torch.nan)
    return -shear.atan().rad2deg()


def stroke_width_px(ink: Tensor) -> Tensor:
    """Width in pixels of the bar that has the same area A and perimeter P as the ink (N, H, W), 0 to 1: (N,).

    A bar of width w and length l has A = w l and P = 2 (w + l), solved for w; P is the total variation. Bars are within
    10 % in any direction, with hard or soft edges; rings are up to 10 % too wide; a filled shape rounder than a square
    gives P / 4.
    """
    padded = F.pad(ink, [1, 1, 1, 1])
    # The gradient between four pixels treats strokes that lean left and right alike.
    across = padded[:, :, 1:] - padded[:, :, :-1]
    down = padded[:, 1:] - padded[:, :-1]
    across, down = across[:, 1:] + across[:, :-1], down[:, :, 1:] + down[:, :, :-1]
    edge = (across.square() + down.square()).sqrt().sum((1, 2)) / 2
    root = (edge.square() / 4 - 4 * ink.sum((1, 2))).clamp_min(0).sqrt()
    return (edge / 2 - root) / 2
