"""Fixtures of this room."""

from pathlib import Path

import pytest

from tests.training.sessions import run


@pytest.fixture(scope="session")
def whole(data_root, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of three epochs, with averaged weights."""
    folder = tmp_path_factory.mktemp("whole")
    run(data_root, folder, ema=True)
    return folder
