"""How well pictures are read: python -m benchmarks.pictures [--ckpt newest] [--root data]

MNIST's test images as pictures of several kinds, and pages on which two to six of them stand side by side.
"""

import argparse
import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from src.cli.config import ROOT
from src.model_files.load import load_predictor, numpy_predictor
from src.model_files.locate import find_checkpoint
from src.pictures.reader import Reader, ReaderOutput

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "28x28, dark on light": lambda image: 255 - image,
    "padded to 60x60": lambda image: np.pad(image, ((30, 2), (3, 29))),
    "280x280, dark on light": lambda image: np.asarray(Image.fromarray(255 - image).resize((280, 280))),
}
PAGES = {"gaps of 8 to 40 px": (8, 41, 0.7, 1.3), "gaps of 2 to 12 px": (2, 13, 0.7, 1.3)}


def number_page(images: np.ndarray, rng: np.random.Generator, gaps: tuple[int, int], sizes: tuple[float, float]):
    """Images (n, 28, 28), light on black, side by side on light paper, each 112 px times its size: uint8 (H, W)."""
    page, left = np.zeros((240, 60 + 200 * len(images)), np.uint8), 20
    for image in images:
        tight = image[np.ix_(image.any(1), image.any(0))]
        scale = 4 * rng.uniform(*sizes)
        shape = [max(1, round(side * scale)) for side in tight.shape[::-1]]
        large = np.asarray(Image.fromarray(tight).resize(shape))
        top = 120 - large.shape[0] // 2 + int(rng.integers(-10, 11))
        page[top : top + large.shape[0], left : left + large.shape[1]] = large
        left += large.shape[1] + int(rng.integers(*gaps))
    return 255 - page[:, : left + 20]


def saved(pixels: np.ndarray) -> bytes:
    """As the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def numbers(probs: Callable, readings: list[ReaderOutput]) -> list[str]:
    """What each picture says, by the likeliest class of each of its digits."""
    images = np.concatenate([reading.images for reading in readings])
    parts = [probs(images[start : start + 1000]).argmax(1) for start in range(0, len(images), 1000)]
    said = iter(np.concatenate(parts).tolist())
    return ["".join(str(next(said)) for _ in reading.images) for reading in readings]


def main() -> None:
    """Print a row per kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="newest")
    parser.add_argument("--root", default="data")
    parser.add_argument("--pages", type=int, default=600)
    args = parser.parse_args()

    from src.data.sources.registry import load_source

    torch.set_num_threads(1)
    net = load_predictor(find_checkpoint(args.ckpt, ROOT / "outputs"))
    probs = numpy_predictor(net)
    images, labels = load_source("mnist", root=args.root, download=False).test()
    images, labels = images.numpy()[:, 0], labels.numpy()
    truths = list(map(str, labels))
    answers = [probs(images[start : start + 1000, None]).argmax(1) for start in range(0, len(images), 1000)]
    print(f"{'MNIST test images themselves':<42}{100 * (np.concatenate(answers) == labels).mean():7.2f} %")
    for several in (True, False):
        reader = Reader(net.info.shape, ink=True, several=several)
        for kind, change in KINDS.items():
            said = numbers(probs, reader.read([reader.page(saved(change(image))) for image in images]))
            right = np.mean([a == b for a, b in zip(said, truths, strict=True)])
            print(f"{kind + ('' if several else ', several=false'):<42}{100 * right:7.2f} %", flush=True)
    reader = Reader(net.info.shape, ink=True)
    for kind, (near, far, small, large) in PAGES.items():
        rng, pages, wanted = np.random.default_rng(0), [], []
        for _ in range(args.pages):
            rows = rng.integers(0, len(images), rng.integers(2, 7))
            pages.append(reader.page(saved(number_page(images[rows], rng, (near, far), (small, large)))))
            wanted.append("".join(map(str, labels[rows])))
        said = numbers(probs, reader.read(pages))
        right = np.mean([a == b for a, b in zip(said, wanted, strict=True)])
        count = np.mean([len(a) == len(b) for a, b in zip(said, wanted, strict=True)])
        print(f"{args.pages} numbers, {kind:<22} {100 * right:6.1f} % wholly right, {100 * count:.1f} % as many digits")


if __name__ == "__main__":
    main()
