"""Measures of whole pictures: brightness, contrast, colourfulness, sharpness. Pure functions of whole batches."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
MEASURES = {
    "brightness": "brightness: mean level, of 255",
    "contrast": "contrast: sd of the levels",
    "colour": "colourfulness, 0 for greys",
    "sharpness": "sharpness: sd of the Laplacian",
}
CHUNK = 1024  # images
FLAT = 0.5  # levels of contrast; less is a picture of one colour


def measure_appearance(images: Tensor) -> dict[str, Tensor]:
    """The `MEASURES` of levels (N, C, H, W), C of 1 or 3, each float32 (N,), in levels of 0 to 255.

    Colourfulness is M3 of Hasler and Süsstrunk (2003), from some 15 (slightly) to 109 (extremely colourful); sharpness
    after Pech-Pacheco et al. (2000), which is lower in blurred pictures, and NaN in pictures of one colour.
    """
    chunks = [_measure(chunk.float()) for chunk in images.split(CHUNK)]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in MEASURES}


def _measure(levels: Tensor) -> dict[str, Tensor]:
    luma = (levels * torch.tensor(LUMA).view(3, 1, 1)).sum(1) if levels.shape[1] == 3 else levels.mean(1)
    contrast = luma.std((1, 2), correction=0)
    sharpness = _laplacian(luma).std((1, 2), correction=0)
    return {
        "brightness": luma.mean((1, 2)),
        "contrast": contrast,
        "colour": _colourfulness(levels),
        "sharpness": sharpness.masked_fill(contrast < FLAT, torch.nan),
    }


def _laplacian(luma: Tensor) -> Tensor:
    """The second difference of (N, H, W), rows and columns beyond the edge repeating it."""
    padded = torch.nn.functional.pad(luma.unsqueeze(1), [1, 1, 1, 1], "replicate").squeeze(1)
    around = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    return around - 4 * luma


def _colourfulness(levels: Tensor) -> Tensor:
    if levels.shape[1] != 3:
        return levels.new_zeros(len(levels))
    red, green, blue = levels.flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    return opponents.std(2, correction=0).norm(dim=0) + 0.3 * opponents.mean(2).norm(dim=0)
