"""The memory format a network computes in: channels last on a CPU, where that is faster.

Only images change their strides, before the network's first convolution; torch's layers hand the format on. Weights
stay as they are, and so do checkpoints, optimizer states and exported files.

Measured on two cores with torch 2.14.1, as the time of a training step over that in the contiguous format:
lenet 0.79 (batch 64) and 0.74 (512), cnn 0.72, convnet 0.82, resnet 0.78, resnet_large 0.90; of torchvision
mobilenet_v3_small 0.81, efficientnet_b0 0.78, convnext_tiny 0.99, but resnet18 1.16 at 64 pixels and resnet50 1.04;
inference 0.45 to 1.00 of it in all of these. In bfloat16 on a CPU without instructions for it lenet takes 1.5 of it.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from src.errors import choice, printable

MEMORY_FORMATS = ("auto", "channels_last", "contiguous")
OURS = f"{__package__}."
VECTOR = 8  # float32 values in a register of AVX2
STRIDED = "torch computes a 1x1 convolution with a stride and so few channels wrongly in it"
TRANSPOSED = "transposed convolutions are not measured in it"
WIDE = 256  # channels of a kernel above which its gradient is slower in channels last


class ImageFormat:
    """A forward pre-hook of a network's first convolution, which sets the strides of what it reads.

    memory_format: one of MEMORY_FORMATS; auto is channels last for float32 on a CPU, and, where a gradient is wanted,
    only if `narrow`.
    """

    def __init__(self) -> None:
        self.memory_format, self.narrow = "contiguous", True

    def __call__(self, module: nn.Module, args: tuple) -> tuple | None:
        return (channels_last(args[0]), *args[1:]) if args and self.applies(args[0]) else None

    def applies(self, images: Tensor) -> bool:
        """Whether a network that reads `images` computes in channels last."""
        if self.memory_format == "contiguous" or torch.compiler.is_exporting() or torch.jit.is_tracing():
            return False
        if self.memory_format == "channels_last":
            return True
        on_cpu = images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return on_cpu and (self.narrow or not torch.is_grad_enabled())


def channels_last(images: Tensor) -> Tensor:
    """The same images (B, C, H, W), with the strides of (B, H, W, C)."""
    if images.ndim != 4:
        return images
    if images.shape[1] == 1:  # nothing to move, but torch goes by the strides
        return images.reshape(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def set_memory_format(model: nn.Module, shape: tuple[int, int, int], memory_format: object = "auto") -> str | None:
    """Let a network compute in a memory format, in place; a second call replaces the first.

    shape: (C, H, W) of its images. memory_format: one of MEMORY_FORMATS.
    Returns why channels last cannot be used, None if it can: a network with a layer that torch computes wrongly in it,
    and one from outside this project that fails in it or computes something else, stay in the contiguous format.
    Raises InputError for an unknown format.
    """
    choice("memory_format", memory_format, MEMORY_FORMATS)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or type(first).forward is not nn.Conv2d.forward:  # an algorithm of src.models.convolution
        return "it has no convolution of torch's own to begin with" if memory_format == "channels_last" else None
    hook = image_format(first)
    if hook is None:
        hook = vars(first)["image_format"] = ImageFormat()
        first.register_forward_pre_hook(hook)
    hook.memory_format, hook.narrow = str(memory_format), not any(map(_is_wide, model.modules()))
    if memory_format == "contiguous":
        return None
    reason = next(filter(None, map(_why_wrong, model.modules())), None)
    if reason is None and not type(model).__module__.startswith(OURS):
        reason = _try(model, shape)
    if reason:
        hook.memory_format = "contiguous"
    return reason


def image_format(convolution: nn.Module) -> ImageFormat | None:
    """The hook that `set_memory_format` gave a network's first convolution; None for another layer."""
    return vars(convolution).get("image_format")


def _why_wrong(layer: nn.Module) -> str | None:
    """Why torch cannot be trusted with a layer in channels last; None if it can."""
    if isinstance(layer, nn.ConvTranspose2d):
        return TRANSPOSED
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.weight, nn.UninitializedParameter):
        return None
    return _why_wrong_kernel(layer.weight, layer.stride)


def _why_wrong_kernel(weight: Tensor, stride: int | Sequence[int]) -> str | None:
    """With torch 2.14.1 the backward pass of a 1x1 convolution with a stride and fewer than eight input channels gives
    wrong gradients of its weights on several threads, and writes beyond its memory on one."""
    strided = max(stride) > 1 if isinstance(stride, Sequence) else stride > 1
    few = min(weight.shape[2:]) == 1 and weight.shape[1] < VECTOR
    return STRIDED if strided and few else None


class _Convolutions(TorchFunctionMode):
    """While it is active, looks for convolutions that torch cannot be trusted with in channels last."""

    reason: str | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "conv_transpose2d":
            self.reason = TRANSPOSED
        elif name in ("conv2d", "convolution", "_convolution"):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            stride = args[3] if len(args) > 3 else kwargs.get("stride", 1)
            self.reason = self.reason or _why_wrong_kernel(weight, stride)
        return func(*args, **kwargs)


def _is_wide(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or max(module.kernel_size) == 1:
        return False
    return module.in_channels * module.out_channels // module.groups > WIDE * WIDE


def _try(model: nn.Module, shape: tuple[int, int, int]) -> str | None:
    """Why a network does not compute in channels last what it computes otherwise; None if it does."""
    trial = copy.deepcopy(model)
    hook = next(hook for module in trial.modules() if (hook := image_format(module)))
    wanted = hook.memory_format
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(weight)
        outputs = []
        try:
            with _Convolutions() as convolutions:
                for memory_format in ("contiguous", "contiguous", wanted):
                    hook.memory_format = memory_format
                    outputs.append(trial.eval()(images.clone()))
                trial.train()(images.clone())
        except Exception as error:  # mostly a view of what is no longer contiguous
            return printable(str(error), 160).partition(". ")[0]
    if convolutions.reason:
        return convolutions.reason
    first, again, other = outputs
    if not (isinstance(first, Tensor) and torch.equal(first.nan_to_num(), again.nan_to_num())):
        return "it answers otherwise each time, in evaluation, too"
    same = torch.allclose(first, other, rtol=1e-3, atol=1e-3, equal_nan=True)
    return None if same else "its outputs differ"
