"""Convolution from its definition, in four forms that give the same numbers.

What networks call convolution is cross-correlation: the kernel is laid on the image as it is. For one output channel
y and place p, with stride s and dilation d, per axis,

    y[p] = bias + sum over channels c and kernel positions t of  weight[c, t] * padded[c, s * p + d * t]

The convolution of mathematics lays the kernel on turned round, t counted backwards: give `flip(weight)` for it. A
network that learns its kernels does not see the difference.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, is_integer, require

Sizes = int | Sequence[int]  # one number for all axes, or one per axis


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Places that a kernel takes along one axis of `size` values, `padding` zeros at both ends.

    Its `kernel` values stand `dilation` apart, so it spans dilation * (kernel - 1) + 1, and it moves on by `stride`.
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def flip(weight: Tensor) -> Tensor:
    """The kernel turned round along every axis: cross-correlation with it is the convolution of mathematics."""
    return weight.flip(tuple(range(2, weight.ndim)))


def native(
    inputs: Tensor, weight: Tensor, bias=None, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1, groups=1
) -> Tensor:
    """Cross-correlation as torch.nn.functional.conv1d, conv2d and conv3d compute it.

    inputs: real (B, C, *space), of one to three axes of space; weight: (O, C / groups, *kernel); bias: (O,).
    stride, padding (zeros at both ends), dilation: one number, or one per axis of space. groups: the channels and the
    outputs are cut into so many parts, and an output sees the channels of its part.
    Returns (B, O, *places) with the places that `output_size` counts. Raises InputError for what does not fit.
    """
    fit = _fit(inputs, weight, bias, stride, padding, dilation, groups)
    compute = (F.conv1d, F.conv2d, F.conv3d)[len(fit.kernel) - 1]
    return compute(inputs, weight, bias, fit.stride, fit.padding, fit.dilation, groups)


def loops(
    inputs: Tensor, weight: Tensor, bias=None, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1, groups=1
) -> Tensor:
    """The definition, letter for letter: a loop over the places of the output, in it one over those of the kernel.

    Only images and channels are taken together. Takes and returns what `native` does; up to a hundred times slower.
    """
    fit = _fit(inputs, weight, bias, stride, padding, dilation, groups)
    padded = _pad(inputs, fit)
    # A matrix per place: of the image (groups, B, C / groups), of the kernel (groups, C / groups, O / groups).
    parts, area = (len(inputs), groups, weight.shape[1]), math.prod(padded.shape[2:])
    pixels = padded.reshape(*parts, area).permute(3, 1, 0, 2).contiguous()
    taps = weight.reshape(groups, -1, weight.shape[1], math.prod(fit.kernel)).permute(3, 0, 2, 1).contiguous()
    pixel = dict(zip(_places(padded.shape[2:]), pixels.unbind(), strict=True))
    tap = dict(zip(_places(fit.kernel), taps.unbind(), strict=True))

    outputs = []
    for p in _places(fit.places):
        total = 0
        for t in _places(fit.kernel):
            at = tuple(s * i + d * j for s, i, d, j in zip(fit.stride, p, fit.dilation, t, strict=True))
            total = total + torch.bmm(pixel[at], tap[t])
        outputs.append(total)
    return _finish(torch.stack(outputs, -1).transpose(0, 1), bias, fit)


def unfold(
    inputs: Tensor, weight: Tensor, bias=None, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1, groups=1
) -> Tensor:
    """One matrix product: the patch under the kernel at every place is a column, each output's kernel is a row.

    The patches overlap, so that the matrix holds each value up to as often as the kernel has places (Chellapilla et al.
    2006, https://inria.hal.science/inria-00112631). Takes and returns what `native` does.
    """
    fit = _fit(inputs, weight, bias, stride, padding, dilation, groups)
    patches = _pad(inputs, fit)
    for axis, (span, step, apart) in enumerate(zip(fit.span, fit.stride, fit.dilation, strict=True), start=2):
        patches = patches.unfold(axis, span, step)[..., ::apart]
    axes = len(fit.kernel)  # (B, C, *places, *kernel) so far
    patches = patches.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    columns = patches.reshape(len(inputs), groups, weight[0].numel(), math.prod(fit.places))
    rows = weight.reshape(groups, -1, weight[0].numel())
    return _finish(rows @ columns, bias, fit)


def fft(
    inputs: Tensor, weight: Tensor, bias=None, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1, groups=1
) -> Tensor:
    """One product per frequency: of the image's Fourier transform and the conjugate of the kernel's.

    Conjugating is what makes it correlation and not convolution. The transform sees the image as endless tiles; at the
    places that are kept the kernel ends before the next tile begins. What stride leaves out is computed all the same,
    but the size of the kernel hardly matters (Mathieu et al. 2014, arXiv:1312.5851). Takes and returns what `native`
    does; half precision is transformed in single.
    """
    fit = _fit(inputs, weight, bias, stride, padding, dilation, groups)
    if len(inputs) == 0:  # torch's transform fails where there is nothing to transform
        return native(inputs, weight, bias, stride, padding, dilation, groups)
    wide = torch.promote_types(torch.promote_types(inputs.dtype, weight.dtype), torch.float32)
    padded, kernel = _pad(inputs, fit).to(wide), weight.to(wide)
    if max(fit.dilation) > 1:  # spread the kernel, zeros between its values
        spread = kernel.new_zeros(*weight.shape[:2], *fit.span)
        spread[(..., *(slice(None, None, apart) for apart in fit.dilation))] = kernel
        kernel = spread
    size, axes = padded.shape[2:], tuple(range(2, inputs.ndim))
    image = torch.fft.rfftn(padded, size, axes)
    filters = torch.fft.rfftn(kernel, size, axes).conj()
    each = (weight.shape[1], math.prod(image.shape[2:]))
    image_parts, filter_parts = image.reshape(len(inputs), groups, *each), filters.reshape(groups, -1, *each)
    products = torch.einsum("bgcf,gocf->bgof", image_parts, filter_parts)
    everywhere = torch.fft.irfftn(products.reshape(len(inputs), len(weight), *image.shape[2:]), size, axes)
    kept = (slice(0, s * (n - 1) + 1, s) for s, n in zip(fit.stride, fit.places, strict=True))
    return _finish(everywhere[(..., *kept)].to(inputs.dtype), bias, fit)


FORMS: dict[str, Callable[..., Tensor]] = {"native": native, "loops": loops, "unfold": unfold, "fft": fft}


class Conv2d(nn.Conv2d):
    """nn.Conv2d with the same parameters and the same initial draw, computed by one of `FORMS`.

    Traced or exported it is nn.Conv2d: a file or a drawn graph holds one convolution, not the 20,000 steps of a loop.
    Raises InputError for an unknown form, and for padding that is a word or not of zeros.
    """

    def __init__(self, *args, form: str = "unfold", **options):
        super().__init__(*args, **options)
        zeros = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        require(zeros, f"padding={self.padding} of {self.padding_mode}: pixels of zeros, a number or one per axis")
        self.form = check_form(form)

    def forward(self, images: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            return super().forward(images)
        compute = FORMS[self.form]
        return compute(images, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, form={self.form}"


def make_conv2d(*args, form: str, **options) -> nn.Conv2d:
    """torch's own layer for native, one of the above for the other forms. Raises InputError for an unknown one."""
    return nn.Conv2d(*args, **options) if check_form(form) == "native" else Conv2d(*args, form=form, **options)


def check_form(name: str) -> str:
    """The name of a form. Raises InputError listing those that exist."""
    if name not in list(FORMS):  # a list, or a list that is given would be asked for its hash
        raise InputError(f"model.convolution={name}: one of {', '.join(FORMS)}")
    return name


class _Fit(NamedTuple):
    kernel: tuple[int, ...]
    span: tuple[int, ...]  # of the kernel on the image, dilation included
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    places: tuple[int, ...]
    outputs: int


def _fit(inputs, weight, bias, stride, padding, dilation, groups) -> _Fit:
    axes = inputs.ndim - 2
    require(
        axes in (1, 2, 3) and weight.ndim == inputs.ndim and 0 not in weight.shape,
        f"inputs of shape {_by(inputs.shape)} with a weight of {_by(weight.shape)}: give (B, C, *space) and "
        "(O, C / groups, *kernel), both with one to three axes of space",
    )
    require(
        inputs.is_floating_point() and weight.is_floating_point(),
        f"inputs of {inputs.dtype} with a weight of {weight.dtype}: both must be real numbers, as .float() gives",
    )
    channels, outputs = inputs.shape[1], weight.shape[0]
    require(
        is_integer(groups) and groups >= 1 and channels % groups == 0 and outputs % groups == 0,
        f"groups={groups}: a whole number that divides the {channels} channels and the {outputs} outputs",
    )
    require(
        weight.shape[1] * groups == channels,
        f"inputs of {channels} channels with a weight for {weight.shape[1]} per group and groups={groups}: "
        f"that takes inputs of {weight.shape[1] * groups}",
    )
    require(
        bias is None or tuple(bias.shape) == (outputs,),
        f"a bias of shape {() if bias is None else _by(bias.shape)}: give one number for each of {outputs} outputs",
    )
    size, kernel = tuple(inputs.shape[2:]), tuple(weight.shape[2:])
    stride, dilation = _per_axis("stride", stride, axes, 1), _per_axis("dilation", dilation, axes, 1)
    padding = _per_axis("padding", padding, axes, 0)
    places = tuple(map(output_size, size, kernel, stride, padding, dilation))
    span = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    require(
        min(places) >= 1,
        f"a kernel that spans {_by(span)} is larger than the padded input of "
        f"{_by([n + 2 * p for n, p in zip(size, padding, strict=True)])}: give more padding or larger images",
    )
    return _Fit(kernel, span, stride, padding, dilation, places, outputs)


def _per_axis(name: str, value: Sizes, axes: int, least: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * axes
    fits = len(values) == axes and all(is_integer(n) and n >= least for n in values)
    require(fits, f"{name}={value}: a whole number of at least {least}, or one for each of {axes} axes")
    return values


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(n) for n in sizes)


def _pad(inputs: Tensor, fit: _Fit) -> Tensor:
    return F.pad(inputs, [p for p in reversed(fit.padding) for _ in range(2)]) if any(fit.padding) else inputs


def _places(sizes: Sequence[int]) -> product:
    return product(*map(range, sizes))


def _finish(outputs: Tensor, bias: Tensor | None, fit: _Fit) -> Tensor:
    """(B, ...) of the outputs' values in their order to (B, O, *places), the bias added."""
    outputs = outputs.reshape(len(outputs), fit.outputs, *fit.places)
    return outputs if bias is None else outputs + bias.view(-1, *[1] * len(fit.places))
