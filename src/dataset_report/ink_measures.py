"""How each image is written: how much ink, where, how thick, how it leans. Pure functions of whole batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.15  # of an image's darkest ink: below is ground, above 1 - EDGE full ink
MEASURES = {
    "mass": "ink, pixels of full ink",
    "width": "width of the box around it, px",
    "height": "height of the box around it, px",
    "slant": "slant, degrees to the right",
    "stroke": "stroke width, px",
    "right": "centre of mass, px right of the middle",
    "down": "centre of mass, px below the middle",
}


def ink_of(images: Tensor) -> Tensor:
    """Ink from 0 to 1, float32 (N, H, W), of uint8 (N, C, H, W): difference from the ground, the border's median.

    So light ink on dark ground and dark ink on light give the same. Colours are averaged first.
    """
    grey = images.float().mean(1) / 255
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)
    return (grey - border.median(1).values.view(-1, 1, 1)).abs()


def strokes(images: Tensor) -> dict[str, Tensor]:
    """The `MEASURES` of uint8 (N, C, H, W), each float32 (N,); NaN where an image has no ink (or no slant)."""
    parts = [_measure(ink_of(some)) for some in images.split(4096)]
    return {name: torch.cat([part[name] for part in parts]) for name in MEASURES}


def _measure(ink: Tensor) -> dict[str, Tensor]:
    height, width = ink.shape[1:]
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    mass, peak = ink.sum((1, 2)), ink.amax((1, 2))
    empty = peak < 2 / 255
    solid = ((ink / peak.clamp_min(1e-6).view(-1, 1, 1) - EDGE) / (1 - 2 * EDGE)).clamp(0, 1)
    weight = solid.sum((1, 2)).clamp_min(1e-6)
    middle_y, middle_x = solid.sum(2) @ rows / weight, solid.sum(1) @ columns / weight
    measures = {
        "mass": mass,
        "width": _span(solid.amax(1) > 0),
        "height": _span(solid.amax(2) > 0),
        "slant": slant(solid, rows - middle_y.unsqueeze(1), columns - middle_x.unsqueeze(1)),
        "stroke": stroke_width(solid),
        "right": middle_x - (width - 1) / 2,
        "down": middle_y - (height - 1) / 2,
    }
    return {name: value if name == "mass" else value.masked_fill(empty, torch.nan) for name, value in measures.items()}


def _span(marks: Tensor) -> Tensor:
    """Places from the first to the last that is marked, both included: float32 (N,)."""
    marks = marks.int()
    return (marks.shape[1] - marks.argmax(1) - marks.flip(1).argmax(1)).float()


def slant(ink: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Degrees by which the ink (N, H, W) leans to the right of upright, from its second moments (LeCun et al. 1998).

    down (N, H), across (N, W): rows and columns about the centre of mass. NaN for ink of a single row.
    """
    mass = ink.sum((1, 2)).clamp_min(1e-6)
    variance = (ink.sum(2) * down.square()).sum(1) / mass
    covariance = ((ink @ across.unsqueeze(2)).squeeze(2) * down).sum(1) / mass
    lean = torch.where(variance > 1e-2, covariance / variance.clamp_min(1e-2), torch.nan)
    return -lean.atan().rad2deg()


def stroke_width(ink: Tensor) -> Tensor:
    """Width of a stroke with the same area A and the same length of edge P as the ink (N, H, W) from 0 to 1, pixels.

    A bar of width w and length l has A = w l and P = 2 (w + l), solved for w; P is the total variation. Within a tenth
    for bars in any direction, with hard edges or soft; up to a tenth too large for rings; for a filled shape rounder
    than a square it is P / 4.
    """
    padded = F.pad(ink, [1, 1, 1, 1])
    # The gradient between four pixels, the same for strokes that lean left and right.
    across = padded[:, :, 1:] - padded[:, :, :-1]
    down = padded[:, 1:] - padded[:, :-1]
    across, down = across[:, 1:] + across[:, :-1], down[:, :, 1:] + down[:, :, :-1]
    edge = (across.square() + down.square()).sqrt().sum((1, 2)) / 2
    root = (edge.square() / 4 - 4 * ink.sum((1, 2))).clamp_min(0).sqrt()
    return (edge / 2 - root) / 2
