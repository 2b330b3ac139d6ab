"""Ink separated from its background: light on black, whatever it was drawn on."""

from dataclasses import dataclass

import numpy as np
import scipy  # which loads scipy.ndimage at its first use
from PIL import Image

from src.pictures.mnist_form import INK_THRESHOLD

# The background is drawn, not photographed, where this share of the border has exactly one grey level; unless more of
# the border's steps than SHADOW_SHARE are small, 1 to SHADOW_STEP levels, as in a shadow.
UNIFORM_SHARE = 0.4
SHADOW_SHARE, SHADOW_STEP = 0.15, 12
LOSSY_SHARE, LOSSY_LEVELS = 0.8, 6  # it is drawn, and stored lossily, where this share is this close to one level
ARTIFACT_THRESHOLD = 0.12  # share of the strongest ink below which it is an artifact of JPEG around edges
FAINT = 200  # ink whose strongest pixel is below this grey level is stretched
MIN_CONTRAST = 12  # grey levels between ink and a uniform background
HALVE_FROM = 640  # longer side above which a photograph is halved, which halves its noise too, pixels
COARSE_SIDE = 64  # shorter side at which the background of paper is estimated, pixels
# Ink on paper against its background: distance of the means in standard deviations, and in grey levels.
MIN_SEPARATION, MIN_PAPER_CONTRAST = 3.5, 18
EDGE_THRESHOLD = 0.3  # ink on paper ends at this share of its mean


@dataclass(frozen=True)
class ExtractedInk:
    """ink: uint8 (h, w), light on black, cropped to its bounding box; None for an empty picture.

    corner: left and top of the crop in the picture, pixels. scale: pixels of the picture per pixel of `ink`.
    inverted: whether the ink was darker than its background.
    """

    ink: np.ndarray | None
    corner: tuple[int, int]
    scale: int
    inverted: bool


def extract_ink(levels: np.ndarray, lossy: bool = False) -> ExtractedInk:
    """Find the background of a grey picture, uint8 (H, W), and the ink on it.

    The background is the most frequent grey level of the border; ink is whatever lies farther from it, above or below.
    Where the border is not uniform, the picture is a photograph of paper: the background is estimated around each
    pixel, over a third of the picture, so that shadows are removed, and Otsu's threshold separates ink from noise.
    Faint ink is stretched to white; light ink on plain black is left as it is. Without enough contrast there is no ink.
    lossy: the picture was stored as JPEG or WebP, which leaves artifacts around edges.
    """
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    artifacts = ARTIFACT_THRESHOLD if lossy else 0
    if (border == border[0]).all():
        return _extract_from_uniform(levels, int(border[0]), artifacts)
    counts = np.bincount(border, minlength=256)
    background = int(counts.argmax())
    steps = np.abs(np.diff(border.astype(np.int16)))
    shadow = np.count_nonzero((steps > 0) & (steps <= SHADOW_STEP)) > SHADOW_SHARE * len(border)
    if counts[background] >= UNIFORM_SHARE * len(border) and not shadow:
        return _extract_from_uniform(levels, background, artifacts)
    near = counts[max(0, background - LOSSY_LEVELS) : background + LOSSY_LEVELS + 1].sum()
    if near >= LOSSY_SHARE * len(border):
        return _extract_from_uniform(levels, int(np.median(border)), ARTIFACT_THRESHOLD)
    return _extract_from_paper(levels, float(np.median(border)))


def _extract_from_uniform(levels: np.ndarray, background: int, artifacts: float) -> ExtractedInk:
    low, high = int(levels.min()), int(levels.max())
    dark = background - low > high - background
    contrast = background - low if dark else high - background
    if contrast < MIN_CONTRAST:
        return ExtractedInk(None, (0, 0), 1, False)
    least = contrast * max(INK_THRESHOLD, artifacts)
    rows, columns = (
        np.flatnonzero(levels.min(axis) < background - least if dark else levels.max(axis) > background + least)
        for axis in (1, 0)
    )
    ink, level = levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.uint8(background)
    if low < background < high:  # levels on both sides of the background: one side is not ink
        ink = np.minimum(ink, level) if dark else np.maximum(ink, level)
    ink = level - ink if dark else ink - level
    if artifacts:
        ink = np.where(ink > artifacts * contrast, ink, np.uint8(0))
    if contrast < FAINT:
        ink = np.rint(ink * np.float32(255 / contrast)).astype(np.uint8)
    return ExtractedInk(ink, (int(columns[0]), int(rows[0])), 1, dark)


def _extract_from_paper(levels: np.ndarray, background: float) -> ExtractedInk:
    scale = 1
    if max(levels.shape) > HALVE_FROM:
        scale, levels = 2, np.asarray(Image.fromarray(levels).reduce(2))
    low, high = np.percentile(levels, (0.5, 99.5))
    dark = background - low > high - background
    light = 255 - levels if dark else levels
    difference = light - estimate_background(light)
    smooth = scipy.ndimage.uniform_filter(difference, 3) if min(levels.shape) >= 100 else difference
    mean_background, mean_ink, separation = _otsu(smooth)
    contrast = mean_ink - mean_background
    if separation < MIN_SEPARATION or contrast < MIN_PAPER_CONTRAST:
        return ExtractedInk(None, (0, 0), scale, False)
    mask = smooth > mean_background + EDGE_THRESHOLD * contrast
    ink = np.where(mask, (difference - mean_background) * (255 / contrast), 0).clip(0, 255).astype(np.uint8)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ExtractedInk(ink, (int(columns[0]) * scale, int(rows[0]) * scale), scale, bool(dark))


def estimate_background(light: np.ndarray) -> np.ndarray:
    """Estimate the background under light ink, uint8 (H, W) to float32, on a coarse copy, in which noise is averaged.

    A morphological opening removes what is narrower than a third of the shorter side; the result is smoothed.
    """
    height, width = light.shape
    coarse = Image.fromarray(light).reduce(max(1, min(height, width) // COARSE_SIDE))
    levels = np.asarray(coarse, np.float32)
    window = min(levels.shape) // 3 | 1
    opened = scipy.ndimage.maximum_filter(
        scipy.ndimage.minimum_filter(levels, window, mode="nearest"), window, mode="nearest"
    )
    opened = scipy.ndimage.uniform_filter(opened, window // 3 | 1, mode="nearest")
    return np.asarray(Image.fromarray(opened).resize((width, height), Image.Resampling.BILINEAR))


def _otsu(difference: np.ndarray) -> tuple[float, float, float]:
    """Means of the two classes of Otsu's threshold (1979), and their distance in standard deviations within classes."""
    counts = np.bincount(difference.clip(0, 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    levels = np.arange(256.0)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * levels).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / below, (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * np.square(means[0] - means[1]))
    threshold = int(between.argmax())
    if not between[threshold]:
        return 0.0, 0.0, 0.0
    lower, upper = float(means[0][threshold]), float(means[1][threshold])
    squares = np.square(levels - np.where(levels <= threshold, lower, upper))
    deviation = np.sqrt((counts * squares).sum() / below[-1])
    return lower, upper, (upper - lower) / max(float(deviation), 1e-9)
