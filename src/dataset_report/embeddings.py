"""Images as points of a plane: t-SNE, and a map with thumbnails where there is room for them."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from src.dataset_report.figures import class_color
from src.dataset_report.image_grids import FONT_SIZE, WIDTH, resize_longer_side, spread_classes, to_float_rgb
from src.dataset_report.ink_measures import ink_maps
from src.plotting import class_labels, display_width, frame_image

TSNE_COMPONENTS = 50  # principal components that t-SNE reads
MIN_IMAGES = 8
THUMBNAIL, CANVAS = 30, 1200  # side of a thumbnail and of the whole map, pixels
NAME_LENGTH = 12  # longer class names hide thumbnails
DARKEN = 0.85  # of the class colour, for thin strokes on white


def tsne(components: Tensor, seed: int, threads: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of principal components (N, D): float (N, 2).

    Started from the first two components, which keeps the global structure (Kobak & Berens 2019). Trust neighbours;
    distances between groups mean nothing.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(components) - 1) / 3)
    with threadpool_limits(threads):
        model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=threads, max_iter=750)
        return model.fit_transform(components.numpy())


def scale_to_unit_square(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) scaled so that the 0.5 and 99.5 % percentiles of each axis become 0 and 1; others are clipped."""
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    return np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1)


def non_overlapping(points: np.ndarray, side: float) -> list[int]:
    """Rows of `points` (N, 2) whose squares of `side` do not overlap, chosen greedily in order."""
    rows, free, (x, y) = [], np.ones(len(points), bool), points.T
    for row in range(len(points)):
        if free[row]:
            rows.append(row)
            free &= (np.abs(x - x[row]) >= side) | (np.abs(y - y[row]) >= side)
    return rows


def knn_label_agreement(points: np.ndarray, labels: Tensor, k: int = 10) -> float:
    """Mean share of the k nearest points in the plane that have the same label; 0 < k < N."""
    flat = torch.from_numpy(np.ascontiguousarray(points)).float()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float((labels[distances.topk(k, largest=False).indices] == labels.unsqueeze(1)).float().mean())


def densest_point(points: np.ndarray, k: int = 15) -> np.ndarray:
    """The point (2,) of `points` (N, 2) with the smallest distance to its k-th nearest neighbour."""
    if len(points) < 3:
        return points[0]
    distances = torch.cdist(*[torch.from_numpy(np.ascontiguousarray(points))] * 2)
    kth = distances.kthvalue(min(k + 1, len(points)), dim=1).values
    return points[int(kth.argmin())]


def plot_thumbnails(
    points: np.ndarray, images: Tensor, labels: Tensor, class_names: Sequence[str], axis_names: Sequence[str]
) -> tuple[Figure, int]:
    """A map of `points` (N, 2), and the number of thumbnails that had room; other points are dots.

    images: uint8 (N, C, H, W). Ink of one channel is drawn in the class colour on white; coloured pictures get a frame
    in it. The name of a class stands where its points are densest; of many classes, only some are named.
    """
    square = scale_to_unit_square(points)
    corners = square * (CANVAS - THUMBNAIL)
    drawn = non_overlapping(corners, THUMBNAIL + 1)
    colors = np.array([class_color(label, len(class_names)) for label in range(len(class_names))], np.float32)
    point_colors = colors[labels.numpy()]
    names = class_labels(class_names, NAME_LENGTH)
    figure = Figure(figsize=(WIDTH, WIDTH + 0.25), layout="constrained")
    axes = figure.add_subplot()
    canvas = _paste(corners[drawn], _thumbnails(images[drawn], DARKEN * point_colors[drawn]))
    axes.imshow(canvas, extent=(0, 1, 0, 1), interpolation="antialiased")
    dots = np.setdiff1d(np.arange(len(points)), drawn)
    centers = (corners + THUMBNAIL / 2) / CANVAS
    axes.scatter(*centers[dots].T, s=4, c=point_colors[dots], alpha=0.45, linewidths=0)
    for label in spread_classes(labels.bincount(minlength=len(names)).tolist()):
        members = (labels == label).numpy()
        if members.any():
            point, large = densest_point(centers[members]), len(names) <= 12
            _write_name(axes, point, names[label], colors[label], large)
    axes.set_xlabel(axis_names[0], fontsize=FONT_SIZE)
    axes.set_ylabel(axis_names[1], fontsize=FONT_SIZE)
    frame_image(axes)
    return figure, len(drawn)


def _thumbnails(images: Tensor, colors: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in their colours (N, 3), the longer side 30 pixels: floats (N, h, w, 3) from 0 to 1."""
    small, colors = resize_longer_side(images, THUMBNAIL), colors[:, None, None]
    if images.shape[1] == 3:
        pictures = to_float_rgb(small)
        framed = np.broadcast_to(colors, pictures.shape).copy()
        framed[:, 2:-2, 2:-2] = pictures[:, 2:-2, 2:-2]
        return framed
    ink = ink_maps(small)
    alpha = (ink / ink.amax((1, 2), keepdim=True).clamp_min(1e-6)).numpy()[..., None]
    return 1 - alpha * (1 - colors)


def _paste(corners: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    canvas = np.ones((CANVAS, CANVAS, 3), np.float32)
    height, width = thumbnails.shape[1:3]
    for (x, y), thumbnail in zip(corners.astype(int), thumbnails, strict=True):
        top, left = CANVAS - THUMBNAIL - y + (THUMBNAIL - height) // 2, x + (THUMBNAIL - width) // 2
        canvas[top : top + height, left : left + width] = thumbnail
    return canvas


def _write_name(axes: Axes, point: np.ndarray, name: str, color: np.ndarray, large: bool) -> None:
    length = display_width(name)
    size = 15 if large and length < 3 else 9 if length < 5 else 7
    margin = [size * (0.34 * length + 0.7) / (72 * WIDTH), size * 1.2 / (72 * WIDTH)]  # shares of the map
    x, y = np.clip(point, margin, np.subtract(1, margin))
    dark = matplotlib.colors.to_hex(color * 0.6)
    text = axes.text(x, y, name, ha="center", va="center", weight="bold", color=dark, fontsize=size)
    text.set_bbox({"facecolor": "white", "alpha": 0.9, "edgecolor": dark, "boxstyle": "round,pad=0.2", "lw": 1})
