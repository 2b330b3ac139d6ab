"""Which measures describe a data set's images: those of strokes on an even background, or those of whole pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from src.dataset_report import appearance_measures, ink_measures

EVEN, SHARE = 6, 0.6  # levels by which this share of a border may differ from its median


@dataclass(frozen=True)
class MeasureSet:
    """Numbers that describe an image without a network."""

    title: str
    about: str
    function: Callable[[Tensor], dict[str, Tensor]]
    charts: Mapping[str, str]  # measure -> title of its chart
    columns: Mapping[str, str]  # measure -> head of its column in a table
    ranges: Mapping[str, str]  # measure -> its name in a sentence, for those whose extremes are named
    changes: tuple[str, ...]  # the measures that augmentations are described by
    blank: tuple[str, str]  # the measure that is NaN for an image without content, and what that is called


INK = MeasureSet(
    "Ink",
    "Ink is the difference from the background, which is the median of the image's border.",
    ink_measures.measure_ink,
    ink_measures.MEASURES,
    {
        "mass": "ink, px",
        "width": "width, px",
        "height": "height, px",
        "slant": "slant, °",
        "stroke": "stroke, px",
        "right": "right, px",
        "down": "below, px",
    },
    {"mass": "ink", "slant": "slant", "stroke": "stroke width"},
    ("mass", "slant", "stroke", "right"),
    ("stroke", "no ink"),
)
NAMES = {"brightness": "brightness", "contrast": "contrast", "colour": "colourfulness", "sharpness": "sharpness"}
APPEARANCE = MeasureSet(
    "Light and colour",
    "These pictures have no even background, so they are measured as wholes. Classes that differ here can be told "
    "apart by the light or the camera, which a network learns instead of what is shown.",
    appearance_measures.measure_appearance,
    appearance_measures.MEASURES,
    NAMES,
    NAMES,
    tuple(NAMES),
    ("sharpness", "one colour"),
)


def choose_measures(images: Tensor) -> MeasureSet:
    """INK where at least half of the images (N, C, H, W) have an even background, else APPEARANCE.

    Even: most of the border, `SHARE` of it, differs from its median by at most `EVEN` levels in every channel.
    """
    levels = images[:4096].float()
    border = torch.cat([levels[:, :, 0], levels[:, :, -1], levels[:, :, :, 0], levels[:, :, :, -1]], 2)
    deviation = (border - border.median(2, keepdim=True).values).abs().quantile(SHARE, 2).amax(1)
    return INK if 2 * int((deviation <= EVEN).sum()) >= len(levels) else APPEARANCE
