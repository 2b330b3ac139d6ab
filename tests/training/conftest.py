"""Fixtures of this room."""

import signal
from pathlib import Path

import pytest

from tests.training.sessions import run


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Where tests run in the background, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def whole(data_root, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of three epochs, with averaged weights."""
    folder = tmp_path_factory.mktemp("whole")
    run(data_root, folder, ema=True)
    return folder
