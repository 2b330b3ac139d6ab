"""Sizes of a convolution, and the checks of its arguments."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from src.errors import is_integer, require

Sizes = int | Sequence[int]  # one value for all spatial axes, or one per axis


class Geometry(NamedTuple):
    """Sizes per spatial axis, and the number of groups."""

    kernel: tuple[int, ...]
    span: tuple[int, ...]  # of the kernel on the image, dilation included
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output: tuple[int, ...]
    groups: int


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Number of kernel positions along one axis of `size` values, with `padding` zeros at both ends.

    The kernel's values are `dilation` apart, so it spans dilation * (kernel - 1) + 1 values; it moves by `stride`.
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def fit_geometry(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Geometry:
    """The sizes of a convolution. Raises InputError for arguments that do not fit one another."""
    _check_tensors(inputs, weight, bias, groups)
    size, kernel = tuple(inputs.shape[2:]), tuple(weight.shape[2:])
    strides = _per_axis("stride", stride, len(size), least=1)
    dilations = _per_axis("dilation", dilation, len(size), least=1)
    zeros = _per_axis("padding", padding, len(size), least=0)
    output = tuple(map(output_size, size, kernel, strides, zeros, dilations))
    span = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
    require(
        min(output) >= 1,
        f"a kernel that spans {_by(span)} is larger than the padded input of "
        f"{_by([n + 2 * p for n, p in zip(size, zeros, strict=True)])}: give more padding or larger images",
    )
    return Geometry(kernel, span, strides, zeros, dilations, output, groups)


def _check_tensors(inputs: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    require(
        inputs.ndim in (3, 4, 5) and weight.ndim == inputs.ndim and 0 not in weight.shape,
        f"inputs of shape {_by(inputs.shape)} with a weight of {_by(weight.shape)}: give (B, C, *space) and "
        "(O, C / groups, *kernel), both with one to three spatial axes",
    )
    require(
        inputs.is_floating_point() and weight.is_floating_point(),
        f"inputs of {inputs.dtype} with a weight of {weight.dtype}: give real numbers, as .float() makes them",
    )
    channels, outputs = inputs.shape[1], weight.shape[0]
    require(
        is_integer(groups) and groups >= 1 and channels % groups == 0 and outputs % groups == 0,
        f"groups={groups}: a whole number that divides the {channels} channels and the {outputs} outputs",
    )
    require(
        weight.shape[1] * groups == channels,
        f"inputs of {channels} channels with a weight for {weight.shape[1]} per group and groups={groups}: "
        f"give inputs of {weight.shape[1] * groups} channels",
    )
    if bias is not None:
        fix = f"give one number for each of {outputs} outputs"
        require(tuple(bias.shape) == (outputs,), f"a bias of shape {_by(bias.shape)}: {fix}")


def _per_axis(name: str, value: Sizes, axes: int, least: int) -> tuple[int, ...]:
    values: tuple = tuple(value) if isinstance(value, list | tuple) else (value,) * axes
    fits = len(values) == axes and all(is_integer(n) and n >= least for n in values)
    require(fits, f"{name}={value}: a whole number, at least {least}, or one for each of {axes} axes")
    return values


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(n) for n in sizes)
