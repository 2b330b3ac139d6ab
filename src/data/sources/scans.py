"""Scans of digits smaller than MNIST's: USPS and those that scikit-learn bundles."""

import bz2
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from src.data.source import Source, Split
from src.data.sources.download import fetch
from src.data.sources.idx_catalog import DIGIT_NAMES
from src.data.splits import stratified_mask
from src.data.transforms import frame_scans, to_uint8
from src.errors import InputError
from src.files import digest_of, lock

USPS_MIRRORS = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",)
USPS_FILES = {
    "train": ("usps.bz2", "ec16c51db3855ca6c91edd34d0e9b197"),
    "test": ("usps.t.bz2", "8ea070ee2aca1ac39742fdd1ef5ed118"),
}
DIGITS_TEST_COUNT, DIGITS_TEST_SEED = 360, 0  # of 1,797 images; drawn once, by this seed


def load_usps(root: str, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """USPS (Hull 1994) from LIBSVM's files: 7,291 training and 2,007 test images of 16x16, light ink on dark."""

    def read(split: str) -> Split:
        name, md5 = USPS_FILES[split]
        path = Path(root).expanduser() / "USPS" / name
        if not path.is_file() or digest_of(path, "md5") != md5:
            if not download:
                state = "damaged (wrong MD5)" if path.is_file() else "missing"
                raise InputError(f"{path} is {state}: give data.root=<folder that has it> or data.download=true")
            with lock(path):
                fetch(mirrors or USPS_MIRRORS, path, md5)
        return parse_libsvm(bz2.decompress(path.read_bytes()).decode("ascii"), name)

    return Source(DIGIT_NAMES, lambda: read("train"), lambda: read("test"), frame_scans)


def parse_libsvm(text: str, name: str) -> Split:
    """Parse lines `label index:value ...`: labels 1..10 are digits 0..9; 16x16 pixels -1..1 from index 1, 0 if absent.

    Raises InputError naming the first invalid line of `name`.
    """
    lines = text.splitlines()
    pixels = np.zeros((len(lines), 256), np.float32)
    labels = np.zeros(len(lines), np.int64)
    for row, line in enumerate(lines):
        try:
            label, *entries = line.split()
            labels[row] = int(float(label)) - 1
            for entry in entries:
                index, value = entry.split(":")
                pixels[row, int(index) - 1] = float(value)
        except (ValueError, IndexError):
            raise InputError(f"{name}, line {row + 1}: not `label index:value ...` with 256 pixels") from None
    if not lines or labels.min() < 0 or labels.max() > 9 or np.abs(pixels).max() > 1:
        raise InputError(f"{name}: labels must be 1..10 and pixels -1..1")
    images = torch.from_numpy((pixels + 1) * 127.5).view(-1, 1, 16, 16)
    return Split(to_uint8(images), torch.from_numpy(labels))


def load_sklearn_digits(root: str | None = None, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """The 1,797 real 8x8 scans that scikit-learn bundles (UCI optical digits): nothing to download.

    A fixed stratified fifth (360 images) is the test split. root, download and mirrors are accepted and ignored.
    """

    def read(test: bool) -> Split:
        from sklearn.datasets import load_digits  # about a second to import

        bundle = load_digits()
        images = to_uint8(torch.from_numpy(bundle.images).unsqueeze(1) * (255 / 16))
        labels = torch.from_numpy(bundle.target).long()
        rows = stratified_mask(labels, DIGITS_TEST_COUNT, DIGITS_TEST_SEED) == test
        return Split(images[rows], labels[rows])

    return Source(DIGIT_NAMES, lambda: read(False), lambda: read(True), frame_scans)
