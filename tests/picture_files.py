"""Pictures as files, and read as a network of MNIST reads them."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from src.pictures.mnist_form import to_mnist_form
from src.pictures.reader import NetworkInput, Reader

READER = Reader((1, 28, 28), ink=True)


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    """The content of a file in a format of Pillow's."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(*contents: bytes, reader: Reader = READER) -> list[NetworkInput]:
    """The network's input for each picture."""
    return reader.to_network_input([reader.segment(content) for content in contents])


def scanned_digits() -> np.ndarray:
    """The first digits of scikit-learn in MNIST's form, uint8 (100, 28, 28)."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images[:100] * 15.9).round().to(torch.uint8).unsqueeze(1)
    return to_mnist_form(images)[:, 0].numpy()


def draw_bar(row: int) -> np.ndarray:
    """28x28, light on black: a thin line from top to bottom and a thick bar in its third number `row`."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 13:15] = 120
    pixels[4 + row * 7 : 10 + row * 7, 4:24] = 255
    return pixels


def write_pictures(folder: Path) -> Path:
    """A folder of five files: a bar in each third, an empty picture, and one that is not a picture."""
    folder.mkdir()
    for row in range(3):
        Image.fromarray(draw_bar(row)).save(folder / f"{row}.png")
    (folder / "bad.png").write_text("seven")
    Image.new("L", (40, 40), 255).save(folder / "empty.png")
    return folder
