"""Convolution from its definition, by four algorithms that give the same numbers.

What networks call convolution is cross-correlation: the kernel is not flipped. For one output channel y at position p,
with stride s and dilation d, per axis,

    y[p] = bias + sum over channels c and kernel positions t of  weight[c, t] * padded[c, s * p + d * t]

The convolution of mathematics counts t backwards: pass `flip(weight)` for it. A network that learns its kernels does
not see the difference.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import choice, require
from src.models.convolution_geometry import Geometry, Sizes, fit_geometry


def flip(weight: Tensor) -> Tensor:
    """The kernel reversed along every spatial axis: cross-correlation with it is the convolution of mathematics."""
    return weight.flip(tuple(range(2, weight.ndim)))


def convolve(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    algorithm: str = "native",
) -> Tensor:
    """Cross-correlation as torch.nn.functional.conv1d, conv2d and conv3d define it.

    inputs: real (B, C, *space), one to three spatial axes; weight: (O, C / groups, *kernel); bias: (O,).
    stride, padding (zeros at both ends), dilation: one number, or one per spatial axis.
    groups: channels and outputs are split into this many groups; an output sees the channels of its own group.
    algorithm: one of ALGORITHMS; native is torch's own.
    Returns (B, O, *output), sides as `convolution_geometry.output_size` counts them.
    Raises InputError for an unknown algorithm, and for arguments that do not fit one another.
    """
    choice("algorithm", algorithm, ALGORITHMS)
    geometry = fit_geometry(inputs, weight, bias, stride, padding, dilation, groups)
    if algorithm == "native" or len(inputs) == 0:  # torch's Fourier transform fails on an empty batch
        compute = (F.conv1d, F.conv2d, F.conv3d)[len(geometry.kernel) - 1]
        return compute(inputs, weight, bias, geometry.stride, geometry.padding, geometry.dilation, groups)
    if any(geometry.padding):
        inputs = F.pad(inputs, [zeros for zeros in reversed(geometry.padding) for _ in range(2)])
    outputs = _ALGORITHMS[algorithm](inputs, weight, geometry)
    outputs = outputs.reshape(len(inputs), len(weight), *geometry.output)
    return outputs if bias is None else outputs + bias.view(-1, *[1] * len(geometry.output))


class Conv2d(nn.Conv2d):
    """nn.Conv2d, with its parameters and its initialization, computed by one of ALGORITHMS.

    Tracing and exporting see nn.Conv2d: a file or a drawn graph holds one convolution, not the 20,000 steps of a loop.
    Raises InputError for an unknown algorithm, a padding that is a word, or a padding mode other than zeros.
    """

    def __init__(self, *args, algorithm: str = "unfold", **options):
        super().__init__(*args, **options)
        zeros = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        require(zeros, f"padding={self.padding} of {self.padding_mode}: give a number of zeros, or one per axis")
        self.algorithm = choice("model.convolution", algorithm, ALGORITHMS)

    def forward(self, images: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            return super().forward(images)
        padding = cast(tuple[int, ...], self.padding)  # __init__ refuses a word
        return convolve(
            images, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, self.algorithm
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, algorithm={self.algorithm}"


def make_conv2d(*args, algorithm: str, **options) -> nn.Conv2d:
    """torch's own layer for native, `Conv2d` for other algorithms. Raises InputError for an unknown one."""
    if choice("model.convolution", algorithm, ALGORITHMS) == "native":
        return nn.Conv2d(*args, **options)
    return Conv2d(*args, algorithm=algorithm, **options)


# Each algorithm takes padded inputs (B, C, *space) and a weight (O, C / groups, *kernel), and returns the outputs
# without bias in the order (B, O, *output), in any shape.


