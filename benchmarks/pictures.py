"""Accuracy on pictures: python -m benchmarks.pictures [--ckpt newest] [--root data]

MNIST's test images as pictures of several kinds, and numbers of two to six of them side by side.
"""

import argparse
import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from src.files import OUTPUTS
from src.model_files.load import load_predictor, numpy_predictor
from src.model_files.locate import find_checkpoint
from src.pictures.reader import NetworkInput, Reader

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "28x28, dark on light": lambda image: 255 - image,
    "padded to 60x60": lambda image: np.pad(image, ((30, 2), (3, 29))),
    "280x280, dark on light": lambda image: np.asarray(Image.fromarray(255 - image).resize((280, 280))),
}
NUMBERS = {"gaps of 8 to 40 px": (8, 41, 0.7, 1.3), "gaps of 2 to 12 px": (2, 13, 0.7, 1.3)}


def draw_number(images: np.ndarray, rng: np.random.Generator, gaps: tuple[int, int], sizes: tuple[float, float]):
    """Draw images (n, 28, 28), light on black, side by side in dark ink on white: uint8 (H, W).

    gaps: range of the pixels between them. sizes: range of their scale, 1 for a frame of 112 pixels.
    """
    canvas, left = np.zeros((240, 60 + 200 * len(images)), np.uint8), 20
    for image in images:
        cropped = image[np.ix_(image.any(1), image.any(0))]
        scale = 4 * rng.uniform(*sizes)
        shape = [max(1, round(side * scale)) for side in cropped.shape[::-1]]
        large = np.asarray(Image.fromarray(cropped).resize(shape))
        top = 120 - large.shape[0] // 2 + int(rng.integers(-10, 11))
        canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
        left += large.shape[1] + int(rng.integers(*gaps))
    return 255 - canvas[:, : left + 20]


def encode_png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def predict_numbers(probs: Callable, inputs: list[NetworkInput]) -> list[str]:
    """The number on each picture, by the likeliest class of each digit."""
    labels = iter(predict_labels(probs, np.concatenate([one.images for one in inputs])).tolist())
    return ["".join(str(next(labels)) for _ in one.images) for one in inputs]


def predict_labels(probs: Callable, images: np.ndarray) -> np.ndarray:
    """The likeliest class of each image, (N,)."""
    return np.concatenate([probs(images[start : start + 1000]).argmax(1) for start in range(0, len(images), 1000)])


def main() -> None:
    """Print a row per kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="newest")
    parser.add_argument("--root", default="data")
    parser.add_argument("--pages", type=int, default=600)
    args = parser.parse_args()

    from src.data.sources.registry import load_dataset

    torch.set_num_threads(1)
    predictor = load_predictor(find_checkpoint(args.ckpt, OUTPUTS))
    probs = numpy_predictor(predictor)
    images, labels = load_dataset("mnist", root=args.root, download=False).test()
    images, labels = images.numpy()[:, 0], labels.numpy()
    expected = list(map(str, labels))
    right = np.mean(predict_labels(probs, images[:, None]) == labels)
    print(f"{'MNIST test images themselves':<42}{100 * right:7.2f} %")
    for several in (True, False):
        reader = Reader(predictor.info.shape, ink=True, several=several)
        for kind, change in KINDS.items():
            pictures = [reader.segment(encode_png(change(image))) for image in images]
            predicted = predict_numbers(probs, reader.to_network_input(pictures))
            right = np.mean([a == b for a, b in zip(predicted, expected, strict=True)])
            print(f"{kind + ('' if several else ', several=false'):<42}{100 * right:7.2f} %", flush=True)
    reader = Reader(predictor.info.shape, ink=True)
    for kind, (near, far, small, large) in NUMBERS.items():
        rng, pictures, expected = np.random.default_rng(0), [], []
        for _ in range(args.pages):
            rows = rng.integers(0, len(images), rng.integers(2, 7))
            pictures.append(reader.segment(encode_png(draw_number(images[rows], rng, (near, far), (small, large)))))
            expected.append("".join(map(str, labels[rows])))
        predicted = predict_numbers(probs, reader.to_network_input(pictures))
        right = np.mean([a == b for a, b in zip(predicted, expected, strict=True)])
        count = np.mean([len(a) == len(b) for a, b in zip(predicted, expected, strict=True)])
        print(f"{args.pages} numbers, {kind:<22} {100 * right:6.1f} % wholly right, {100 * count:.1f} % as many digits")


if __name__ == "__main__":
    main()
