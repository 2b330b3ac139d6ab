"""Digits that the tests of pictures draw with."""

import numpy as np
import pytest

from tests.picture_files import scanned_digits


@pytest.fixture(scope="session")
def scans() -> np.ndarray:
    """Digits in MNIST's form, uint8 (100, 28, 28)."""
    return scanned_digits()
