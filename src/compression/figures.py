"""Accuracy against cost, one point per network."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from src.plotting import QUIET, RIGHT, label, open_axes

COSTS = (
    ("file packed by zlib, KiB", lambda row: row["packed_bytes"] / 1024),
    ("multiply-adds, thousands", lambda row: row["multiply_adds"] / 1000),
    ("one image, µs (p50)", lambda row: 1e6 * row["speed"][fastest_engine(row)]["p50_s"]),
)


def fastest_engine(row: dict) -> str:
    """The engine with the lowest latency for one image."""
    return min(row["speed"], key=lambda engine: row["speed"][engine]["p50_s"])


def write_compression_figure(path: Path, rows: Sequence[dict]) -> None:
    """Draw test accuracy against bytes, arithmetic and latency, as PNG; the first row is the network before."""
    names = [label(row["name"]) for row in rows]
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, (cost_name, cost) in zip(figure.subplots(1, 3, sharey=True), COSTS, strict=True):
        for index, row in enumerate(rows):
            low, high = row["acc_ci95"]
            interval = [[100 * (row["acc"] - low)], [100 * (high - row["acc"])]]
            style = {"color": RIGHT if index else QUIET, "marker": "o" if index else "s", "ms": 7, "capsize": 3}
            axes.errorbar(cost(row), 100 * row["acc"], interval, ls="", **style)
            offset = (7, 6 if index % 2 else -13)
            point = cost(row), 100 * row["acc"]
            axes.annotate(names[index], point, offset, textcoords="offset points", fontsize=9)
        axes.set(xlabel=cost_name, xlim=(0, 1.35 * max(map(cost, rows))))
        axes.grid(alpha=0.25)
        open_axes(axes)
    figure.axes[0].set_ylabel("test accuracy, % (95 % interval)")
    engines = sorted({fastest_engine(row) for row in rows})
    figure.axes[2].set_title(f"by {' and '.join(engines)}", fontsize=10)
    figure.suptitle("before (square) and after (round)", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
