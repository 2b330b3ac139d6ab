"""Small checkpoints and exported files."""

from pathlib import Path

import pytest

from src.models.lenet import LeNet
from tests.configs import write_teacher


@pytest.fixture(scope="session")
def run_folder(data_root, tmp_path_factory) -> Path:
    """A folder as a run leaves it, with the checkpoints of an untrained LeNet."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("best.ckpt", "last.ckpt"):
        write_teacher(folder / "checkpoints" / name, data_root, LeNet)
    return folder


@pytest.fixture(scope="session")
def checkpoint(run_folder) -> Path:
    return run_folder / "checkpoints/best.ckpt"
