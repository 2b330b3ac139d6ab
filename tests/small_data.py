"""Small real files that tests train on, and where the real ones are."""

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from src.cli.config import ROOT


def mnist_folder() -> Path | None:
    for root in (os.environ.get("MNIST_ROOT"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
            return Path(root)
    return None


def idx_bytes(values: np.ndarray) -> bytes:
    """An array as an IDX file's content."""
    code, dtype = (0x08, "u1") if values.dtype == np.uint8 else (0x0C, ">i4")
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape) + values.astype(dtype).tobytes()


def striped_digits(count: int, seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) whose class is the row of a bright stripe: learnt in a few steps."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * (int(label) % 12) : 4 + 2 * (int(label) % 12), 4:24] = 230
    return images, labels


def draw_seven(side: int = 120) -> Image.Image:
    """A handwritten seven, light on black."""
    picture = Image.new("L", (side, side))
    stroke = (side * 0.3, side * 0.2, side * 0.7, side * 0.2, side * 0.45, side * 0.8)
    ImageDraw.Draw(picture).line(stroke, fill=255, width=side // 12)
    return picture


def own_data_set(count: int = 120) -> dict:
    """What a loader of one's own returns, for data=own."""
    splits = {
        name: striped_digits(size, seed) for seed, (name, size) in enumerate({"train": count, "test": 40}.items())
    }
    return {**splits, "class_names": [f"class {number}" for number in range(10)]}
