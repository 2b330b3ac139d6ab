"""Locate the values of feature maps on the image, by the centers of their receptive fields."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from src.models.structure import eval_mode

Size = tuple[int, int]


@dataclass(frozen=True)
class MapGeometry:
    """Value (row, column) of a map is centered on pixel first + step * (row, column).

    That is the center of its receptive field, padding included (Araujo et al. 2019, doi:10.23915/distill.00021).
    """

    first: tuple[float, float] = (0.0, 0.0)
    step: tuple[float, float] = (1.0, 1.0)

    def compose(self, inner: "MapGeometry") -> "MapGeometry":
        """The geometry, on the image, of maps that lie as `inner` on maps of this geometry."""
        first = tuple(round(f + s * x, 6) for f, s, x in zip(self.first, self.step, inner.first, strict=True))
        return MapGeometry(first, tuple(round(s * x, 6) for s, x in zip(self.step, inner.step, strict=True)))


def stretched_geometry(size: Size, onto: Size) -> MapGeometry:
    """Maps of `size` stretched over maps, or an image, of size `onto`."""
    steps = tuple(outer / inner for inner, outer in zip(size, onto, strict=True))
    return MapGeometry(tuple(step / 2 - 0.5 for step in steps), steps)


def find_geometry(model: nn.Module, shape: tuple[int, int, int], layer: nn.Module) -> MapGeometry | None:
    """The geometry of a layer's maps (B, D, h, w) on an image of `shape` (C, H, W); None if it is unknown.

    Convolutions, pooling, padding and resizing are followed by the size of their maps, so that side paths and attention
    do not matter. Unknown: maps of one size that lie differently, and sizes that arise in any other way.
    """
    sizes: list[Size] = []

    def record_size(module: nn.Module, args: tuple, output: object) -> None:
        if _is_maps(output):
            sizes.append(_size(output))

    tracker = _GeometryTracker(tuple(shape[1:]))
    parameter = next(model.parameters(), torch.zeros(()))
    with ExitStack() as hooks, eval_mode(model), torch.no_grad(), tracker:
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(tracker.after_module))
        hooks.enter_context(layer.register_forward_hook(record_size))
        model(torch.zeros(1, *shape, device=parameter.device))
    return tracker.by_size.get(sizes[-1]) if sizes else None


class _GeometryTracker(TorchFunctionMode):
    """Records the geometry of every size of maps in a forward pass; None for a size whose maps disagree.

    Modules are followed by hooks, `F.interpolate` and `F.pad` as torch functions.
    """

    def __init__(self, image_size: Size):
        super().__init__()
        self.by_size: dict[Size, MapGeometry | None] = {image_size: MapGeometry()}

    def _record(self, inputs: Tensor, outputs: Tensor, relative: MapGeometry) -> None:
        known, size = self.by_size.get(_size(inputs)), _size(outputs)
        geometry = None if known is None else known.compose(relative)
        self.by_size[size] = geometry if self.by_size.get(size, geometry) == geometry else None

    def after_module(self, module: nn.Module, args: tuple, output: object) -> None:
        """A forward hook for every module."""
        if args and isinstance(args[0], Tensor) and _is_maps(output):
            relative = _module_geometry(module, _size(args[0]), _size(output))
            if relative is not None:
                self._record(args[0], output, relative)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func is F.interpolate and output.ndim == 4:
            self._record(args[0], output, stretched_geometry(_size(output), _size(args[0])))
        if func is F.pad and output.ndim == 4:
            left, _, top, *_ = [*(args[1] if len(args) > 1 else kwargs["pad"]), 0, 0]
            self._record(args[0], output, MapGeometry((-top, -left)))
        return output


def _is_maps(output: object) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4


def _size(maps: Tensor) -> Size:
    return tuple(maps.shape[-2:])


def _module_geometry(module: nn.Module, input_size: Size, output_size: Size) -> MapGeometry | None:
    """How a module's outputs lie on its inputs; None if it moves nothing."""
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return stretched_geometry(output_size, input_size)
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return None
    kernel, stride, dilation = (_pair(getattr(module, key, 1)) for key in ("kernel_size", "stride", "dilation"))
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = module.padding
    if isinstance(padding, str):
        padding = [span // 2 if padding == "same" else 0 for span in spans]
    first = tuple(span / 2 - pad for span, pad in zip(spans, _pair(padding), strict=True))
    return MapGeometry(first, stride)


def _pair(value: int | Sequence[int]) -> tuple:
    return (value, value) if isinstance(value, int) else tuple(value)


def project(maps: Tensor, geometry: MapGeometry | None, size: Size) -> Tensor:
    """Resample maps (B, D, h, w) onto an image of `size`, bilinearly: (B, D, *size).

    Beyond the outermost centers the edge values continue. Without a geometry the maps are stretched over the image.
    """
    map_size = _size(maps)
    geometry = geometry or stretched_geometry(map_size, size)
    axes = []
    for side, map_side, first, step in zip(size, map_size, geometry.first, geometry.step, strict=True):
        position = (torch.arange(side, device=maps.device, dtype=maps.dtype) - first) / step
        axes.append((2 * position + 1) / map_side - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], 2).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
