"""Digits that a network trained on MNIST reads wrongly, and a store of their corrections."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from src.data.sources.corrections import CorrectionStore
from src.inference.model import InferenceModel
from src.pictures.mnist_form import to_mnist_form

# Points of strokes on a canvas of 140 x 140: ones with a long upstroke, which MNIST does not have and which look like
# its sevens, and sevens with a bar.
STROKES = {1: [[(40, 62), (84, 16), (80, 122)]], 7: [[(34, 22), (104, 20), (64, 122)], [(44, 72), (108, 70)]]}


def european_digits(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in MNIST's form, uint8 (count, 1, 28, 28), ones and sevens in turn, and their labels (count,)."""
    rng, images, labels = np.random.default_rng(seed), [], []
    for index in range(count):
        label = (1, 7)[index % 2]
        image, width = Image.new("L", (140, 140)), int(rng.integers(9, 15))
        for stroke in STROKES[label]:
            points = [tuple(point) for point in np.array(stroke) + rng.normal(0, 4, (len(stroke), 2))]
            ImageDraw.Draw(image).line(points, 255, width, "curve")
        images.append(torch.from_numpy(np.asarray(image).copy())[None])
        labels.append(label)
    return to_mnist_form(torch.stack(images)), torch.tensor(labels)


def write_corrections(path: Path, net: InferenceModel, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Put what a user of the page would say about these images into the store `path`; right answers are confirmed."""
    with torch.inference_mode():
        predictions = net(images).argmax(1)
    store = CorrectionStore(path)
    for image, prediction, label in zip(images, predictions.tolist(), labels.tolist(), strict=True):
        store.add(image, b"", str(prediction), str(label), net.digest)
    store.close()


def accuracy(net: InferenceModel, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images of which a network names the digit."""
    with torch.inference_mode():
        return float((net(images).argmax(1) == labels).float().mean())
