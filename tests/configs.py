"""Configs as Hydra composes them."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.cli.config import CONF
from src.data.datamodule import ImageData
from src.model_files.checkpoint import write_checkpoint
from src.models.mlp import MLP


def composed(*overrides: str, entry: str = "train"):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(entry, list(overrides))


def write_teacher(path: Path, data_root: Path) -> Path:
    """The file of an untrained network that knows the classes of the small KMNIST."""
    data = ImageData("kmnist", root=str(data_root), download=False, val=50)
    data.setup()
    weights = {f"model.{name}": value for name, value in MLP(data.info.shape, 10).state_dict().items()}
    config = {"model": {"_target_": "src.models.mlp.MLP"}, "data": {"name": "kmnist", "root": str(data_root)}}
    write_checkpoint({"state_dict": weights, "config": config, "facts": data.info.plain(), "epoch": 0}, path)
    return path
