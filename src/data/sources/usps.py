"""USPS: 16x16 scans of digits, light ink on a dark background."""

import bz2
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from src.data.source import Source, Split
from src.data.sources.download import fetch
from src.data.sources.idx_catalog import DIGIT_NAMES
from src.data.transforms import frame_scans, to_uint8
from src.errors import InputError
from src.files import digest_of, lock

USPS_MIRRORS = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",)
USPS_FILES = {
    "train": ("usps.bz2", "ec16c51db3855ca6c91edd34d0e9b197"),
    "test": ("usps.t.bz2", "8ea070ee2aca1ac39742fdd1ef5ed118"),
}


def load_usps(root: str, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """USPS (Hull 1994) from LIBSVM's files: 7,291 training and 2,007 test images of 16x16."""
    folder = Path(root).expanduser() / "USPS"

    def read(split: str) -> Split:
        name, md5 = USPS_FILES[split]
        path = folder / name
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
