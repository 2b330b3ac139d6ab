"""Fixtures of this room."""

import pytest


@pytest.fixture
def data(small_kmnist):
    return small_kmnist
