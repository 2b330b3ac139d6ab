"""Grids of small images, drawn with Pillow while training waits: a few milliseconds each, matplotlib takes 500."""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from src.plotting import MANY_CLASSES, RIGHT, class_labels, font_file

TILE_PX, GAP_PX, MARGIN_PX = 44, 3, 6
MAX_FILTERS = 64
MATRIX_PX = 400  # side of the confusion matrix of many classes
TEXT_COLOR, NOTE_COLOR = (25, 25, 28), (110, 114, 122)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the matplotlib figures."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)


@cache
def name_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that has the characters of a class name."""
    return font(size) if name.isascii() else ImageFont.truetype(font_file(name), size)


@cache
def colormap_table(name: str) -> np.ndarray:
    """A colormap of matplotlib as uint8 (256, 3)."""
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def apply_colormap(values: np.ndarray, name: str, low: float, high: float) -> np.ndarray:
    """Values (...) as colors uint8 (..., 3); the colormap spans `low` to `high`."""
    indices = (values - low) * (255 / max(high - low, 1e-12))
    return colormap_table(name)[np.nan_to_num(indices).clip(0, 255).astype(np.uint8)]


def resize_nearest(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize images (N, H, W, 3) by the nearest pixel."""
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    return images[:, rows][:, :, columns]


def tile_size(height: int, width: int, side: int = TILE_PX) -> tuple[int, int]:
    """A tile of about `side` pixels: a small image enlarged by a whole factor, or a large one reduced."""
    longer = max(height, width)
    if longer > 1.5 * side:
        return max(1, height * side // longer), max(1, width * side // longer)
    zoom = max(1, round(side / longer))
    return height * zoom, width * zoom


def tile_grid(
    tiles: np.ndarray, columns: int, title: str, notes: list[str], row_labels: Collection[str] = ()
) -> np.ndarray:
    """Tiles uint8 (N, H, W, 3) in rows, as one image uint8 (H, W, 3) with a title and lines of notes above."""
    rows, pitch = -(-len(tiles) // columns), tiles.shape[1] + GAP_PX
    padding = ((0, rows * columns - len(tiles)), (0, GAP_PX), (0, GAP_PX), (0, 0))
    tiles = np.pad(tiles, padding, constant_values=255).reshape(rows, columns, pitch, -1, 3)
    grid = tiles.swapaxes(1, 2).reshape(rows * pitch, -1, 3)
    indent = max((round(font(11).getlength(word)) + 6 for word in row_labels), default=0)
    above = MARGIN_PX + 20 + 16 * len(notes) + 6
    texts = [(title, 13), *((note, 11) for note in notes)]
    wide = max(indent + grid.shape[1], *(round(font(size).getlength(text)) for text, size in texts))
    picture = Image.new("RGB", (wide + 2 * MARGIN_PX, above + len(grid) + MARGIN_PX), "white")
    picture.paste(Image.fromarray(grid), (MARGIN_PX + indent, above))
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN_PX, MARGIN_PX), title, TEXT_COLOR, font(13, bold=True))
    for line, note in enumerate(notes):
        draw.text((MARGIN_PX, MARGIN_PX + 20 + 16 * line), note, NOTE_COLOR, font(11))
    for row, word in enumerate(row_labels):
        middle = above + row * pitch + (pitch - GAP_PX) // 2
        draw.text((MARGIN_PX + indent - 5, middle), word, NOTE_COLOR, font(11), anchor="rm")
    return np.asarray(picture)


def to_rgb(images: Tensor) -> np.ndarray:
    """Grey levels uint8 (N, C, H, W) as (N, H, W, 3): three channels as color, else the first channel as grey."""
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1).cpu().numpy()


def filter_grid(weight: Tensor, shape: tuple[int, int, int], title: str) -> np.ndarray | None:
    """Kernels of a convolution, or weights of a linear layer as images of `shape` (C, H, W), if it reads pixels."""
    weight = weight.detach().float().cpu()
    if weight.ndim == 2 and weight.shape[1] == shape[0] * shape[1] * shape[2]:
        weight = weight.unflatten(1, shape)
    if weight.ndim != 4:
        return None
    count, (height, width) = len(weight), tile_size(*weight.shape[2:], TILE_PX if len(weight) > 16 else 48)
    weight, limit = weight[:MAX_FILTERS], float(weight.abs().max())
    if weight.shape[1] == 3:
        values = (127.5 + weight.permute(0, 2, 3, 1).numpy() * (127.5 / max(limit, 1e-12))).clip(0, 255)
        tiles, scale = values.astype(np.uint8), f"color by channel: grey 0, full ±{limit:.3g}"
    else:
        tiles = apply_colormap(weight[:, 0].numpy(), "PuOr_r", -limit, limit)
        scale = f"purple -{limit:.3g}, white 0, orange +{limit:.3g}"
        scale += f"; the first of {weight.shape[1]} input channels" if weight.shape[1] > 1 else ""
    frame = ((0, 0), (1, 1), (1, 1), (0, 0))  # a filter's edge may be white, as the background is
    tiles = np.pad(resize_nearest(tiles, height, width), frame, constant_values=150)
    columns = min(len(tiles), 6 if len(tiles) <= 16 else 8)
    shown = f"{len(tiles)} of {count} filters" if len(tiles) < count else f"{count} filters"
    return tile_grid(tiles, columns, title, [f"{shown}, {weight.shape[2]}x{weight.shape[3]}", scale])


