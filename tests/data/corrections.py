"""Stores of corrections of KMNIST's classes."""

import numpy as np

from src.data.sources.corrections import CorrectionStore
from src.data.sources.idx_catalog import KUZUSHIJI_NAMES


def make_image(seed: int, shape=(1, 28, 28)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def make_store(path, count: int) -> CorrectionStore:
    """Corrections of KMNIST's classes, in turn."""
    store = CorrectionStore(path)
    for index in range(count):
        store.add(
            make_image(index), b"picture", KUZUSHIJI_NAMES[(index + 1) % 10], KUZUSHIJI_NAMES[index % 10], "digest"
        )
    return store
