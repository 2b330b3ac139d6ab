"""Fixtures of this room."""

from pathlib import Path

import pytest

from src.dashboard.callback import Dashboard
from src.training.task import Classifier
from tests.short_runs import train


@pytest.fixture(scope="module")
def rich(data_root, tmp_path_factory) -> tuple[Path, Classifier]:
    """The folder and the task of a run of three epochs with the dashboard."""
    folder = tmp_path_factory.mktemp("rich")
    return folder, train(data_root, folder, Dashboard(sample=40, embedding_epochs=2), epochs=3)
