"""Charts of a data set: class counts, mean images, levels, measures, components, distances."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from src.dataset_report.image_grids import FONT_SIZE, WIDTH, add_axes_at, to_float_rgb
from src.plotting import QUIET, RIGHT, WRONG, class_labels, display_width, frame_image, open_axes

# Ten colours that colour-blind readers can tell apart (Petroff 2021, https://arxiv.org/abs/2107.02270).
COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
BLUE = "#3b5b92"
SPLITS = {"train": RIGHT, "val": "#d9a441", "test": BLUE}
HATCHES = {"train": "", "val": "//", "test": ".."}
NAME_COLUMNS = 14  # of a class name under a chart
MOST_NAMES, MOST_LETTERS = 50, 70  # class names that have room under a chart: upright ones, and those of two letters


def class_color(label: int, classes: int) -> tuple[float, float, float]:
    """One of the ten colours for up to ten classes; for more, a step around the wheel that keeps neighbours apart."""
    if classes <= len(COLORS):
        return matplotlib.colors.to_rgb(COLORS[label])
    return tuple(matplotlib.colors.hsv_to_rgb((label * 0.381966 % 1, 0.75, 0.45 + 0.35 * (label % 3) / 2)))


def plot_class_counts(counts: dict[str, list[int]], class_names: Sequence[str]) -> Figure:
    """Images per class as stacked bars, one layer per split."""
    names = class_labels(class_names, NAME_COLUMNS)
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes, bottom = figure.add_subplot(), np.zeros(len(class_names))
    for split, values in counts.items():
        style = {"color": SPLITS[split], "hatch": HATCHES[split], "edgecolor": "white", "label": split}
        # Bars of many classes touch: their white edges would be all that is seen.
        style |= {"hatch": "", "edgecolor": "none"} if len(class_names) > MOST_LETTERS else {}
        axes.bar(range(len(class_names)), values, 0.8 if len(class_names) <= MOST_LETTERS else 1, bottom, **style)
        bottom += values
    _class_ticks(axes, names)
    axes.set_ylabel("images", fontsize=FONT_SIZE)
    _legend_above(axes, 3)
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    open_axes(axes, FONT_SIZE)
    return figure


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(frameon=False, ncols=columns, fontsize=FONT_SIZE, loc="lower center", bbox_to_anchor=(0.5, 1))


def _needs_rotation(names: Sequence[str]) -> bool:
    longest = max(map(display_width, names))
    return longest > 2 and longest * len(names) > 85 and len(names) <= MOST_NAMES


def _class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """The names of the classes, or their numbers, counted from 0, where there is no room for so many."""
    longest = max(map(display_width, names))
    axes.set_xlim(-0.6, len(names) - 0.4)
    if len(names) > (MOST_NAMES if longest > 2 else MOST_LETTERS):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlabel("class, by number", fontsize=FONT_SIZE)
        return
    crowded = len(names) > 30 and longest < 3
    axes.set_xticks(range(len(names)), names, fontsize=FONT_SIZE - 1.5 * crowded)
    if _needs_rotation(names):
        axes.tick_params(axis="x", rotation=90)


def plot_class_means(
    mean: Tensor, std: Tensor, class_names: Sequence[str], shown: Sequence[int] | None = None
) -> Figure:
    """Mean and sd image of the classes `shown`, None for all, of (K, C, H, W); deviations are means over channels."""
    shown = range(len(class_names)) if shown is None else shown
    columns = min(10, len(shown))
    width = min((WIDTH - 0.95) / columns, 1.1)
    height = width * mean.shape[2] / mean.shape[3]
    block = 2 * height + 0.34
    names = class_labels(class_names, max(3, int(12 * width)))
    figure = Figure(figsize=(columns * width + 0.95, math.ceil(len(shown) / columns) * block + 0.1))
    pictures, grey_std = to_float_rgb(mean), std.mean(1).numpy()
    colors = ScalarMappable(Normalize(0, max(1.0, float(grey_std.max()))), "viridis")
    for index, label in enumerate(shown):
        left, top = 0.1 + index % columns * width, index // columns * block + 0.24
        for row, picture in enumerate((pictures[label], colors.to_rgba(grey_std[label]))):
            axes = add_axes_at(figure, left, top + (row + 0.05) * height, 0.95 * width, 0.95 * height)
            axes.imshow(picture, aspect="auto")
            frame_image(axes)
            if row == 0:
                axes.set_title(names[label], fontsize=FONT_SIZE, pad=2)
    left = 0.16 + columns * width
    if mean.shape[1] == 1:
        grey = ScalarMappable(Normalize(0, 255), "gray")
        _colorbar(figure, grey, left, 0.24 + 0.1 * height, 0.85 * height, "mean").set_ticks([0, 255])
    _colorbar(figure, colors, left, 0.24 + 1.1 * height, 0.85 * height, "sd")
    return figure


def _colorbar(figure: Figure, colors: ScalarMappable, left: float, top: float, height: float, label: str):
    bar = figure.colorbar(colors, cax=add_axes_at(figure, left, top, 0.1, height))
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
    bar.set_label(label, fontsize=7, labelpad=1)
    bar.outline.set_visible(False)
    return bar


def plot_level_histogram(counts: Tensor) -> Figure:
    """Share of pixels by grey level, on a logarithmic axis. counts: (C, 256), a line per channel."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes, shares = figure.add_subplot(), counts.double() / counts.sum(1, keepdim=True)
    channels = [("grey", RIGHT, "-")]
    if len(counts) > 1:
        channels = [("red", WRONG, "-"), ("green", RIGHT, "--"), ("blue", BLUE, ":")]
    for share, (name, color, dashes) in zip(shares.clamp_min(1e-9).numpy(), channels, strict=True):
        axes.step(range(256), share, dashes, where="mid", color=color, label=name, lw=1.2)
        if len(counts) == 1:
            axes.fill_between(range(256), share, 1e-9, step="mid", color=color, alpha=0.25)
    axes.set_yscale("log")
    axes.set_ylim(max(1e-8, float(shares[shares > 0].min()) / 2), 1.5)
    axes.set_xlim(-2, 257)
    axes.set_xlabel(f"{'grey ' * (len(counts) == 1)}level, from 0 (dark) to 255 (bright)", fontsize=FONT_SIZE)
    axes.set_ylabel("share of all pixels", fontsize=FONT_SIZE)
    if len(counts) > 1:
        axes.legend(frameon=False, fontsize=FONT_SIZE)
    open_axes(axes, FONT_SIZE)
    return figure


