"""The figures of an evaluation, drawn without a display."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from src.data.batches import BatchDataset
from src.data.info import DataInfo
from src.evaluation.evaluate import confused_pairs
from src.evaluation.metrics import CALIBRATION_BINS
from src.plotting import MANY_CLASSES, QUIET, RIGHT, WRONG, class_labels, display_width, label, open_axes, shorten_path

MATRIX_PX = 420  # rows of a large confusion matrix that are drawn
LONGEST_PATH = 30  # columns of a file's name below its image


def confusion_matrix(confusion: list[list[int]], class_names: tuple[str, ...]) -> Figure:
    """Counts with a row per true class; color is the share of the row that was mistaken for another class.

    More than MANY_CLASSES classes have numbers instead of names and counts, and the most frequent pairs stand beside.
    """
    counts = np.asarray(confusion)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)  # so that few mistakes stand out beside many right predictions
    title = f"{counts.trace():,} of {counts.sum():,} right"
    if classes > MANY_CLASSES:
        return _large_confusion_matrix(counts, shares, class_names, title)
    names = class_labels(class_names)
    side = max(4.5, 0.55 * classes + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    top = max(float(shares.max()), 1e-9)
    axes.imshow(shares, cmap="Reds", vmin=0, vmax=top * 1.25)
    size = 9 if classes <= 12 else 5
    for row, column in np.argwhere(counts).tolist():
        color = RIGHT if row == column else "black" if shares[row, column] < 0.8 * top else "white"
        text, weight = f"{counts[row, column]:,}", "bold" if row == column else "normal"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color, weight=weight)
    axes.set_xticks(range(classes), names, rotation=0 if max(map(display_width, names)) < 3 else 90, fontsize=size)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _large_confusion_matrix(counts: np.ndarray, shares: np.ndarray, class_names: tuple[str, ...], title: str) -> Figure:
    """The matrix as an image, and the most frequent pairs as bars."""
    classes, pairs, names = len(counts), confused_pairs(counts.tolist()), class_labels(class_names, 22)
    figure = Figure(figsize=(10.4, 6.2), layout="constrained")
    matrix, bars = figure.subplots(1, 2, width_ratios=(3, 1.6))
    colors = matrix.imshow(
        block_maxima(shares, MATRIX_PX), cmap="Reds", vmin=0, vmax=max(float(shares.max()), 1e-9),
        extent=(-0.5, classes - 0.5, classes - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    matrix.set(xlabel="predicted class, by number", ylabel="true class, by number")
    for axis in (matrix.xaxis, matrix.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True))
    matrix.set_title(f"{title}, {classes:,} classes", fontsize=11)
    bar = figure.colorbar(colors, ax=matrix, location="bottom", shrink=0.7, aspect=40, pad=0.02)
    bar.set_label("share of the true class that is taken for the other", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    open_axes(bars)
    bars.spines["left"].set_visible(False)
    bars.set(xticks=[], yticks=[])
    bars.set_title("most frequent pairs: true → predicted" if pairs else "no mistakes", fontsize=10, loc="left")
    bars.spines["bottom"].set_visible(False)
    bars.barh(range(len(pairs)), [pair.mistaken for pair in pairs], 0.34, color=WRONG)
    bars.set_ylim(max(len(pairs), 1) - 0.4, -0.85)
    for row, pair in enumerate(pairs):
        text = f"{names[pair.true]} → {names[pair.predicted]}"
        bars.text(0, row - 0.24, text, fontsize=8, va="bottom")
        bars.text(pair.mistaken, row, f" {pair.mistaken:,} of {pair.images:,}", fontsize=8, va="center")
    bars.set_xlim(0, 1.5 * max((pair.mistaken for pair in pairs), default=1))
    return figure


def block_maxima(values: np.ndarray, side: int) -> np.ndarray:
    """A matrix (K, K) of at most `side` rows: of more, the largest value of each block, so that no cell is lost."""
    step = -(-len(values) // side)
    rows = -(-len(values) // step)
    padded = np.pad(values, (0, rows * step - len(values)))
    return padded.reshape(rows, step, rows, step).max((1, 3))


def worst_mistakes(batches: BatchDataset, labels: Tensor, logits: Tensor, class_names: tuple[str, ...]) -> Figure:
    """The 24 most confident mistakes: image, predicted and true class, each with its probability, and the file."""
    probs, names = logits.softmax(1), class_labels(class_names, 12)
    confidence, predictions = probs.max(1)
    wrong = (predictions != labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:24]
    rows, files = max(1, -(-len(worst) // 8)), batches.names
    size = 9 if max(map(display_width, names)) <= 8 else 7.5
    figure = Figure(figsize=(10.8, 1.75 * rows + 0.5), layout="constrained")
    figure.suptitle(
        f"{len(wrong):,} of {len(labels):,} wrong; the most confident {len(worst)}" if len(wrong) else "no mistakes"
    )
    for position, index in enumerate(worst.tolist(), 1):
        axes = figure.add_subplot(rows, 8, position)
        image = batches[torch.tensor([index])][0][0].permute(1, 2, 0).numpy()
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        prediction, truth = names[predictions[index]], names[labels[index]]
        axes.set_title(f"{prediction}  {100 * confidence[index]:.0f} %", fontsize=size, color=WRONG, pad=2)
        true = f"is {truth}  {100 * probs[index, labels[index]]:.0f} %"
        axes.set_xlabel(true, fontsize=size, color=RIGHT, labelpad=1)
        if files is not None:
            text = label(shorten_path(files[index], LONGEST_PATH))
            axes.text(0.5, -0.16, text, fontsize=5.5, color=QUIET, ha="center", va="top", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
    return figure


def reliability_diagram(logits: Tensor, labels: Tensor, ece: float) -> Figure:
    """Accuracy in bins of the predicted class' probability, and the number of images in each bin."""
    confidence, predictions = logits.softmax(1).max(1)
    right = (predictions == labels).float()
    bins = (confidence * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1)
    counts = bins.bincount(minlength=CALIBRATION_BINS)
    filled = counts > 0
    shares = (torch.zeros(CALIBRATION_BINS).index_add_(0, bins, right) / counts)[filled].numpy()
    means = (torch.zeros(CALIBRATION_BINS).index_add_(0, bins, confidence) / counts)[filled].numpy()
    figure = Figure(figsize=(4.8, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], "--", color=QUIET, label="perfectly calibrated")
    upper.vlines(means, means, shares, color=WRONG, alpha=0.5)
    upper.plot(means, shares, "o", color=RIGHT, label="this model")
    upper.set(ylabel="share of right predictions", ylim=(-0.02, 1.02))
    upper.set_title(f"expected calibration error {100 * ece:.2f} %", fontsize=11)
    upper.legend(frameon=False, loc="upper left")
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    lower.bar(edges[:-1], counts.numpy(), 1 / CALIBRATION_BINS, align="edge", color=QUIET, edgecolor="white")
    lower.set(yscale="log", xlabel="probability of the predicted class", ylabel="images", xlim=(0, 1))
    open_axes(upper)
    open_axes(lower)
    return figure


