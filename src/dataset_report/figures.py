"""Pictures of a data set's numbers: counts, averages, grey levels, ink, components."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from src.dataset_report.image_grids import FRAME, SMALL, WIDE, shorten
from src.plotting import QUIET, RIGHT, WRONG

# Ten colours that colour-blind readers tell apart (Petroff 2021, https://arxiv.org/abs/2107.02270).
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
SPLITS = {"train": RIGHT, "val": "#d9a441", "test": "#3b5b92"}
HATCHES = {"train": "", "val": "//", "test": ".."}


def colour_of(label: int, classes: int) -> tuple[float, float, float]:
    """Of up to ten classes the ten colours; of more, steps around a wheel, in an order that keeps neighbours apart."""
    if classes <= len(COLOURS):
        return matplotlib.colors.to_rgb(COLOURS[label])
    return tuple(matplotlib.colors.hsv_to_rgb((label * 0.381966 % 1, 0.75, 0.45 + 0.35 * (label % 3) / 2)))


def _bare(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)


def counts(numbers: dict[str, list[int]], class_names: Sequence[str]) -> Figure:
    """Images per class and split as bars, one above the other."""
    classes = len(class_names)
    figure = Figure(figsize=(WIDE, 3.0), layout="constrained")
    axes, below = figure.add_subplot(), np.zeros(classes)
    for name, values in numbers.items():
        axes.bar(
            range(classes), values, 0.8, below, color=SPLITS[name], hatch=HATCHES[name], edgecolor="white", label=name
        )
        below += values
    _class_ticks(axes, class_names)
    axes.set_ylabel("images", fontsize=SMALL)
    axes.legend(frameon=False, ncols=3, fontsize=SMALL, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _bare(axes)
    return figure


def _upright(class_names: Sequence[str]) -> bool:
    """Whether the names have no room beside one another."""
    longest = max(len(shorten(name)) for name in class_names)
    return longest > 2 and longest * len(class_names) > 85


def _class_ticks(axes, class_names: Sequence[str], size: float = SMALL) -> None:
    names = [shorten(name) for name in class_names]
    longest = max(map(len, names))
    crowded = len(names) > 30 and longest < 3
    axes.set_xticks(range(len(names)), names, fontsize=size - 1.5 * crowded)
    if _upright(class_names):
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlim(-0.6, len(names) - 0.4)


def average_images(mean: Tensor, spread: Tensor, class_names: Sequence[str]) -> Figure:
    """Mean and spread image per class; the spread over channels is their mean."""
    classes = len(class_names)
    columns = min(10, classes)
    blocks = math.ceil(classes / columns)
    cell = (WIDE - 0.95) / columns
    cell = min(cell, 1.1)
    high = cell * mean.shape[2] / mean.shape[3]
    total = (columns * cell + 0.95, blocks * (2 * high + 0.34) + 0.1)
    figure = Figure(figsize=total)
    top_spread = max(1.0, float(spread.mean(1).max()))
    drawn = {}
    for label in range(classes):
        left = 0.1 + label % columns * cell
        top = total[1] - (label // columns) * (2 * high + 0.34) - 0.24
        for row, kind in enumerate(("mean", "sd")):
            box = (left / total[0], (top - (row + 1) * high) / total[1], 0.95 * cell / total[0], 0.95 * high / total[1])
            axes = figure.add_axes(box)
            if kind == "mean":
                picture = mean[label].permute(1, 2, 0).div(255).clamp(0, 1).numpy()
                drawn[kind] = axes.imshow(
                    picture[..., 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=1, aspect="auto"
                )
                axes.set_title(shorten(class_names[label], max(3, 60 // columns)), fontsize=SMALL, pad=2)
            else:
                drawn[kind] = axes.imshow(
                    spread[label].mean(0).numpy(), cmap="viridis", vmin=0, vmax=top_spread, aspect="auto"
                )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set(color=FRAME["edgecolor"], linewidth=FRAME["linewidth"])
    top = total[1] - 0.24
    for row, (kind, text) in enumerate((("mean", "mean"), ("sd", "sd"))):
        if kind == "mean" and mean.shape[1] == 3:
            continue
        left = 0.1 + columns * cell + 0.06
        box = (
            left / total[0],
            (top - (row + 1) * high + 0.05 * high) / total[1],
            0.1 / total[0],
            0.85 * high / total[1],
        )
        bar = figure.colorbar(drawn[kind], cax=figure.add_axes(box))
        bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
        bar.set_label(text, fontsize=7, labelpad=1)
        bar.outline.set_visible(False)
        if kind == "mean":
            bar.set_ticks([0, 1], labels=["0", "255"])
    return figure


def grey_levels(found: Tensor) -> Figure:
    """Pixels by grey level, on a logarithmic axis; a line per channel."""
    figure = Figure(figsize=(WIDE, 2.8), layout="constrained")
    axes, shares = figure.add_subplot(), found.double() / found.sum(1, keepdim=True)
    colours = [RIGHT] if len(found) == 1 else [WRONG, RIGHT, "#3b5b92"]
    names = ["grey"] if len(found) == 1 else ["red", "green", "blue"]
    for share, colour, name, dashes in zip(shares, colours, names, ("-", "--", ":"), strict=False):
        axes.step(range(256), share.clamp_min(1e-9).numpy(), dashes, where="mid", color=colour, label=name, lw=1.2)
        if len(found) == 1:
            axes.fill_between(range(256), share.clamp_min(1e-9).numpy(), 1e-9, step="mid", color=colour, alpha=0.25)
    axes.set_yscale("log")
    axes.set_ylim(max(1e-8, float(shares[shares > 0].min()) / 2), 1.5)
    axes.set_xlim(-2, 257)
    axes.set_xlabel("grey level, 0 black to 255 white", fontsize=SMALL)
    axes.set_ylabel("share of all pixels", fontsize=SMALL)
    if len(found) > 1:
        axes.legend(frameon=False, fontsize=SMALL)
    _bare(axes)
    return figure


def distributions(table: dict[str, list[dict]], titles: dict[str, str], class_names: Sequence[str]) -> Figure:
    """Per measure a row of classes: line from 5 to 95 %, thick from 25 to 75 %, a dot at the median.

    table: measure -> per class what `statistics.spread_of` gives.
    """
    narrow = len(class_names) <= 12 and max(len(shorten(name)) for name in class_names) * len(class_names) <= 40
    columns = 2 if narrow else 1
    rows = math.ceil(len(table) / columns)
    high = 1.75 if narrow else 2.6 if _upright(class_names) else 1.9
    figure = Figure(figsize=(WIDE, high * rows), layout="constrained")
    for place, (measure, spreads) in enumerate(table.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for label, spread in enumerate(spreads):
            if spread["n"]:
                colour = colour_of(label, len(class_names))
                axes.plot([label] * 2, [spread["p5"], spread["p95"]], "-", lw=1, color=QUIET)
                axes.plot([label] * 2, [spread["p25"], spread["p75"]], "-", lw=5, color=colour, solid_capstyle="butt")
                axes.plot(label, spread["median"], "o", ms=3.5, color="black")
        axes.set_title(titles[measure], fontsize=SMALL, loc="left")
        _class_ticks(axes, class_names)
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        _bare(axes)
    return figure


def components(axes_images: Tensor, shares: Tensor) -> Figure:
    """The first principal axes as images (K, h, w), and the share of the variance that so many of them keep."""
    figure = Figure(figsize=(WIDE, 2.1))
    count = len(axes_images)
    columns = count // 2
    for place, image in enumerate(axes_images.numpy()):
        box = (0.005 + 0.1 * (place % columns), 0.5 - 0.5 * (place // columns), 0.095, 0.4)
        axes = figure.add_axes(box)
        top = max(float(np.abs(image).max()), 1e-9)
        axes.imshow(image, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
        axes.set_title(f"{100 * float(shares[place]):.1f} %", fontsize=SMALL - 1, pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
    axes = figure.add_axes((0.67, 0.23, 0.315, 0.64))
    kept = torch.cat([torch.zeros(1), shares.cumsum(0)]).numpy() * 100
    axes.plot(range(len(kept)), kept, color=RIGHT, lw=1.5)
    for level in (90, 99):
        need = int(np.argmax(kept >= level))
        axes.plot(need, kept[need], "o", ms=4, color=WRONG)
        axes.annotate(
            f"{level} %: {need}",
            (need, kept[need]),
            (8, -26 if level == 90 else -13),
            textcoords="offset points",
            fontsize=SMALL,
        )
    axes.set_xlabel("components kept", fontsize=SMALL)
    axes.set_title("variance kept, %", fontsize=SMALL, loc="left")
    axes.set_ylim(0, 103)
    _bare(axes)
    return figure


def nearest_distances(groups: dict[str, np.ndarray], limit: float) -> Figure:
    """Distance to the nearest training image, as shares per bin, a line per group."""
    figure = Figure(figsize=(WIDE, 2.7), layout="constrained")
    axes, top = figure.add_subplot(), max(float(values.max()) for values in groups.values() if len(values))
    edges = np.linspace(0, max(top, 0.2), 61)
    for (name, values), colour, dashes in zip(groups.items(), (RIGHT, "#3b5b92"), ("-", "--"), strict=False):
        share = np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(100 * share, edges, linestyle=dashes, color=colour, label=name, lw=1.5)
    axes.axvspan(0, limit, color=WRONG, alpha=0.15, lw=0)
    axes.text(limit, axes.get_ylim()[1], " always a\n near-duplicate", va="top", fontsize=SMALL, color=WRONG)
    axes.set_xlabel("distance to the nearest training image, √(2 − 2 r)", fontsize=SMALL)
    axes.set_ylabel("% of images", fontsize=SMALL)
    axes.set_xlim(0, 1.01 * edges[-1])
    axes.legend(frameon=False, ncols=2, fontsize=SMALL, loc="lower center", bbox_to_anchor=(0.5, 1))
    _bare(axes)
    return figure


def normalised(images: Tensor, read: Tensor) -> Figure:
    """Images (N, C, H, W) as grey levels above, and as a network reads them below; the mean over channels."""
    count, ratio = len(images), images.shape[2] / images.shape[3]
    cell = min(1.1, (WIDE - 1.0) / count)
    total = (cell * count + 1.0, 2 * cell * ratio + 0.15)
    figure, top = Figure(figsize=total), float(read.abs().max())
    for row, (name, values) in enumerate((("grey level", images.float()), ("read as", read.float()))):
        flat = torch.cat(list(values.mean(1)), 1).numpy()
        low = (total[1] - 0.05 - (row + 1) * cell * ratio) / total[1]
        axes = figure.add_axes((0.05 / total[0], low, cell * count / total[0], 0.96 * cell * ratio / total[1]))
        limits = {"cmap": "gray", "vmin": 0, "vmax": 255} if row == 0 else {"cmap": "PuOr_r", "vmin": -top, "vmax": top}
        drawn = axes.imshow(flat, aspect="auto", **limits)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=FRAME["edgecolor"], linewidth=FRAME["linewidth"])
        place = ((cell * count + 0.13) / total[0], low + 0.02, 0.1 / total[0], 0.85 * cell * ratio / total[1])
        bar = figure.colorbar(drawn, cax=figure.add_axes(place))
        bar.ax.tick_params(labelsize=6.5, length=2, pad=1)
        bar.set_label(name, fontsize=7, labelpad=1)
        bar.outline.set_visible(False)
    return figure
