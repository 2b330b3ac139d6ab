"""Small modules beside a frozen network: residual bottlenecks, and a learnt change of the input."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from src.errors import is_integer, require
from src.finetune.method import Method
from src.models.convolution import Conv2d
from src.models.structure import head_of

LAYERS = (nn.Linear, nn.Conv2d, Conv2d)  # these and no other subclass, which may do more than its weights say


class Bottleneck(nn.Module):
    """x + up(relu(down(x))), over features or channels; the identity at the start, where `up` is 0."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, width: int):
        super().__init__()
        if isinstance(layer, nn.Linear):
            self.down, self.up = nn.Linear(layer.out_features, width), nn.Linear(width, layer.out_features)
        else:
            self.down, self.up = nn.Conv2d(layer.out_channels, width, 1), nn.Conv2d(width, layer.out_channels, 1)
        self.to(layer.weight)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.up(self.down(inputs).relu())


class Adapted(nn.Sequential):
    """A layer and the bottleneck after it."""


class Adapter(Method):
    """A residual bottleneck after every layer below the head trains, and the head (Houlsby et al. 2019,
    arXiv:1902.00751; over channels, Rebuffi et al. 2017, arXiv:1705.08045).

    width: of the bottlenecks.
    """

    adds = True

    def __init__(self, width: int = 8, **rates: float):
        super().__init__(**rates)
        require(is_integer(width) and width >= 1, f"finetune.width={width}: a whole number of at least 1")
        self.width = width

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        head = head_of(model)[1]
        layers = [(n, m) for n, m in model.named_modules() if type(m) in LAYERS and m is not head]
        layers = [(name, m) for name, m in layers if ".self_attention." not in name]  # read by name, not called
        require(bool(layers), "finetune=adapter: this network has no layer below its head")
        for name, layer in layers:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, Adapted(layer, Bottleneck(layer, self.width)))
        return model

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        added = [p for module in model.modules() if isinstance(module, Bottleneck) for p in module.parameters()]
        return [*added, *head_of(model)[1].parameters()]


class Prompted(nn.Module):
    """A network that reads its input plus a learnt one: an offset everywhere, and more of it on the border."""

    def __init__(self, net: nn.Module, shape: tuple[int, int, int], border_px: int):
        super().__init__()
        channels, height, width = shape
        mask = torch.ones(1, 1, height, width)
        mask[..., border_px : height - border_px, border_px : width - border_px] = 0
        self.net = net
        self.border = nn.Parameter(torch.zeros(1, channels, height, width))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images + self.offset + self.border * self.mask)


class Prompt(Method):
    """The network is frozen; a border and an offset of its input train (Bahng et al. 2022, arXiv:2203.17274).

    border_px: width of the border, pixels.
    """

    adds = True

    def __init__(self, border_px: int = 4, **rates: float):
        super().__init__(**rates)
        require(is_integer(border_px) and border_px >= 1, f"finetune.border_px={border_px}: at least 1 pixel")
        self.border_px = border_px

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        side = min(shape[1:])
        require(2 * self.border_px <= side, f"finetune.border_px={self.border_px}: at most {side // 2} for this input")
        return Prompted(model, shape, self.border_px).to(next(model.parameters()).device)

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        prompts = [m for m in model.modules() if isinstance(m, Prompted)]
        outer = prompts[0]
        return [outer.border, outer.offset, *(head_of(model)[1].parameters() if self.fresh_head else ())]