def regression_scatter(outputs: Tensor, labels: Tensor, info: DataInfo, rmse: float) -> Figure:
    """Estimated values of a regression target against the true ones."""
    quantity = label(info.target)
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    estimates, truth = (values.numpy() for values in info.output.metric_inputs(outputs, labels))
    axes.plot([truth.min(), truth.max()], [truth.min(), truth.max()], "--", color=QUIET)
    axes.plot(truth, estimates, ".", ms=3, alpha=0.4, color=RIGHT)
    axes.set(xlabel=f"true {quantity}", ylabel="estimated")
    axes.set_title(f"{len(truth):,} images, RMSE {rmse:.2f}", fontsize=11)
    open_axes(axes)
    return figure


def write_evaluation_figures(
    folder: Path, batches: BatchDataset, labels: Tensor, logits: Tensor, results: dict, info: DataInfo
) -> dict[str, Figure]:
    """The figures of an evaluation, written as PNG into `folder` and returned by name."""
    if info.output.is_number:
        figures = {"estimates": regression_scatter(logits, labels, info, results["rmse"])}
    else:
        figures = {
            "confusion_matrix": confusion_matrix(results["confusion"], info.class_names),
            "worst_mistakes": worst_mistakes(batches, labels, logits, info.class_names),
            "reliability": reliability_diagram(logits, labels, results["ece"]),
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
    return figures
