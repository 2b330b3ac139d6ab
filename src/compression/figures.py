"""Accuracy against what it costs, one point per network."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from src.plotting import QUIET, RIGHT

PANELS = (
    ("file packed by zlib, KiB", lambda row: row["packed_bytes"] / 1024),
    ("multiply-adds, thousands", lambda row: row["multiply_adds"] / 1000),
    ("one image, µs (p50)", lambda row: 1e6 * row["speed"][fastest(row)]["p50_s"]),
)


def fastest(row: dict) -> str:
    """The engine that answers one image soonest."""
    return min(row["speed"], key=lambda engine: row["speed"][engine]["p50_s"])


def comparison(rows: Sequence[dict]) -> Figure:
    """Test accuracy with its 95 % interval against bytes, arithmetic and latency; the first row is the one before."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, (label, cost) in zip(figure.subplots(1, 3, sharey=True), PANELS, strict=True):
        for place, row in enumerate(rows):
            low, high = row["acc_ci95"]
            reach = [[100 * (row["acc"] - low)], [100 * (high - row["acc"])]]
            style = {"color": RIGHT if place else QUIET, "marker": "o" if place else "s", "ms": 7, "capsize": 3}
            axes.errorbar(cost(row), 100 * row["acc"], reach, ls="", **style)
            offset = (7, 6 if place % 2 else -13)
            axes.annotate(row["name"], (cost(row), 100 * row["acc"]), offset, textcoords="offset points", fontsize=9)
        axes.set_xlabel(label)
        axes.set_xlim(0, 1.35 * max(map(cost, rows)))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test accuracy, % (95 % interval)")
    engines = sorted({fastest(row) for row in rows})
    figure.axes[2].set_title(f"by {' and '.join(engines)}", fontsize=10)
    figure.suptitle("before (square) and after (round)", fontsize=11)
    return figure


def write_comparison(path: Path, rows: Sequence[dict]) -> None:
    """The picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    comparison(rows).savefig(path, dpi=120)
