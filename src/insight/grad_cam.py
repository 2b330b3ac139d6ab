"""Class activation maps: which places of a convolution's maps speak for an answer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, require
from src.insight.eval_mode import BATCH, eval_mode, layer_of, list_names, resolve_targets
from src.insight.receptive_field import find_geometry, project
from src.models.deslant import Deslant
from src.models.structure import is_norm


def conv_layers(model: nn.Module) -> list[str]:
    """Names of the two-dimensional convolutions, in the order in which they were made."""

    def is_conv(module: nn.Module) -> bool:
        weight = getattr(module, "weight", None)
        return isinstance(weight, Tensor) and weight.ndim == 4 and hasattr(module, "kernel_size")

    return [name for name, module in model.named_modules() if is_conv(module)]


BESIDE = ("shortcut", "downsample", "up", "down")  # leaf names in paths beside the main one, of residuals and adapters


def last_conv(model: nn.Module, pointless: tuple[str, ...] = ()) -> str | None:
    """The last convolution of the main path, or the norm that stands right after it; None where there is none.

    pointless: names that are taken only if there is no other, such as those whose maps are one pixel.
    """
    names, order = conv_layers(model), list(model.named_modules())
    names = [name for name in names if name not in pointless] or names
    main = [name for name in names if not set(name.split(".")) & set(BESIDE)] or names
    if not main:
        return None
    after = [name for name, _ in order].index(main[-1]) + 1
    return order[after][0] if after < len(order) and is_norm(order[after][1]) else main[-1]


def grad_cam(
    model: nn.Module, images: Tensor, targets: Tensor | None = None, layer: str | None = None, batch: int = BATCH
) -> Tensor:
    """Where a layer's maps speak for the answer: (B, 1, H, W), 0 or more (Selvaraju et al. 2017, arXiv:1610.02391).

    Maps weighted by the mean of their gradients, what is negative cut off, enlarged bilinearly to the image: no finer
    than the layer is. Each value is put over the middle of the pixels that it is computed from (`find_places`), those
    at the edge are continued outwards; where that cannot be told, maps are stretched over the image.
    layer: any module whose output is (B, D, h, w), by its name, with or without the `model.` of a network in a wrapper;
    `last_conv` by default. Maps are rectified first, as in the paper: what a ReLU cuts off speaks for nothing.
    A network that sets digits upright first sees another image: the map is sheared back onto the given one.
    Raises InputError where there is no convolution, no such layer, or one without maps.
    """
    name = last_conv(model) if layer is None else layer
    if name is None:
        raise InputError("grad_cam needs a convolution, and this network has none")
    layer = layer_of(model, name)
    require(layer is not None, f"layer={name} does not exist; convolutions: {list_names(conv_layers(model))}")
    targets = resolve_targets(model, images, targets, batch)
    places = find_geometry(model, tuple(images.shape[1:]), layer)
    seen, shears = [], []

    def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()  # what comes after may work in place

    def note(module: Deslant, args: tuple, output: Tensor) -> None:
        ink = args[0].detach() - args[0].detach().amin((2, 3), keepdim=True)
        shears.append(module.shears(ink.float().sum(1)))

    handles = [layer.register_forward_hook(keep)]
    handles += [m.register_forward_hook(note) for m in model.modules() if isinstance(m, Deslant)]
    maps = []
    try:
        with eval_mode(model):
            for some, columns in zip(images.split(batch), targets.split(batch), strict=True):
                seen.clear(), shears.clear()
                score = model(some.detach().float().requires_grad_()).gather(1, columns.unsqueeze(1)).sum()
                features = seen[-1] if seen else None
                if not isinstance(features, Tensor) or features.ndim != 4 or not features.requires_grad:
                    raise InputError(f"layer={name} gives no maps; convolutions: {list_names(conv_layers(model))}")
                (slopes,) = torch.autograd.grad(score, features, allow_unused=True)
                slopes = torch.zeros_like(features) if slopes is None else slopes
                cam = (features.relu() * slopes.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu().detach()
                cam = project(cam, places, tuple(some.shape[2:]))
                maps.append(_sheared_back(cam, shears[-1]) if shears else cam)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(maps)


def _sheared_back(maps: Tensor, shears: Tensor) -> Tensor:
    """Undo a shear along rows, whose matrices (B, 2, 3) are 1, s, t over 0, 1, 0."""
    back = shears.clone()
    back[:, 0, 1:] *= -1
    grid = F.affine_grid(back.to(maps.dtype), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False)