def plot_distributions(statistics: dict[str, list[dict]], titles: dict[str, str], class_names: Sequence[str]) -> Figure:
    """A chart per measure: for each class a line from 5 to 95 %, thick from 25 to 75 %, with a dot at the median.

    statistics: measure -> `summary_statistics` of each class.
    """
    names = class_labels(class_names, NAME_COLUMNS)
    narrow = len(names) <= 12 and max(map(display_width, names)) * len(names) <= 40
    columns = 2 if narrow else 1
    rows = math.ceil(len(statistics) / columns)
    height = 1.75 if narrow else 2.6 if _needs_rotation(names) else 1.9
    thin = min(1.0, MOST_NAMES / len(names))
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    for index, (measure, by_class) in enumerate(statistics.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for label, values in enumerate(by_class):
            if values["n"]:
                color = class_color(label, len(class_names))
                axes.plot([label] * 2, [values["p5"], values["p95"]], "-", lw=thin, color=QUIET)
                axes.plot(
                    [label] * 2, [values["p25"], values["p75"]], "-", lw=5 * thin, color=color, solid_capstyle="butt"
                )
                axes.plot(label, values["median"], "o", ms=max(0.8, 3.5 * thin), color="black")
        axes.set_title(titles[measure], fontsize=FONT_SIZE, loc="left")
        _class_ticks(axes, names)
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        open_axes(axes, FONT_SIZE)
    return figure


def plot_components(components: Tensor, shares: Tensor) -> Figure:
    """The first principal components as images (K, h, w), and the variance that a number of components explains.

    shares: of the variance, for every component.
    """
    figure = Figure(figsize=(WIDTH, 2.1))
    columns = len(components) // 2
    for index, component in enumerate(components.numpy()):
        axes = figure.add_axes((0.005 + 0.1 * (index % columns), 0.5 - 0.5 * (index // columns), 0.095, 0.4))
        limit = max(float(np.abs(component).max()), 1e-9)
        axes.imshow(component, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
        axes.set_title(f"{100 * float(shares[index]):.1f} %", fontsize=FONT_SIZE - 1, pad=2)
        frame_image(axes)
    axes = figure.add_axes((0.67, 0.23, 0.315, 0.64))
    explained = torch.cat([torch.zeros(1), shares.cumsum(0)]).numpy() * 100
    axes.plot(range(len(explained)), explained, color=RIGHT, lw=1.5)
    for level, offset in ((90, -26), (99, -13)):
        count = int(np.argmax(explained >= level))
        axes.plot(count, explained[count], "o", ms=4, color=WRONG)
        right = count > len(shares) / 2
        style = {"textcoords": "offset points", "fontsize": FONT_SIZE, "ha": "right" if right else "left"}
        axes.annotate(f"{level} %: {count}", (count, explained[count]), (0 if right else 8, offset), **style)
    axes.set_xlabel("number of components", fontsize=FONT_SIZE)
    axes.set_title("explained variance, %", fontsize=FONT_SIZE, loc="left")
    axes.set_ylim(0, 103)
    open_axes(axes, FONT_SIZE)
    return figure


def plot_nearest_distances(groups: dict[str, np.ndarray], limit: float) -> Figure:
    """Histogram of distances to the nearest training image, in per cent of each group's images.

    limit: the distance within which two images are near-duplicates in any class.
    """
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes, top = figure.add_subplot(), max(float(values.max()) for values in groups.values() if len(values))
    edges = np.linspace(0, max(top, 0.2), 61)
    for (name, values), color, dashes in zip(groups.items(), (RIGHT, BLUE), ("-", "--"), strict=False):
        share = np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(100 * share, edges, linestyle=dashes, color=color, label=name, lw=1.5)
    axes.axvspan(0, limit, color=WRONG, alpha=0.15, lw=0)
    axes.text(limit, axes.get_ylim()[1], " near-duplicate\n in any class", va="top", fontsize=FONT_SIZE, color=WRONG)
    axes.set_xlabel("distance to the nearest training image, √(2 − 2 r)", fontsize=FONT_SIZE)
    axes.set_ylabel("% of images", fontsize=FONT_SIZE)
    axes.set_xlim(0, 1.01 * edges[-1])
    _legend_above(axes, 2)
    open_axes(axes, FONT_SIZE)
    return figure


def plot_normalized(images: Tensor, normalized: Tensor) -> Figure:
    """Images (N, C, H, W) above, the network's input, averaged over channels, below."""
    count = len(images)
    width = min(1.1, (WIDTH - 1.0) / count)
    height = width * images.shape[2] / images.shape[3]
    figure, limit = Figure(figsize=(width * count + 1.0, 2 * height + 0.15)), float(normalized.abs().max())
    rows = (
        ("grey level", images, ScalarMappable(Normalize(0, 255), "gray")),
        ("input", normalized, ScalarMappable(Normalize(-limit, limit), "PuOr_r")),
    )
    for row, (name, values, colors) in enumerate(rows):
        axes = add_axes_at(figure, 0.05, 0.05 + (row + 0.04) * height, width * count, 0.96 * height)
        if values is images and images.shape[1] == 3:
            axes.imshow(np.concatenate(to_float_rgb(values), 1), aspect="auto")
        else:
            strip = torch.cat(list(values.float().mean(1)), 1).numpy()
            axes.imshow(strip, aspect="auto", cmap=colors.cmap, norm=colors.norm)
            _colorbar(figure, colors, width * count + 0.13, 0.05 + (row + 0.1) * height, 0.85 * height, name)
        frame_image(axes)
    return figure
