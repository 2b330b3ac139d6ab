"""Small trained modules in a frozen network: residual bottlenecks, or a learned change of its input."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from src.errors import positive_int, require
from src.finetune.method import Method
from src.models.convolution import Conv2d
from src.models.structure import find_head

LAYERS = (nn.Linear, nn.Conv2d, Conv2d)  # exact types: another subclass may compute more than its weights tell


class Bottleneck(nn.Module):
    """x + up(relu(down(x))), over features or channels; initially the identity, because `up` is 0."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, width: int):
        super().__init__()
        linear = nn.Linear if isinstance(layer, nn.Linear) else partial(nn.Conv2d, kernel_size=1)
        self.down, self.up = linear(len(layer.weight), width), linear(width, len(layer.weight))
        self.to(layer.weight)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.up(self.down(inputs).relu())


class AdaptedLayer(nn.Sequential):
    """A layer, then its bottleneck."""


class Adapter(Method):
    """A residual bottleneck after every layer below the head trains, and the head (Houlsby et al. 2019,
    arXiv:1902.00751; over channels, Rebuffi et al. 2017, arXiv:1705.08045).

    width: of the bottlenecks.
    """

    adds_modules = True

    def __init__(self, width: int = 8, **options):
        super().__init__(**options)
        self.width = positive_int("finetune.width", width)

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        head = find_head(model)[1]
        layers = [(name, m) for name, m in model.named_modules() if type(m) in LAYERS and m is not head]
        # Self-attention reads the weights of its layers without calling them.
        layers = [(name, m) for name, m in layers if ".self_attention." not in name]
        require(bool(layers), "finetune=adapter: this network has no layer below its head")
        for name, layer in layers:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, AdaptedLayer(layer, Bottleneck(layer, self.width)))
        return model

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        added = [p for module in model.modules() if isinstance(module, Bottleneck) for p in module.parameters()]
        return [*added, *find_head(model)[1].parameters()]


class PromptedModel(nn.Module):
    """A network whose input gets a learned offset per channel and a learned value per pixel of its border."""

    def __init__(self, net: nn.Module, shape: tuple[int, int, int], border_px: int):
        super().__init__()
        channels, height, width = shape
        mask = torch.ones(1, 1, height, width)
        mask[..., border_px : height - border_px, border_px : width - border_px] = 0
        self.net = net
        self.border = nn.Parameter(torch.zeros(1, channels, height, width))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.mask = nn.Buffer(mask, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images + self.offset + self.border * self.mask)


class Prompt(Method):
    """A border and an offset of the input train; the network is frozen (Bahng et al. 2022, arXiv:2203.17274).

    border_px: width of the border, at most half the image's side.
    """

    adds_modules = True

    def __init__(self, border_px: int = 4, **options):
        super().__init__(**options)
        self.border_px = positive_int("finetune.border_px", border_px, unit="pixels")

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        most = min(shape[1:]) // 2
        require(self.border_px <= most, f"finetune.border_px={self.border_px}: at most {most} for this input")
        return PromptedModel(model, shape, self.border_px).to(next(model.parameters()).device)

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        # Of nested prompts, from repeated fine-tuning, the outermost trains.
        prompted = next(m for m in model.modules() if isinstance(m, PromptedModel))
        return [prompted.border, prompted.offset, *(find_head(model)[1].parameters() if self.fresh_head else ())]
