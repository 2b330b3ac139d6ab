"""Stores of corrections of KMNIST's classes."""

import numpy as np

from src.data.sources.corrections import CorrectionStore
from src.data.sources.idx_catalog import KUZUSHIJI_NAMES


def an_image(seed: int, shape=(1, 28, 28)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def a_store(path, count: int) -> CorrectionStore:
    """Corrections of KMNIST's classes, in turn."""
    store = CorrectionStore(path)
    for place in range(count):
        store.add(an_image(place), b"picture", KUZUSHIJI_NAMES[(place + 1) % 10], KUZUSHIJI_NAMES[place % 10], "digest")
    return store
