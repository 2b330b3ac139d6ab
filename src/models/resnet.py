"""A small residual network for images of any size (He et al. 2016, https://arxiv.org/abs/1512.03385)."""

from torch import Tensor, nn

from src.errors import positive_int, require
from src.models.layers import check_widths, make_dropout


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with `inner` channels between them, and a shortcut; the first may halve the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, inner: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.norm1(self.conv1(images)))
        return self.relu(self.norm2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, each at half the resolution of the one before, mean over space, logits.

    widths: channels per stage. blocks: residual blocks per stage. inner: channels between the two convolutions of each
    block; None gives each block the width of its stage. stride: of the stem's convolution, whose kernel has
    2 stride + 1 pixels a side; None takes 1, 2 from 48 and 4 from 128 pixels of the longer side.
    Raises InputError for a width, a number of blocks or a stride below 1, no stage, or a dropout outside 0..1.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        widths: tuple[int, ...] = (16, 32, 64),
        blocks: int = 1,
        dropout: float = 0.0,
        inner: tuple[int, ...] | None = None,
        stride: int | None = 1,
    ):
        check_widths("widths", widths)
        require(len(widths) > 0, f"model.widths={widths}: a width for each stage, at least one")
        positive_int("model.blocks", blocks)
        stride = _stride_for(max(shape[1:])) if stride is None else positive_int("model.stride", stride)
        inner_widths = [width for width in widths for _ in range(blocks)] if inner is None else inner
        check_widths("inner", inner_widths, len(widths) * blocks)
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(shape[0], widths[0], 2 * stride + 1, stride, padding=stride, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        layers, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(ResidualBlock(inputs, width, stride, inner_widths[stage * blocks + block]))
                inputs = width
        self.stages = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Flatten(), *make_dropout(dropout), nn.Linear(inputs, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.stages(self.stem(images))))


def _stride_for(side: int) -> int:
    """A stride that leaves 24 to 63 pixels of a side of 28 to 255."""
    return 1 if side < 48 else 2 if side < 128 else 4
