"""Ink lifted off its ground: light on black, whatever the paper was."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

FLAT = 0.4  # share of the border that is of exactly one grey where a picture was drawn and not photographed
SOFT, SOFT_LEVELS = 0.15, 12  # where more of the border's steps than this are this small, it is a shadow's
NEAR, NEAR_LEVELS = 0.8, 6  # share of the border that lies this close to one grey where a drawing was stored with loss
TRACES = 0.12  # ink fainter than this share of the strongest is what JPEG leaves around edges
FAINT = 200  # ink whose strongest pixel is below this grey level is made stronger
LEAST = 12  # ink that differs less than this from its ground is none, grey levels
INK = 0.05  # as `src.pictures.mnist_form`: a box ends where ink is fainter than this share of the strongest
LARGE = 640  # side from which on a photograph is halved, which takes half its noise, pixels
COARSE = 64  # side at which paper is looked at, pixels
CLEAR, CONTRAST = 3.5, 18  # of ink on paper against its ground: means apart in deviations, and in grey levels
EDGE = 0.3  # ink on paper ends at this share of its mean


@dataclass(frozen=True)
class ExtractedInk:
    """ink: uint8 (h, w), light on black, cropped to what there is; None for an empty picture.

    corner: left and top of the crop in the picture, pixels. scale: pixels of the picture per pixel of `ink`.
    inverted: whether the ink was darker than its ground.
    """

    ink: np.ndarray | None
    corner: tuple[int, int]
    scale: int
    inverted: bool


def extract_ink(grey: np.ndarray, lossy: bool = False) -> ExtractedInk:
    """Find the ground of a grey picture, uint8 (H, W), and what is written on it.

    The ground is what most of the border has. Ink lies farther from it, above or below. Where the border is not of one
    grey, it is paper: its own grey is estimated around each pixel, over a third of the picture, so that a shadow goes
    with it, and noise is told from ink by Otsu's threshold. Faint ink is stretched to white; light ink on plain black
    stays as it is. Where nothing stands out there is no ink.
    lossy: the picture was stored as JPEG or WebP, which leaves traces around edges.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    cut = TRACES if lossy else 0
    if (border == border[0]).all():
        return _from_flat(grey, int(border[0]), cut)
    counts = np.bincount(border, minlength=256)
    ground = int(counts.argmax())
    steps = np.abs(np.diff(border.astype(np.int16)))
    soft = np.count_nonzero((steps > 0) & (steps <= SOFT_LEVELS)) > SOFT * len(border)
    if counts[ground] >= FLAT * len(border) and not soft:
        return _from_flat(grey, ground, cut)
    near = counts[max(0, ground - NEAR_LEVELS) : ground + NEAR_LEVELS + 1].sum()
    if near >= NEAR * len(border):
        return _from_flat(grey, int(np.median(border)), TRACES)
    return _from_paper(grey, float(np.median(border)))


def _from_flat(grey: np.ndarray, ground: int, cut: float) -> ExtractedInk:
    low, high = int(grey.min()), int(grey.max())
    dark = ground - low > high - ground
    top = ground - low if dark else high - ground
    if top < LEAST:
        return ExtractedInk(None, (0, 0), 1, False)
    least = top * max(INK, cut)
    marks = (grey.min(axis) < ground - least if dark else grey.max(axis) > ground + least for axis in (1, 0))
    rows, columns = (np.flatnonzero(line) for line in marks)
    ink, level = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.uint8(ground)
    if low < ground < high:  # both sides of the ground: one is no ink
        ink = np.minimum(ink, level) if dark else np.maximum(ink, level)
    ink = level - ink if dark else ink - level
    if cut:
        ink = np.where(ink > cut * top, ink, np.uint8(0))
    if top < FAINT:
        ink = np.rint(ink * np.float32(255 / top)).astype(np.uint8)
    return ExtractedInk(ink, (int(columns[0]), int(rows[0])), 1, dark)


def _from_paper(grey: np.ndarray, ground: float) -> ExtractedInk:
    scale = 1
    if max(grey.shape) > LARGE:
        scale, grey = 2, np.asarray(Image.fromarray(grey).reduce(2))
    low, high = np.percentile(grey, (0.5, 99.5))
    dark = ground - low > high - ground
    light = 255 - grey if dark else grey
    risen = light - estimate_background(light)
    calm = ndimage.uniform_filter(risen, 3) if min(grey.shape) >= 100 else risen
    mean_ground, mean_ink, apart = _otsu(calm)
    contrast = mean_ink - mean_ground
    if apart < CLEAR or contrast < CONTRAST:
        return ExtractedInk(None, (0, 0), scale, False)
    seen = calm > mean_ground + EDGE * contrast
    ink = np.where(seen, (risen - mean_ground) * (255 / contrast), 0).clip(0, 255).astype(np.uint8)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ExtractedInk(ink, (int(columns[0]) * scale, int(rows[0]) * scale), scale, bool(dark))


def estimate_background(light: np.ndarray) -> np.ndarray:
    """The ground under light ink, uint8 (H, W) to float32: what is narrower than a third of the shorter side taken away
    (a morphological opening), then smoothed; all in a coarse copy, in which noise is averaged."""
    height, width = light.shape
    coarse = Image.fromarray(light).reduce(max(1, min(height, width) // COARSE))
    levels = np.asarray(coarse, np.float32)
    window = min(levels.shape) // 3 | 1
    opened = ndimage.maximum_filter(ndimage.minimum_filter(levels, window, mode="nearest"), window, mode="nearest")
    opened = ndimage.uniform_filter(opened, window // 3 | 1, mode="nearest")
    return np.asarray(Image.fromarray(opened).resize((width, height), Image.Resampling.BILINEAR))


def _otsu(risen: np.ndarray) -> tuple[float, float, float]:
    """Means of the two classes that Otsu's threshold (1979) parts, and how many deviations of theirs they are apart."""
    counts = np.bincount(risen.clip(0, 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    levels = np.arange(256.0)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * levels).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / below, (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * np.square(means[0] - means[1]))
    place = int(between.argmax())
    if not between[place]:
        return 0.0, 0.0, 0.0
    lower, upper = float(means[0][place]), float(means[1][place])
    spread = np.square(levels - np.where(levels <= place, lower, upper))
    deviation = np.sqrt((counts * spread).sum() / below[-1])
    return lower, upper, (upper - lower) / max(float(deviation), 1e-9)
