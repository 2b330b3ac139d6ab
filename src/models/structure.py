"""The parts of any network of `src.models`: its blocks from the input to the head, and what the head reads."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.errors import InputError

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
INSIDE = ("net", "features", "stages", "head", "classifier")  # containers that are looked into, whatever their class


def head_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer, which makes the logits.

    Raises InputError for a network that ends in something else.
    """
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers or not isinstance(layers[-1][1], nn.Linear):
        raise InputError("this network's head is no linear layer: it cannot be fine-tuned")
    return layers[-1]


def reset_head(model: nn.Module, num_classes: int) -> None:
    """A fresh head for `num_classes`, in place."""
    name, head = head_of(model)
    parent, _, leaf = name.rpartition(".")
    fresh = nn.Linear(head.in_features, num_classes, bias=head.bias is not None)
    setattr(model.get_submodule(parent), leaf, fresh.to(head.weight))


def blocks(model: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The parameters by layer or residual block, from the input to the head; every one of them in exactly one block.

    A norm belongs to the layer before it, a parameter that is in no layer to the first block.
    """
    found: list[tuple[str, list[nn.Parameter]]] = []

    def visit(name: str, module: nn.Module, inside: bool) -> None:
        if inside or isinstance(module, nn.Sequential):
            own = list(module.parameters(recurse=False))
            if own:
                found.append((name or "input", own))
            for leaf, child in module.named_children():
                visit(f"{name}.{leaf}" if name else leaf, child, leaf in INSIDE)
            return
        parameters = list(module.parameters())
        if parameters and isinstance(module, NORMS) and found:
            found[-1][1].extend(parameters)
        elif parameters:
            found.append((name, parameters))

    visit("", model, True)
    return found


def is_norm(module: nn.Module) -> bool:
    """Whether it normalises its input."""
    return isinstance(module, NORMS)


@torch.no_grad()
def read_features(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """What the head reads, float32 (N, D), and the labels (N,), in eval mode; batches of what the network reads.

    Raises InputError if the head's answer is not the network's.
    """
    head, seen, features, labels = head_of(model)[1], [], [], []
    handle = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        model.eval()
        for images, truth in batches:
            logits = model(images.to(head.weight.dtype))
            inputs = seen.pop()
            if not features and (inputs.ndim != 2 or not torch.allclose(head(inputs), logits, atol=1e-2)):
                raise InputError("this network does more after its last linear layer: its features cannot be used")
            features.append(inputs.float())
            labels.append(truth)
    finally:
        handle.remove()
    return torch.cat(features), torch.cat(labels)
