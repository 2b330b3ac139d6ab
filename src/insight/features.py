"""What a network has learnt to see: its filters, its feature maps, what excites its answers, what is alike to it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, is_integer, is_number, require
from src.insight.eval_mode import BATCH, eval_mode, layer_of, list_names
from src.insight.grad_cam import conv_layers


def feature_maps(
    model: nn.Module, images: Tensor, names: list[str] | None = None, batch: int = BATCH
) -> dict[str, Tensor]:
    """What layers make of images (B, C, H, W), by name, in the order in which they work: (B, D, h, w) or (B, D).

    names: of modules, with or without the `model.` of a network in a wrapper; None takes every one that has no modules
    inside. A layer that is used twice gives its last maps.
    Raises InputError for a name that does not exist; layers that the network does not call are left out.
    """
    modules = dict(model.named_modules())
    names = [name for name, module in modules.items() if not list(module.children())] if names is None else names
    for name in names:
        if layer_of(model, name) is None:
            raise InputError(f"layer={name} does not exist; there are: {list_names([n for n in modules if n])}")
    kept: dict[str, list[Tensor]] = {}

    def keep(name: str):
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            if isinstance(output, Tensor):
                kept.setdefault(name, []).append(output.detach().clone())  # what comes after may work in place

        return hook

    handles = [layer_of(model, name).register_forward_hook(keep(name)) for name in names]
    found: dict[str, list[Tensor]] = {}
    try:
        with eval_mode(model), torch.no_grad():
            for some in images.split(batch):
                kept.clear()
                model(some.float())
                for name, outputs in kept.items():
                    found.setdefault(name, []).append(outputs[-1])
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def conv_filters(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """The kernels (D, C, kh, kw) of every convolution by name; without any, the first linear layer's weights laid out
    as images of `shape` (C, H, W), if it reads pixels."""
    found = {name: model.get_submodule(name).weight.detach().clone() for name in conv_layers(model)}
    if found:
        return found
    linear = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    if linear and linear[0][1].in_features == math.prod(shape):
        name, layer = linear[0]
        return {name: layer.weight.detach().clone().view(-1, *shape)}
    return {}


def maximize_classes(
    model: nn.Module,
    shape: tuple[int, int, int],
    targets: Tensor,
    signs: Tensor | None = None,
    steps: int = 200,
    jitter_px: int = 2,
    smooth_px: float = 1.0,
    ground: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Images (T, C, H, W) of grey levels 0..255 that excite the answers `targets` most, each by itself.

    Activation maximisation (Erhan et al. 2009; Simonyan et al. 2013, arXiv:1312.6034) with what keeps it from noise
    (Olah et al. 2017, https://distill.pub/2017/feature-visualization): at each step the image is moved by up to
    jitter_px, and its gradient is blurred by a Gaussian of smooth_px, which ends at half of that; ground: how strongly
    pixels that do not matter are drawn back to black, per step. signs: -1 for the smallest answer instead, (T,).
    Begins with faint noise drawn by `seed`; the same seed gives the same images.
    """
    require(is_integer(steps) and steps >= 1, f"steps={steps}: a whole number of at least 1")
    require(is_integer(jitter_px) and jitter_px >= 0, f"jitter_px={jitter_px}: 0 or more")
    require(is_number(smooth_px) and smooth_px >= 0, f"smooth_px={smooth_px}: 0 or more")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generator, count = torch.Generator().manual_seed(seed), len(targets)
    columns = targets.to(device).unsqueeze(1)
    upward = torch.ones(count) if signs is None else signs.float()
    dark = -3.0  # of the sigmoid: grey level 12
    start = dark + 0.3 * torch.randn(shape, generator=generator)  # one start for all, so that they can be compared
    levels = start.expand(count, *shape).to(device).clone()
    with eval_mode(model):
        for step in range(steps):
            moves = torch.randint(-jitter_px, jitter_px + 1, (2,), generator=generator).tolist()
            levels.requires_grad_()
            images = 255 * levels.sigmoid()
            score = (model(images.roll(moves, (2, 3))).gather(1, columns).squeeze(1) * upward.to(device)).sum()
            if not score.requires_grad:
                break
            (slope,) = torch.autograd.grad(score, images)  # per grey level: the sigmoid's own slope would freeze black
            slope = blur(slope, smooth_px * (1 - 0.5 * step / steps))
            size = slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
            levels = levels.detach() + 0.2 * slope / size
            levels += ground * (dark - levels)
    return (255 * levels.sigmoid()).detach()


def blur(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), its ends repeated; 0 changes nothing."""
    if sigma_px <= 0.1:
        return images
    reach = min(math.ceil(3 * sigma_px), *images.shape[2:])
    place = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-place.square() / (2 * sigma_px**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights.unsqueeze(3), groups=images.shape[1])
    return F.conv2d(rows, weights.unsqueeze(2), groups=images.shape[1])


def nearest_features(queries: Tensor, bank: Tensor, count: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Euclidean distances and rows of the `count` nearest of `bank` (N, D) to each of `queries` (Q, D): (Q, count).

    own: for each query its own row in the bank, which is left out; -1 where it is not there.
    """
    count = min(count, len(bank) - (own is not None))
    require(count >= 1, f"{len(bank)} images are too few to find neighbours among")
    apart = torch.cdist(queries.float(), bank.float())
    if own is not None:
        there = (own >= 0).nonzero().flatten()
        apart[there, own[there]] = math.inf
    return apart.topk(count, largest=False)