def _loops(padded: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The definition, letter for letter: a loop over output positions, in it a loop over kernel positions.

    Only images and channels are vectorized. Up to a hundred times slower than torch's own.
    """
    groups, channels, space = geometry.groups, weight.shape[1], padded.shape[2:]
    # One matrix per position: of the image (groups, B, C / groups), of the kernel (groups, C / groups, O / groups).
    pixels = padded.reshape(len(padded), groups, channels, math.prod(space)).permute(3, 1, 0, 2).contiguous()
    taps = weight.reshape(groups, -1, channels, math.prod(geometry.kernel)).permute(3, 0, 2, 1).contiguous()
    pixel_at = dict(zip(product(*map(range, space)), pixels.unbind(), strict=True))
    tap_at = dict(zip(product(*map(range, geometry.kernel)), taps.unbind(), strict=True))

    outputs = []
    for p in product(*map(range, geometry.output)):
        total = pixels.new_zeros(())
        for t in tap_at:
            source = tuple(s * i + d * j for s, i, d, j in zip(geometry.stride, p, geometry.dilation, t, strict=True))
            total = total + torch.bmm(pixel_at[source], tap_at[t])
        outputs.append(total)
    return torch.stack(outputs, -1).transpose(0, 1)


def _unfold(padded: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """One matrix product: the patch under the kernel at each position is a column, the kernel of each output a row.

    The patches overlap, so the matrix holds each value up to as often as the kernel has positions (im2col, Chellapilla
    et al. 2006, https://inria.hal.science/inria-00112631).
    """
    patches = padded
    for axis, (span, stride, dilation) in enumerate(
        zip(geometry.span, geometry.stride, geometry.dilation, strict=True), start=2
    ):
        patches = patches.unfold(axis, span, stride)[..., ::dilation]
    axes = len(geometry.kernel)  # (B, C, *output, *kernel) so far
    patches = patches.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    patch_size = weight[0].numel()
    columns = patches.reshape(len(padded), geometry.groups, patch_size, math.prod(geometry.output))
    return weight.reshape(geometry.groups, -1, patch_size) @ columns


def _fft(padded: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """One product per frequency: of the Fourier transform of the image and the conjugate of that of the kernel.

    Conjugation makes it correlation instead of convolution. The transform treats the image as periodic; at the output
    positions the kernel ends before the next period begins. Positions that stride skips are computed all the same, but
    the size of the kernel hardly matters (Mathieu et al. 2014, arXiv:1312.5851). Half precision is transformed in
    single.
    """
    dtype = torch.promote_types(torch.promote_types(padded.dtype, weight.dtype), torch.float32)
    kernel = weight.to(dtype)
    if max(geometry.dilation) > 1:
        dilated = kernel.new_zeros(*weight.shape[:2], *geometry.span)
        dilated[(slice(None), slice(None), *(slice(None, None, dilation) for dilation in geometry.dilation))] = kernel
        kernel = dilated
    size, axes = padded.shape[2:], tuple(range(2, padded.ndim))
    image_spectrum = torch.fft.rfftn(padded.to(dtype), size, axes)
    kernel_spectrum = torch.fft.rfftn(kernel, size, axes).conj()
    frequencies = image_spectrum.shape[2:]
    group_shape = (weight.shape[1], math.prod(frequencies))
    products = torch.einsum(
        "bgcf,gocf->bgof",
        image_spectrum.reshape(len(padded), geometry.groups, *group_shape),
        kernel_spectrum.reshape(geometry.groups, -1, *group_shape),
    )
    correlation = torch.fft.irfftn(products.reshape(len(padded), len(weight), *frequencies), size, axes)
    steps = [slice(0, s * (n - 1) + 1, s) for s, n in zip(geometry.stride, geometry.output, strict=True)]
    return correlation[(slice(None), slice(None), *steps)].to(padded.dtype)


_ALGORITHMS: dict[str, Callable[[Tensor, Tensor, Geometry], Tensor]] = {"loops": _loops, "unfold": _unfold, "fft": _fft}
ALGORITHMS = ("native", *_ALGORITHMS)
