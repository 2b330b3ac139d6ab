"""Channel pruning: whole channels and neurons are taken out, which leaves a smaller dense network of the same class."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from src.errors import InputError, is_integer, is_number, require
from src.finetune.method import Method
from src.models.layers import SmallNet
from src.models.resnet import ResNet

CRITERIA = ("weights", "scale", "path")
SPREADS = ("uniform", "greedy")


@dataclass
class Unit:
    """Outputs that can be taken out one by one: of `maker`, normed by `norm`, read by `reader` alone.

    kind: the knob of the network that says how many there are. A reader behind a flattening has several inputs for
    each of them, one after the other.
    """

    kind: str
    maker: nn.Module
    norm: nn.BatchNorm2d | None
    reader: nn.Module

    @property
    def width(self) -> int:
        return len(self.maker.weight)

    def strength(self, by: str) -> Tensor:
        """Importance of each output, float32 (N,), in units of the mean over them."""
        size = self.maker.weight.detach().float().flatten(1).norm(dim=1)
        if self.norm is not None:
            scale = self.norm.weight.detach().abs()
            size = scale if by == "scale" else size * scale / (self.norm.running_var + self.norm.eps).sqrt()
        if by == "path":
            size = size * self._read(self.reader.weight.detach().float()).norm(dim=(0, 2))
        return size / size.mean().clamp_min(1e-30)

    def _read(self, weight: Tensor) -> Tensor:
        """The reader's weight as (outputs, N, ...)."""
        return weight.reshape(len(weight), self.width, -1)

    def keep(self, rows: Tensor) -> None:
        """Take out all outputs but `rows` (int64, ascending), in place."""
        maker, reader = self.maker, self.reader
        weight = self._read(reader.weight.detach())[:, rows]
        shape = (len(weight), -1, *reader.weight.shape[2:])
        _put(reader, "weight", weight.reshape(shape))
        inputs = reader.weight.shape[1]
        if isinstance(reader, nn.Linear):
            reader.in_features = inputs
        else:
            reader.in_channels = inputs
        for module in (maker, self.norm) if self.norm is not None else (maker,):
            for name in ("weight", "bias", "running_mean", "running_var"):
                if getattr(module, name, None) is not None:
                    _put(module, name, getattr(module, name).detach()[rows])
        if self.norm is not None:
            self.norm.num_features = len(rows)
        if isinstance(maker, nn.Linear):
            maker.out_features = len(rows)
        else:
            maker.out_channels = len(rows)


def _put(module: nn.Module, name: str, values: Tensor) -> None:
    values = values.clone().contiguous()
    setattr(module, name, nn.Parameter(values) if name in module._parameters else values)


