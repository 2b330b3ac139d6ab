"""What a training is told of its data: how they were read, the pictures of each class and split, those left out."""

import csv
import io
from pathlib import Path

from src.data.datamodule import ImageData
from src.files import write_text
from src.plotting import text_table

LISTED = 20  # classes; of more only the range is said
SKIPPED = "skipped.csv"


def describe_data(data: ImageData, split: str | None = None) -> str:
    """Lines about a user's own pictures, once they are read; empty for a known data set.

    split: the one that was read; None for those of a training.
    """
    text = data.source.describe(cut=split not in ("all", "unseen"))
    if not text:
        return ""
    lines = [text]
    if data.skipped:
        count, several = len(data.skipped), len(data.skipped) > 1
        what = f"{count:,} pictures cannot be read and are" if several else "1 picture cannot be read and is"
        lines.append(f"{what} left out: {SKIPPED} lists {'them' if several else 'it'}")
    splits = {name: vars(data)[f"{name}_set"] for name in ("train", "val", "test") if f"{name}_set" in vars(data)}
    names = data.source.class_names
    counts = {name: part.labels[part.indices].bincount(minlength=len(names)) for name, part in splits.items()}
    if not counts:
        return "\n".join(lines)
    if len(names) <= LISTED:
        rows = [[name, *(f"{count[row]:,}" for count in counts.values())] for row, name in enumerate(names)]
        lines.append(text_table([["", *counts], *rows], right=range(1, 4), indent="  "))
    else:
        ranges = [f"{name} {int(count.min()):,} to {int(count.max()):,}" for name, count in counts.items()]
        lines.append(f"images per class: {', '.join(ranges)}")
    missing = [
        f"the {split} split has no images of {', '.join(empty[:8])}{' and others' if len(empty) > 8 else ''}"
        for split, count in counts.items()
        if (empty := [name for name, n in zip(names, count, strict=True) if not n])
    ]
    return "\n".join(lines + missing)


def write_skipped(data: ImageData, folder: Path) -> None:
    """skipped.csv: the pictures that could not be read, and why; nothing where all could."""
    if data.skipped:
        output = io.StringIO()
        csv.writer(output, lineterminator="\n").writerows([("file", "reason"), *data.skipped])
        write_text(folder / SKIPPED, output.getvalue())
