"""Class activation maps: where a convolution's maps raise an output."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, require
from src.insight.receptive_field import find_geometry, project
from src.models.deslant import Deslant
from src.models.structure import NORMS, eval_mode, predict_logits

BATCH_SIZE = 256
SIDE_PATHS = ("shortcut", "downsample", "up", "down")  # names within paths beside the main one: residuals, adapters


def conv_layers(model: nn.Module) -> list[str]:
    """Names of the two-dimensional convolutions, in the order of their definition."""
    kernels = [(name, getattr(m, "weight", None)) for name, m in model.named_modules() if hasattr(m, "kernel_size")]
    return [name for name, weight in kernels if isinstance(weight, Tensor) and weight.ndim == 4]


def last_conv(model: nn.Module, avoid: tuple[str, ...] = ()) -> str | None:
    """The last convolution of the main path, or the norm right after it; None if there is no convolution.

    avoid: names to take only if there is no other, such as those of layers whose maps are one pixel.
    """
    names, modules = conv_layers(model), list(model.named_modules())
    names = [name for name in names if name not in avoid] or names
    main = [name for name in names if not set(name.split(".")) & set(SIDE_PATHS)] or names
    if not main:
        return None
    after = [name for name, _ in modules].index(main[-1]) + 1
    return modules[after][0] if after < len(modules) and isinstance(modules[after][1], NORMS) else main[-1]


def find_module(model: nn.Module, name: str) -> nn.Module | None:
    """A module by name, in `model` or in the network it wraps as `model.` (`InferenceModel`); None if there is none."""
    modules = dict(model.named_modules())
    return (modules.get(name) or modules.get(f"model.{name}")) if name else None


def list_names(names: list[str]) -> str:
    """Names on one line, cut after 24."""
    return (", ".join(names[:24]) + (f" and {len(names) - 24} more" if len(names) > 24 else "")) or "none"


def resolve_targets(model: nn.Module, images: Tensor, targets: Tensor | None, batch_size: int) -> Tensor:
    """The output columns to explain, int64 (B,): `targets`, or each image's largest output."""
    if targets is None:
        return predict_logits(model, images, batch_size).argmax(1)
    require(len(targets) == len(images), f"targets: {len(targets)} for {len(images)} images")
    return targets.to(images.device)


def grad_cam(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    layer: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Where a layer's maps raise the output: (B, 1, H, W), 0 or more (Selvaraju et al. 2017, arXiv:1610.02391).

    Maps are rectified, as a ReLU after the layer would do, weighted by the mean of their gradients and summed; negative
    sums become 0. The result is resampled onto the image by the centers of the receptive fields (`find_geometry`,
    `project`), or stretched over it where these are unknown: it is no finer than the layer.
    layer: any module whose output is (B, D, h, w), by name, with or without the `model.` of a wrapper; None takes
    `last_conv`.
    A network that deslants digits sees a sheared image: its map is sheared back onto the original.
    Raises InputError if there is no convolution, no such layer, or if the layer has no maps.
    """
    name = last_conv(model) if layer is None else layer
    if name is None:
        raise InputError("grad_cam needs a convolution, and this network has none")
    module = find_module(model, name)
    require(module is not None, f"layer={name} does not exist; convolutions: {list_names(conv_layers(model))}")
    targets = resolve_targets(model, images, targets, batch_size)
    geometry = find_geometry(model, tuple(images.shape[1:]), module)
    cams = []
    with eval_mode(model), _recording(model, module) as (outputs, shears):
        for batch, columns in zip(images.split(batch_size), targets.split(batch_size), strict=True):
            outputs.clear(), shears.clear()
            logits = model(batch.detach().float().requires_grad_())
            maps = outputs[-1] if outputs else None
            if not isinstance(maps, Tensor) or maps.ndim != 4 or not maps.requires_grad:
                raise InputError(f"layer={name} gives no maps; convolutions: {list_names(conv_layers(model))}")
            score = logits.gather(1, columns.unsqueeze(1)).sum()
            (gradients,) = torch.autograd.grad(score, maps, materialize_grads=True)
            weighted = maps.relu() * gradients.mean((2, 3), keepdim=True)
            cam = weighted.sum(1, keepdim=True).relu().detach()
            cam = project(cam, geometry, tuple(batch.shape[2:]))
            cams.append(_shear_back(cam, shears[-1]) if shears else cam)
    return torch.cat(cams)


@contextmanager
def _recording(model: nn.Module, layer: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Record the layer's outputs, and the shears of deslanting layers, in every forward pass."""
    outputs, shears = [], []

    def record_output(module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        outputs.append(output)
        return output.clone() if isinstance(output, Tensor) else None  # later layers may work in place

    def record_shears(module: Deslant, args: tuple, output: Tensor) -> None:
        ink = args[0].detach() - args[0].detach().amin((2, 3), keepdim=True)
        shears.append(module.shears(ink.float().sum(1)))

    with ExitStack() as hooks:
        hooks.enter_context(layer.register_forward_hook(record_output))
        for module in model.modules():
            if isinstance(module, Deslant):
                hooks.enter_context(module.register_forward_hook(record_shears))
        yield outputs, shears


def _shear_back(maps: Tensor, shears: Tensor) -> Tensor:
    """Undo a shear along rows, whose matrices (B, 2, 3) are [[1, s, t], [0, 1, 0]]."""
    inverse = shears.clone()
    inverse[:, 0, 1:] *= -1
    grid = F.affine_grid(inverse.to(maps.dtype), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False)
