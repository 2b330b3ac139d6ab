"""Small pictures in rows and columns, drawn for a dashboard that is fed while training waits.

matplotlib would take half a second for each; these take a few milliseconds.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE = 44  # pixels of a tile, about
GAP = 3
MARGIN = 6
RIGHT = (27, 127, 92)  # of src.evaluation.figures
INK, QUIET = (25, 25, 28), (110, 114, 122)
MOST = 64  # filters


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The letters that the other figures have."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)


@cache
def colours(name: str) -> np.ndarray:
    """A colour map of matplotlib's as uint8 (256, 3)."""
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def coloured(values: np.ndarray, name: str, low: float, high: float) -> np.ndarray:
    """Values (...) as colours uint8 (..., 3), the map's ends at `low` and `high`."""
    places = (values - low) * (255 / max(high - low, 1e-12))
    return colours(name)[np.nan_to_num(places).clip(0, 255).astype(np.uint8)]


def sized(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures (N, H, W, 3) at another size, by the nearest pixel."""
    rows = np.arange(height) * pictures.shape[1] // height
    columns = np.arange(width) * pictures.shape[2] // width
    return pictures[:, rows][:, :, columns]


def tile_size(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Whole multiples of a small picture, or a large one made smaller, near `side` pixels."""
    longer = max(height, width)
    if longer > 1.5 * side:
        return max(1, height * side // longer), max(1, width * side // longer)
    zoom = max(1, round(side / longer))
    return height * zoom, width * zoom


def board(tiles: list[list[np.ndarray]], title: str, notes: list[str], lefts: list[str] | None = None) -> np.ndarray:
    """Tiles (H, W, 3), all of one size, in rows, as one picture uint8 (H, W, 3).

    title: above all; notes: lines below it; lefts: a word before each row.
    """
    height, width = tiles[0][0].shape[:2]
    columns = max(map(len, tiles))
    indent = max((round(font(11).getlength(word)) + 6 for word in lefts or ()), default=0)
    above = MARGIN + 20 + 16 * len(notes) + 6
    texts = [(title, 13), *((note, 11) for note in notes)]
    wide = max(indent + columns * (width + GAP), *(round(font(size).getlength(text)) for text, size in texts))
    canvas = np.full((above + len(tiles) * (height + GAP) + MARGIN, wide + 2 * MARGIN, 3), 255, np.uint8)
    for row, some in enumerate(tiles):
        for column, tile in enumerate(some):
            top, left = above + row * (height + GAP), MARGIN + indent + column * (width + GAP)
            canvas[top : top + height, left : left + width] = tile
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, INK, font(13, bold=True))
    for line, note in enumerate(notes):
        draw.text((MARGIN, MARGIN + 20 + 16 * line), note, QUIET, font(11))
    for row, word in enumerate(lefts or ()):
        middle = above + row * (height + GAP) + height // 2
        draw.text((MARGIN + indent - 5, middle), word, QUIET, font(11), anchor="rm")
    return np.asarray(picture)


def to_grey_levels(images: Tensor) -> np.ndarray:
    """Raw grey levels uint8 (N, C, H, W) as (N, H, W, 3); of other than one or three channels the first."""
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1).cpu().numpy()


def filter_grid(weight: Tensor, shape: tuple[int, int, int], title: str) -> np.ndarray | None:
    """The kernels of a first layer, or the weights of a first linear layer as pictures of `shape`; None of another."""
    weight = weight.detach().float().cpu()
    if weight.ndim == 2 and weight.shape[1] == shape[0] * shape[1] * shape[2]:
        weight = weight.unflatten(1, shape)
    if weight.ndim != 4:
        return None
    count, (height, width) = len(weight), tile_size(*weight.shape[2:], SIDE if len(weight) > 16 else 48)
    weight, most = weight[:MOST], float(weight.abs().max())
    if weight.shape[1] == 3:
        values = (127.5 + weight.permute(0, 2, 3, 1).numpy() * (127.5 / max(most, 1e-12))).clip(0, 255)
        pictures, scale = values.astype(np.uint8), f"grey is 0; the channels' colours, to ±{most:.3g}"
    else:
        pictures = coloured(weight[:, 0].numpy(), "PuOr_r", -most, most)
        scale = f"violet -{most:.3g}, white 0, orange +{most:.3g}"
        scale += f"; the first of {weight.shape[1]} input channels" if weight.shape[1] > 1 else ""
    frame = ((0, 0), (1, 1), (1, 1), (0, 0))  # a filter's edge may be as white as what is around it
    pictures = np.pad(sized(pictures, height, width), frame, constant_values=150)
    columns = 6 if len(pictures) <= 16 else 8
    rows = [list(pictures[start : start + columns]) for start in range(0, len(pictures), columns)]
    shown = f"{len(pictures)} of {count} filters" if len(pictures) < count else f"{count} filters"
    return board(rows, title, [f"{shown}, {weight.shape[2]}x{weight.shape[3]}", scale])


