"""A sequence of layers computed with channels of zeros added where they fill a vector of the CPU.

A pooling layer in channels last handles eight channels at once and the rest one by one: six channels take longer than
eight. Measured on two cores with torch 2.14.1, a training step of LeNet-5, whose first convolution has six, takes
0.88 of the time in channels last (batches of 64 and 512), inference 0.77. Five channels or twelve do not gain by it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from src.models.memory_format import VECTOR, channels_last, image_format

MOST_ADDED = 2
BY_CHANNEL = (  # layers that compute each channel from itself alone
    *(nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity),
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU),
)


def run_layers(layers: nn.Sequential, images: Tensor) -> Tensor:
    """What `layers(images)` computes, up to rounding; weights and what the last layer returns have no added channels.

    Channels are added between two plain convolutions of a network that computes in channels last, unless a hook would
    see them.
    """
    added = _channels_to_add(layers)
    if not any(added) or _is_observed(layers) or torch.compiler.is_compiling():
        return layers(images)
    form = image_format(next(layer for layer in layers if isinstance(layer, nn.Conv2d)))
    if form is None or not form.applies(images):
        return layers(images)
    inputs = 0
    for layer, outputs in zip(layers, added, strict=True):
        if isinstance(layer, nn.Conv2d):
            images = _convolve(layer, channels_last(images), inputs, outputs)
            inputs = outputs
        else:
            images = layer(images)
    return images


def _channels_to_add(layers: nn.Sequential) -> list[int]:
    """Of each layer's output; 0 where the next layer with weights is no plain convolution."""
    added, last = [0] * len(layers), None
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d) and _is_plain(layer):
            missing = -layer.in_channels % VECTOR
            if last is not None and missing <= MOST_ADDED:
                added[last] = missing
            last = position
        elif not isinstance(layer, BY_CHANNEL):
            last = None
    return added


def _is_plain(layer: nn.Conv2d) -> bool:
    return type(layer).forward is nn.Conv2d.forward and layer.groups == 1 and layer.padding_mode == "zeros"


def _is_observed(layers: nn.Sequential) -> bool:
    """Whether a hook of a layer, but for the memory format's, sees what the layers compute."""
    for layer in (layers, *layers):
        if layer._forward_hooks or layer._backward_hooks or layer._backward_pre_hooks:
            return True
        if len(layer._forward_pre_hooks) > (image_format(layer) is not None):
            return True
    return _has_any_global_hook()


def _convolve(layer: nn.Conv2d, images: Tensor, inputs: int, outputs: int) -> Tensor:
    weight, bias = layer.weight, layer.bias
    if inputs or outputs:
        weight = F.pad(weight, (0, 0, 0, 0, 0, inputs, 0, outputs))
    if outputs and bias is not None:
        bias = F.pad(bias, (0, outputs))
    return F.conv2d(images, weight, bias, layer.stride, layer.padding, layer.dilation)
