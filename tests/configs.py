"""Small files that configs refer to."""

from pathlib import Path

from torch import nn

from src.data.datamodule import ImageData
from src.model_files.checkpoint import write_checkpoint
from src.models.mlp import MLP


def write_teacher(path: Path, data_root: Path, make: type[nn.Module] = MLP) -> Path:
    """The file of an untrained network that knows the classes of the small KMNIST."""
    data = ImageData("kmnist", root=str(data_root), download=False, val=50)
    data.setup()
    weights = {f"model.{name}": value for name, value in make(data.info.shape, 10).state_dict().items()}
    config = {
        "model": {"_target_": f"{make.__module__}.{make.__name__}"},
        "data": {"name": "kmnist", "root": str(data_root)},
    }
    write_checkpoint({"state_dict": weights, "config": config, "facts": data.info.to_dict(), "epoch": 0}, path)
    return path