def map_grid(images: Tensor, values: Tensor, title: str, units: int) -> np.ndarray:
    """A column per image: the raw image (N, C, H, W), and what each channel makes of it, (N, K, h, w); units: channels
    that there are."""
    values = values[: len(images)].float().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    height, width = tile_size(*values.shape[2:])
    flat = coloured(values.reshape(-1, *values.shape[2:]), "viridis", low, high)
    tiles = sized(flat, height, width).reshape(*values.shape[:2], height, width, 3)
    inputs = sized(to_grey_levels(images), height, width)
    rows = [list(inputs), *(list(tiles[:, channel]) for channel in range(tiles.shape[1]))]
    shown = values.shape[1]
    of = f"channels 0 to {shown - 1} of {units}" if shown < units else f"{units} channels"
    scale = f"{of}, {values.shape[2]}x{values.shape[3]}; dark {low:.3g}, bright {high:.3g}"
    return board(rows, title, [scale], ["image", *map(str, range(shown))])  # as wide as TensorBoard's cards


def confusion(counts: Tensor, class_names: tuple[str, ...], title: str) -> np.ndarray:
    """Counts (K, K) with true classes as rows; colour shows the share of a row that was mistaken for each class."""
    counts = counts.cpu()
    classes, few = len(counts), len(counts) <= 12
    side, small = (30, font(11)) if few else (22, font(8))  # ten classes fill one of TensorBoard's cards
    shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).fill_diagonal_(0).numpy()
    top = max(float(shares.max()), 1e-9)
    cells = coloured(shares, "Reds", 0, 1.25 * top)
    longest = max(round(small.getlength(name)) for name in class_names)
    left, above = MARGIN + 18 + longest + 8, MARGIN + 24
    upright = max(round(small.getlength(name)) for name in class_names) < side
    below = (14 if upright else longest + 4) + 22
    size = (left + classes * side + MARGIN, above + classes * side + below)
    picture = Image.new("RGB", (max(size[0], round(font(13, True).getlength(title)) + 2 * MARGIN), size[1]), "white")
    grid = sized(cells[None], classes * side, classes * side)[0]
    picture.paste(Image.fromarray(grid), (left, above))
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, INK, font(13, bold=True))
    for row, column in counts.nonzero().tolist():
        on_diagonal = row == column
        ink = RIGHT if on_diagonal else INK if shares[row, column] < 0.8 * top else (255, 255, 255)
        letters = font(10 if few else 8, bold=on_diagonal)
        middle = (left + column * side + side // 2, above + row * side + side // 2)
        draw.text(middle, f"{int(counts[row, column])}", ink, letters, anchor="mm")
    for place, name in enumerate(class_names):
        middle = place * side + side // 2
        draw.text((left - 5, above + middle), name, INK, small, anchor="rm")
        if upright:
            draw.text((left + middle, above + classes * side + 4), name, INK, small, anchor="mt")
        else:
            _sideways(picture, name, small, (left + middle, above + classes * side + 4))
    draw.text((left + classes * side // 2, size[1] - 4), "predicted", QUIET, font(11), anchor="ms")
    _sideways(picture, "true", font(11), (MARGIN + 7, above + classes * side // 2 - 12), QUIET)
    return np.asarray(picture)


def _sideways(picture: Image.Image, word: str, letters: ImageFont.FreeTypeFont, top, ink: tuple = INK) -> None:
    """A word from bottom to top, its upper end at `top`."""
    box = Image.new("RGB", (round(letters.getlength(word)) + 2, letters.size + 5), "white")
    ImageDraw.Draw(box).text((1, 1), word, ink, letters)
    box = box.rotate(90, expand=True)
    picture.paste(box, (top[0] - box.width // 2, top[1]))


def count_confusion(labels: Tensor, answers: Tensor, classes: int) -> Tensor:
    """Counts int64 (K, K), a row per true class."""
    return torch.bincount(labels * classes + answers, minlength=classes * classes).view(classes, classes)
