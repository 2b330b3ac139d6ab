"""Networks and fine-tuning methods as the options of conf describe them."""

import torch
from hydra.utils import instantiate
from torch import nn

from src.cli.config import CONF, load_config
from src.finetune.method import Method

METHODS = sorted(path.stem for path in (CONF / "finetune").glob("*.yaml") if path.stem != "none")
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SHAPE = (1, 28, 28)


def make_model(name: str) -> nn.Module:
    """A network for ten classes of 28x28 grey images, with the same initial weights every time."""
    size = ["model.size=32", "model.weights=null"] if name == "pretrained" else []
    cfg = load_config([f"model={name}", *size])
    torch.manual_seed(0)
    return instantiate(cfg.model, shape=SHAPE, num_classes=10, _convert_="all")


def make_method(name: str) -> Method:
    cfg = load_config([f"finetune={name}"])
    return instantiate(cfg.finetune, _convert_="all")