def map_grid(images: Tensor, values: Tensor, title: str, units: int) -> np.ndarray:
    """A column per image: the raw image (N, C, H, W) and its maps (N, K, h, w), of K of the `units` channels."""
    values = values[: len(images)].float().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    height, width = tile_size(*values.shape[2:])
    maps = apply_colormap(values.swapaxes(0, 1).reshape(-1, *values.shape[2:]), "viridis", low, high)
    tiles = np.concatenate([resize_nearest(pixels, height, width) for pixels in (to_rgb(images), maps)])
    shown = values.shape[1]
    of = f"channels 0 to {shown - 1} of {units}" if shown < units else f"{units} channels"
    scale = f"{of}, {values.shape[2]}x{values.shape[3]}; dark {low:.3g}, bright {high:.3g}"
    return tile_grid(tiles, len(images), title, [scale], ["image", *map(str, range(shown))])


def confusion_image(counts: Tensor, class_names: tuple[str, ...], title: str) -> np.ndarray:
    """Counts (K, K), a row per true class; the color is the fraction of the row mistaken for each other class.

    More than MANY_CLASSES classes have neither names nor counts.
    """
    counts = counts.cpu()
    classes, few = len(counts), len(counts) <= 12
    side, text_size = (30, 11) if few else (22, 8)  # ten classes fill a card of TensorBoard
    fractions = (counts / counts.sum(1, keepdim=True).clamp_min(1)).fill_diagonal_(0)
    shares = fractions.numpy()
    top = max(float(shares.max()), 1e-9)
    if classes > MANY_CLASSES:
        note = f"{classes:,} classes by number; top to bottom: true, left to right: predicted"
        return _large_matrix(fractions, title, [note, f"dark red: {100 * top:.0f} % of the true class"])
    cells = apply_colormap(shares, "Reds", 0, 1.25 * top)
    names = class_labels(class_names, 16, formulas=False)
    fonts = [name_font(name, text_size) for name in names]
    longest = max(round(letters.getlength(name)) for name, letters in zip(names, fonts, strict=True))
    left, above = MARGIN_PX + 18 + longest + 8, MARGIN_PX + 24
    upright = longest < side
    below = (14 if upright else longest + 4) + 22
    size = (left + classes * side + MARGIN_PX, above + classes * side + below)
    picture = Image.new("RGB", (max(size[0], round(font(13, True).getlength(title)) + 2 * MARGIN_PX), size[1]), "white")
    grid = resize_nearest(cells[None], classes * side, classes * side)[0]
    picture.paste(Image.fromarray(grid), (left, above))
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN_PX, MARGIN_PX), title, TEXT_COLOR, font(13, bold=True))
    for row, column in counts.nonzero().tolist():
        on_diagonal = row == column
        ink = RIGHT if on_diagonal else TEXT_COLOR if shares[row, column] < 0.8 * top else (255, 255, 255)
        letters = font(10 if few else 8, bold=on_diagonal)
        middle = (left + column * side + side // 2, above + row * side + side // 2)
        draw.text(middle, f"{int(counts[row, column])}", ink, letters, anchor="mm")
    for index, (name, small) in enumerate(zip(names, fonts, strict=True)):
        middle = index * side + side // 2
        draw.text((left - 5, above + middle), name, TEXT_COLOR, small, anchor="rm")
        if upright:
            draw.text((left + middle, above + classes * side + 4), name, TEXT_COLOR, small, anchor="mt")
        else:
            _draw_vertical(picture, name, small, (left + middle, above + classes * side + 4))
    draw.text((left + classes * side // 2, size[1] - 4), "predicted", NOTE_COLOR, font(11), anchor="ms")
    _draw_vertical(picture, "true", font(11), (MARGIN_PX + 7, above + classes * side // 2 - 12), NOTE_COLOR)
    return np.asarray(picture)


def _large_matrix(shares: Tensor, title: str, notes: list[str]) -> np.ndarray:
    """Shares (K, K) as one tile of about MATRIX_PX pixels; of many classes each pixel is the largest of its block."""
    step = -(-len(shares) // MATRIX_PX)
    blocks = F.max_pool2d(shares[None], step, ceil_mode=True).numpy()
    cells = apply_colormap(blocks, "Reds", 0, max(float(blocks.max()), 1e-9))
    side = len(cells[0]) * max(1, round(MATRIX_PX / len(cells[0])))
    framed = np.pad(resize_nearest(cells, side, side), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=150)
    return tile_grid(framed, 1, title, notes)


def _draw_vertical(
    image: Image.Image, text: str, letters: ImageFont.FreeTypeFont, top: tuple[int, int], color=TEXT_COLOR
) -> None:
    box = Image.new("RGB", (round(letters.getlength(text)) + 2, letters.size + 5), "white")
    ImageDraw.Draw(box).text((1, 1), text, color, letters)
    box = box.rotate(90, expand=True)
    image.paste(box, (top[0] - box.width // 2, top[1]))
