"""Where on an image the values of a layer's maps lie."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from src.insight.eval_mode import eval_mode

Pair = tuple[float, float]


@dataclass(frozen=True)
class MapGeometry:
    """Value (row, column) of a map lies at pixel first + step * (row, column): the middle of what it is computed from,
    its receptive field, with the part of it that is padding (Araujo et al. 2019, doi:10.23915/distill.00021)."""

    first: Pair = (0.0, 0.0)
    step: Pair = (1.0, 1.0)

    def after(self, start: Pair, stride: Pair) -> "MapGeometry":
        """Of maps whose value 0 lies at `start` and whose next one `stride` farther on, in places of these."""
        first = tuple(round(f + s * x, 6) for f, s, x in zip(self.first, self.step, start, strict=True))
        return MapGeometry(first, tuple(round(s * x, 6) for s, x in zip(self.step, stride, strict=True)))


def stretched(size: tuple[int, int], onto: tuple[int, int]) -> MapGeometry:
    """Maps of `size` spread evenly over maps, or an image, of the size `onto`."""
    steps = tuple(there / here for here, there in zip(size, onto, strict=True))
    return MapGeometry(tuple(step / 2 - 0.5 for step in steps), steps)


def find_geometry(model: nn.Module, shape: tuple[int, int, int], layer: nn.Module) -> MapGeometry | None:
    """Where the maps (B, D, h, w) of a layer lie on an image of `shape` (C, H, W); None where it cannot be told.

    Followed through convolutions, pooling, padding and resizing by the sizes of their maps, so that side paths and
    attention do not matter. Not told: maps of one size that lie differently, and sizes that come about in another way.
    """
    by_size: dict[tuple[int, ...], MapGeometry | None] = {tuple(shape[1:]): MapGeometry()}
    found: list[tuple[int, ...]] = []

    def learn(before: Tensor, after: Tensor, start: Pair, stride: Pair) -> None:
        old, size = by_size.get(tuple(before.shape[-2:])), tuple(after.shape[-2:])
        new = None if old is None else old.after(start, stride)
        by_size[size] = new if by_size.get(size, new) == new else None

    def follow(module: nn.Module, args: tuple, output: object) -> None:
        if not args or not isinstance(args[0], Tensor) or not isinstance(output, Tensor) or output.ndim != 4:
            return
        moved = _moved(module, tuple(args[0].shape[-2:]), tuple(output.shape[-2:]))
        if moved:
            learn(args[0], output, *moved)

    class Resizing(TorchFunctionMode):
        """Notes what functions, not modules, do to sizes."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            if func is F.interpolate and output.ndim == 4:
                even = stretched(tuple(output.shape[-2:]), tuple(args[0].shape[-2:]))
                learn(args[0], output, even.first, even.step)
            if func is F.pad and output.ndim == 4:
                pad = [*(args[1] if len(args) > 1 else kwargs["pad"]), 0, 0]
                learn(args[0], output, (-pad[2], -pad[0]), (1, 1))
            return output

    def end(module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append(tuple(output.shape[-2:]))

    handles = [module.register_forward_hook(follow) for module in model.modules()]
    handles.append(layer.register_forward_hook(end))
    parameter = next(model.parameters(), torch.zeros(()))
    try:
        with eval_mode(model), torch.no_grad(), Resizing():
            model(torch.zeros(1, *shape, device=parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    return by_size.get(found[-1]) if found else None


def _moved(module: nn.Module, before: tuple[int, int], after: tuple[int, int]) -> tuple[Pair, Pair] | None:
    """Where a module's value 0 lies in places of its input, and how far the next one is; None if it moves nothing."""
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        even = stretched(after, before)
        return even.first, even.step
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return None
    kernel, stride, dilation = (_pair(getattr(module, key, 1)) for key in ("kernel_size", "stride", "dilation"))
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = module.padding
    if isinstance(padding, str):
        padding = [span // 2 if padding == "same" else 0 for span in spans]
    start = tuple(span / 2 - pad for span, pad in zip(spans, _pair(padding), strict=True))
    return start, stride


def _pair(value) -> tuple:
    return (value, value) if isinstance(value, int) else tuple(value)


def project(maps: Tensor, places: MapGeometry | None, size: tuple[int, int]) -> Tensor:
    """Maps (B, D, h, w) as an image of `size` has them, bilinear between places, continued outwards: (B, D, *size).

    Without places they are stretched over the whole image.
    """
    shape = tuple(maps.shape[2:])
    places = places or stretched(shape, size)
    axes = []
    for side, own, first, step in zip(size, shape, places.first, places.step, strict=True):
        position = (torch.arange(side, device=maps.device, dtype=maps.dtype) - first) / step
        axes.append((2 * position + 1) / own - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], 2).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