class Channels(Method):
    """Every weight trains, of a network whose least important channels and neurons are gone (Li et al. 2017,
    arXiv:1608.08710).

    keep: share of the multiply-adds that is left at most.
    by: what makes an output important: the norm of its weights (weights), with its batch norm in them; the scale of
    its batch norm (Liu et al. 2017, arXiv:1708.06519); or the norm of its weights times that of the weights that read
    it (path).
    spread: the same share of each layer (uniform), or one output after the other, the least important for what it
    costs (greedy). multiple: convolutions keep a multiple of so many channels, or of half as many where that leaves
    too much: 16 is what ONNX Runtime computes at once. With 16, 16 and 56 of the 16, 32 and 128 of `cnn` it was 1.4
    times faster; with 11, 22 and 88, as much arithmetic, no faster at all.
    """

    reshapes = True

    def __init__(
        self, keep: float = 0.5, by: str = "weights", spread: str = "uniform", multiple: int = 16, **rates: float
    ):
        super().__init__(**rates)
        require(is_number(keep) and 0 < keep < 1, f"finetune.keep={keep}: above 0, below 1")
        require(by in CRITERIA, f"finetune.by={by}: one of {', '.join(CRITERIA)}")
        require(spread in SPREADS, f"finetune.spread={spread}: one of {', '.join(SPREADS)}")
        require(is_integer(multiple) and multiple >= 1, f"finetune.multiple={multiple}: a whole number of at least 1")
        self.keep, self.by, self.spread, self.multiple = keep, by, spread, multiple
        self.widths: dict[str, list[int]] = {}

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        units = units_of(model)
        if self.by == "scale" and any(unit.norm is None for unit in units):
            raise InputError("finetune.by=scale: this network has no batch norm everywhere; give weights or path")
        strengths = [unit.strength(self.by) for unit in units]
        cost = Cost(model, units, shape)
        widths = self._choose(units, strengths, cost)
        for unit, strength, width in zip(units, strengths, widths, strict=True):
            unit.keep(strength.topk(width).indices.sort().values)
        self.widths = {}
        for unit in units:
            self.widths.setdefault(unit.kind, []).append(unit.width)
        return model

    def model_options(self, options: dict) -> dict:
        return {**options, **self.widths}

    def _choose(self, units: list[Unit], strengths: list[Tensor], cost: "Cost") -> list[int]:
        """How many outputs each unit keeps; of convolutions blocks, smaller ones where large ones do not do."""
        least = cost([1] * len(units))
        require(least <= self.keep, f"finetune.keep={self.keep}: this network keeps {least:.2g} at least")
        ordered = [[0.0, *strength.sort().values.square().cumsum(0).tolist()] for strength in strengths]
        most, multiple = [unit.width for unit in units], self.multiple
        while True:
            widths = list(most)
            blocks = [multiple if isinstance(unit.maker, nn.Conv2d) else 1 for unit in units]
            while (now := cost(widths)) > self.keep:
                moves = {}
                for place, (width, block) in enumerate(zip(widths, blocks, strict=True)):
                    if width > block:
                        fewer = [*widths[:place], (width - 1) // block * block, *widths[place + 1 :]]
                        lost = ordered[place][most[place] - fewer[place]] - ordered[place][most[place] - width]
                        price = lost / max(now - cost(fewer), 1e-12)
                        moves[place] = (-width / most[place] if self.spread == "uniform" else price, fewer)
                if not moves:
                    break
                widths = min(moves.values())[1]
            if now <= self.keep:
                return self._filled(widths, most, blocks, cost)
            multiple = max(1, multiple // 2)

    def _filled(self, widths: list[int], most: list[int], blocks: list[int], cost: "Cost") -> list[int]:
        """With the neurons that still fit, where a block of channels has taken more away than was asked for."""
        for place, block in enumerate(blocks):
            while block == 1 and widths[place] < most[place]:
                more = [*widths[:place], widths[place] + 1, *widths[place + 1 :]]
                if cost(more) > self.keep:
                    break
                widths = more
        return widths


class Cost:
    """Multiply-adds of layers with weights, by how many outputs each unit keeps, as a share of those of all of them."""

    def __init__(self, model: nn.Module, units: list[Unit], shape: tuple[int, int, int]):
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        places, handles = {}, []
        for layer in layers:
            handles.append(
                layer.register_forward_hook(lambda m, _, out: places.update({m: out[0].numel() // out.shape[1]}))
            )
        training = model.training
        try:
            with torch.no_grad():
                model.eval()(next(model.parameters()).new_zeros(1, *shape))
        finally:
            model.train(training)
            for handle in handles:
                handle.remove()
        self.full = [unit.width for unit in units]
        self.parts = []
        for layer in layers:
            made = next((place for place, unit in enumerate(units) if unit.maker is layer), None)
            read = next((place for place, unit in enumerate(units) if unit.reader is layer), None)
            self.parts.append((places[layer] * layer.weight.numel(), made, read))
        self.total = sum(size for size, _, _ in self.parts)

    def __call__(self, widths: list[int]) -> float:
        shares = [now / full for now, full in zip(widths, self.full, strict=True)]
        return (
            sum(
                size * (1 if made is None else shares[made]) * (1 if read is None else shares[read])
                for size, made, read in self.parts
            )
            / self.total
        )


def units_of(model: nn.Module) -> list[Unit]:
    """Of a network of `src.models`, from the input to the head.

    Raises InputError for a network whose channels cannot be taken out one by one.
    """
    if isinstance(model, ResNet):
        return [Unit("inner", block.conv1, block.norm1, block.conv2) for block in model.stages]
    units: list[Unit] = []
    if isinstance(model, SmallNet):
        layers = [m for m in [*model.features, *model.head] if next(m.parameters(), None) is not None]
        plain = [m for m in layers if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)]
        working = [m for m in plain if not isinstance(m, nn.BatchNorm2d)]
        for maker, reader in pairwise(working) if plain == layers else ():
            after = layers[layers.index(maker) + 1]
            norm = after if isinstance(after, nn.BatchNorm2d) else None
            units.append(Unit("widths" if isinstance(maker, nn.Conv2d) else "hidden", maker, norm, reader))
    if not units:
        raise InputError(
            "finetune=channels: this network has no channels that can be taken out; "
            "lenet, cnn, convnet, mlp with a hidden layer and resnet have, without modules added to them"
        )
    return units
