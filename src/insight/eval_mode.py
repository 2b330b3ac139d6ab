"""A trained network looked at: in eval mode, and left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from src.errors import require

BATCH = 256


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode, with gradients allowed; afterwards every module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


def predict_logits(model: nn.Module, images: Tensor, batch: int = BATCH) -> Tensor:
    """What the network says, in eval mode: (B, K), without a graph."""
    with eval_mode(model), torch.no_grad():
        return torch.cat([model(some.float()) for some in images.split(batch)])


def resolve_targets(model: nn.Module, images: Tensor, targets: Tensor | None, batch: int = BATCH) -> Tensor:
    """The columns that are explained, int64 (B,): those given, or the largest of each answer."""
    if targets is None:
        return predict_logits(model, images, batch).argmax(1)
    require(len(targets) == len(images), f"targets: {len(targets)} for {len(images)} images")
    return targets.to(images.device)


def list_names(names: list[str], most: int = 24) -> str:
    """Names in one line."""
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"


def layer_of(model: nn.Module, name: str | None) -> nn.Module | None:
    """A module by its name, in the network that `model` is or, as a `Recogniser` does, wraps; None where there is
    none."""
    modules = dict(model.named_modules())
    return (modules.get(name) or modules.get(f"model.{name}")) if name else None
