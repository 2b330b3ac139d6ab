"""Small checkpoints and exported files."""

from pathlib import Path

import pytest
import torch

from src.inference.model import InferenceModel
from src.models.lenet import LeNet
from tests.configs import write_teacher
from tests.model_files.networks import WRITERS, make_net


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


@pytest.fixture(scope="module")
def net() -> InferenceModel:
    torch.manual_seed(0)
    return make_net("lenet", batch_norm=True)


@pytest.fixture(scope="module")
def files(net, tmp_path_factory) -> dict[str, Path]:
    pytest.importorskip("onnxscript", reason="the export extra is not installed")
    pytest.importorskip("safetensors", reason="the export extra is not installed")
    folder = tmp_path_factory.mktemp("exported")
    for suffix, write in WRITERS.items():
        (folder / f"net{suffix}").write_bytes(write(net))
    return {suffix: folder / f"net{suffix}" for suffix in WRITERS}
