"""The 8x8 digits that scikit-learn bundles."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src.data.source import Source, Split
from src.data.sources.idx_catalog import DIGITS
from src.data.sources.usps import _grey, box
from src.data.splits import stratified

DIGITS_TEST = 360  # of 1,797; drawn once, by this seed


DIGITS_TEST_SEED = 0


def digits(root: str | None = None, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """The 1,797 real 8x8 scans that scikit-learn bundles (UCI optical digits): nothing to download.

    A fixed stratified fifth (360 images) is the test split. root, download and mirrors are accepted and not used.
    """

    def read() -> tuple[Tensor, Tensor, Tensor]:
        from sklearn.datasets import load_digits  # about a second to import

        bundle = load_digits()
        images = _grey(torch.from_numpy(bundle.images).unsqueeze(1) * (255 / 16))
        labels = torch.from_numpy(bundle.target).long()
        return images, labels, stratified(labels, DIGITS_TEST, DIGITS_TEST_SEED)

    def split(test: bool) -> Split:
        images, labels, mask = read()
        return Split(images[mask == test], labels[mask == test])

    return Source(DIGITS, lambda: split(False), lambda: split(True), box)
