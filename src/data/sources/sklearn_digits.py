"""The 8x8 digits that scikit-learn bundles."""

from collections.abc import Sequence

import torch

from src.data.source import Source, Split
from src.data.sources.idx_catalog import DIGIT_NAMES
from src.data.splits import stratified_mask
from src.data.transforms import frame_scans, to_uint8

TEST_COUNT, TEST_SEED = 360, 0  # of 1,797 images; drawn once, by this seed


def load_sklearn_digits(root: str | None = None, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """The 1,797 real 8x8 scans that scikit-learn bundles (UCI optical digits): nothing to download.

    A fixed stratified fifth (360 images) is the test split. root, download and mirrors are accepted and ignored.
    """

    def read(test: bool) -> Split:
        from sklearn.datasets import load_digits  # about a second to import

        bundle = load_digits()
        images = to_uint8(torch.from_numpy(bundle.images).unsqueeze(1) * (255 / 16))
        labels = torch.from_numpy(bundle.target).long()
        rows = stratified_mask(labels, TEST_COUNT, TEST_SEED) == test
        return Split(images[rows], labels[rows])

    return Source(DIGIT_NAMES, lambda: read(False), lambda: read(True), frame_scans)
