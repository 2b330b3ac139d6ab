"""Run a trained network in eval mode, and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from src.errors import require

BATCH_SIZE = 256


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Switch the model to eval mode, gradients allowed; on exit every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


def predict_logits(model: nn.Module, images: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """The network's outputs (B, K) in eval mode, without a graph."""
    with eval_mode(model), torch.no_grad():
        return torch.cat([model(batch.float()) for batch in images.split(batch_size)])


def resolve_targets(model: nn.Module, images: Tensor, targets: Tensor | None, batch_size: int = BATCH_SIZE) -> Tensor:
    """The output columns to explain, int64 (B,): `targets`, or each image's largest output."""
    if targets is None:
        return predict_logits(model, images, batch_size).argmax(1)
    require(len(targets) == len(images), f"targets: {len(targets)} for {len(images)} images")
    return targets.to(images.device)


def list_names(names: list[str], most: int = 24) -> str:
    """Names on one line, cut after `most`."""
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"


def find_module(model: nn.Module, name: str | None) -> nn.Module | None:
    """A module by name, in `model` itself or in the network it wraps as `model.` (`InferenceModel`); None if there is
    no such module."""
    modules = dict(model.named_modules())
    return (modules.get(name) or modules.get(f"model.{name}")) if name else None
