"""What a network has learnt: its filters, its feature maps, the images that maximize its outputs, nearest features."""

import math
from collections import defaultdict
from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, positive_int, require
from src.insight.grad_cam import BATCH_SIZE, conv_layers, find_module, list_names
from src.models.structure import eval_mode

BLACK_LOGIT = -3.0  # the sigmoid of it is grey level 12


def feature_maps(
    model: nn.Module, images: Tensor, names: list[str] | None = None, batch_size: int = BATCH_SIZE
) -> dict[str, Tensor]:
    """The outputs (B, D, h, w) or (B, D) of layers for images (B, C, H, W), by name, in the order of computation.

    names: of modules, with or without the `model.` of a wrapper; None takes every module without children. A layer
    that is called twice gives its last output; layers that are not called are left out.
    Raises InputError for a name that does not exist.
    """
    modules = dict(model.named_modules())
    names = [name for name, module in modules.items() if not list(module.children())] if names is None else names
    found = {name: find_module(model, name) for name in names}
    for name, module in found.items():
        if module is None:
            raise InputError(f"layer={name} does not exist; layers: {list_names([n for n in modules if n])}")
    outputs: dict[str, Tensor] = {}  # of one batch

    def record(name: str, module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            outputs[name] = output.detach().clone()  # later layers may work in place

    batches: dict[str, list[Tensor]] = defaultdict(list)
    with ExitStack() as hooks, eval_mode(model), torch.no_grad():
        for name, module in found.items():
            hooks.enter_context(module.register_forward_hook(partial(record, name)))
        for batch in images.split(batch_size):
            outputs.clear()
            model(batch.float())
            for name, output in outputs.items():
                batches[name].append(output)
    return {name: torch.cat(tensors) for name, tensors in batches.items()}


def conv_filters(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """The kernels (D, C, kh, kw) of every convolution by name; without one, the weights of the first linear layer as
    images of `shape` (C, H, W), if it reads pixels."""
    kernels = {name: model.get_submodule(name).weight.detach().clone() for name in conv_layers(model)}
    if kernels:
        return kernels
    name, layer = next(((name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)), ("", None))
    if layer is None or layer.in_features != math.prod(shape):
        return {}
    return {name: layer.weight.detach().clone().view(-1, *shape)}


def maximize_activation(
    model: nn.Module,
    shape: tuple[int, int, int],
    targets: Tensor,
    signs: Tensor | None = None,
    steps: int = 200,
    seed: int = 0,
) -> Tensor:
    """Images (T, C, H, W) of grey levels 0..255 that maximize the outputs `targets`, one image per output.

    Activation maximization (Erhan et al. 2009; Simonyan et al. 2013, arXiv:1312.6034), regularized against noise (Olah
    et al. 2017, https://distill.pub/2017/feature-visualization): each step moves the image by up to 2 pixels, blurs its
    gradient by a Gaussian of 1 pixel, at the end half of that, and lets each pixel fall back to black by 2 %.
    signs: (T,), -1 minimizes the output instead.
    Starts from faint noise drawn with `seed`; the same seed gives the same images.
    """
    positive_int("steps", steps)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generator, count = torch.Generator().manual_seed(seed), len(targets)
    columns = targets.to(device).unsqueeze(1)
    signs = (torch.ones(count) if signs is None else signs.float()).to(device)
    start = BLACK_LOGIT + 0.3 * torch.randn(shape, generator=generator)  # the same for all, which makes them comparable
    pixels = start.expand(count, *shape).to(device).clone()  # logits of grey levels
    with eval_mode(model):
        for step in range(steps):
            offsets = torch.randint(-2, 3, (2,), generator=generator).tolist()
            pixels.requires_grad_()
            images = 255 * pixels.sigmoid()
            score = (model(images.roll(offsets, (2, 3))).gather(1, columns).squeeze(1) * signs).sum()
            if not score.requires_grad:
                break
            (grads,) = torch.autograd.grad(score, images)  # per grey level: the sigmoid's slope would freeze black
            grads = blur(grads, 1 - 0.5 * step / steps)
            rms = grads.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
            pixels = pixels.detach() + 0.2 * grads / rms
            pixels += 0.02 * (BLACK_LOGIT - pixels)
    return (255 * pixels.sigmoid()).detach()


def blur(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (B, C, H, W) with replicated borders; a sigma of 0.1 or less changes nothing."""
    if sigma_px <= 0.1:
        return images
    radius = min(math.ceil(3 * sigma_px), *images.shape[2:])
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-offsets.square() / (2 * sigma_px**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights.unsqueeze(3), groups=images.shape[1])
    return F.conv2d(rows, weights.unsqueeze(2), groups=images.shape[1])


def nearest_features(queries: Tensor, bank: Tensor, count: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Euclidean distances and rows of the `count` nearest of `bank` (N, D) to each of `queries` (Q, D): (Q, count).

    exclude: (Q,), the query's own row in the bank, which does not count as near; -1 for a query outside the bank.
    """
    count = min(count, len(bank) - (exclude is not None))
    require(count >= 1, f"{len(bank)} images are too few to find neighbours among")
    distances = torch.cdist(queries.float(), bank.float())
    if exclude is not None:
        inside = (exclude >= 0).nonzero().flatten()
        distances[inside, exclude[inside]] = math.inf
    return distances.topk(count, largest=False)
