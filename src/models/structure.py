"""The structure of any network of `src.models`: its head, its blocks, its features."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.errors import InputError

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
CONTAINERS = ("net", "features", "stages", "head", "classifier")  # modules of these names are opened, like Sequential


def find_head(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer, which computes the logits.

    Raises InputError if the last layer with weights is not linear.
    """
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, head = layers[-1] if layers else ("", None)
    if not isinstance(head, nn.Linear):
        raise InputError("this network does not end in a linear layer: it has no head to fine-tune")
    return name, head


def reset_head(model: nn.Module, num_classes: int) -> None:
    """Replace the head by a fresh one for `num_classes`, in place."""
    name, head = find_head(model)
    fresh = nn.Linear(head.in_features, num_classes, bias=head.bias is not None)
    model.set_submodule(name, fresh.to(head.weight))


def grow_head(model: nn.Module, num_classes: int, rows: Mapping[int, int]) -> None:
    """Replace the head by one for `num_classes`, in place. rows: the row of the present head for each class that it
    knows; other classes start afresh."""
    old = find_head(model)[1]
    reset_head(model, num_classes)
    fresh = find_head(model)[1]
    to, of = list(rows), list(rows.values())
    with torch.no_grad():
        for new, known in zip(fresh.parameters(), old.parameters(), strict=True):
            new[to] = known[of]


def parameter_blocks(model: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The parameters by layer or residual block, from the input to the head; each parameter is in exactly one block.

    A norm belongs to the layer before it, a parameter outside all layers to the first block.
    """
    blocks: list[tuple[str, list[nn.Parameter]]] = []

    def visit(name: str, module: nn.Module, is_container: bool) -> None:
        if is_container or isinstance(module, nn.Sequential):
            own = list(module.parameters(recurse=False))
            if own:
                blocks.append((name or "input", own))
            for leaf, child in module.named_children():
                visit(f"{name}.{leaf}" if name else leaf, child, leaf in CONTAINERS)
            return
        parameters = list(module.parameters())
        if parameters and isinstance(module, NORMS) and blocks:
            blocks[-1][1].extend(parameters)
        elif parameters:
            blocks.append((name, parameters))

    visit("", model, True)
    return blocks


def is_norm(module: nn.Module) -> bool:
    """Whether it is a normalization layer."""
    return isinstance(module, NORMS)


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


def predict_logits(model: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """The outputs (B, K) for images (B, C, H, W) in eval mode, without a graph."""
    with eval_mode(model), torch.no_grad():
        return torch.cat([model(batch.float()) for batch in images.split(batch_size)])


@torch.no_grad()
def extract_features(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The inputs of the head, float32 (N, D), and the labels (N,), computed in eval mode.

    batches: normalized images and labels. Leaves the model in eval mode.
    Raises InputError if the head's outputs are not the network's.
    """
    head = find_head(model)[1]
    head_inputs: list[Tensor] = []
    features: list[Tensor] = []
    all_labels: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, args: head_inputs.append(args[0]))
    try:
        model.eval()
        for images, labels in batches:
            logits = model(images.to(head.weight.dtype))
            inputs = head_inputs.pop()
            if not features and (inputs.ndim != 2 or not torch.allclose(head(inputs), logits, atol=1e-2)):
                raise InputError("this network computes more after its last linear layer: its features cannot be used")
            features.append(inputs.float())
            all_labels.append(labels)
    finally:
        handle.remove()
    return torch.cat(features), torch.cat(all_labels)
