"""Channel pruning: whole channels and neurons are removed, which leaves a smaller dense network of the same class."""

from torch import Tensor, nn

from src.errors import InputError, choice, fraction, positive_int, require
from src.finetune.method import Method
from src.finetune.prunable import MultiplyAdds, PrunableLayer, find_prunable_layers


class Channels(Method):
    """Every weight trains, of a network without its least important channels and neurons (Li et al. 2017,
    arXiv:1608.08710).

    keep: share of the multiply-adds that is left, at most.
    by: importance of an output: the norm of its weights, its batch norm included (weights); the scale of its batch norm
    (scale; Liu et al. 2017, arXiv:1708.06519); its norm times the norm of the weights that read it (path).
    spread: the same share of each layer (uniform), or output by output, the least important per multiply-add first
    (greedy).
    multiple: convolutions keep a multiple of this many channels, halved as often as `keep` requires; 16 is what ONNX
    Runtime computes at once. With 16, 16 and 56 of the 16, 32 and 128 of `cnn` it was 1.4 times faster; with 11, 22 and
    88, as much arithmetic, no faster at all.
    """

    resizes_layers = True

    def __init__(self, keep: float = 0.5, by: str = "weights", spread: str = "uniform", multiple: int = 16, **options):
        super().__init__(**options)
        self.keep = fraction("finetune.keep", keep, zero=False, one=False)
        self.by = choice("finetune.by", by, ("weights", "scale", "path"))
        self.spread = choice("finetune.spread", spread, ("uniform", "greedy"))
        self.multiple = positive_int("finetune.multiple", multiple)
        self.widths: dict[str, list[int]] = {}

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        prunable = find_prunable_layers(model)
        if self.by == "scale" and any(unit.norm is None for unit in prunable):
            raise InputError("finetune.by=scale: this network has no batch norm everywhere; give weights or path")
        importances = [unit.importance(self.by) for unit in prunable]
        widths = self._select_widths(prunable, importances, MultiplyAdds(model, prunable, shape))
        for unit, importance, width in zip(prunable, importances, widths, strict=True):
            unit.keep_outputs(importance.topk(width).indices.sort().values)
            self.widths.setdefault(unit.option, []).append(width)
        return model

    def adapt_config(self, config: dict) -> dict:
        return {**config, **self.widths}

    def _select_widths(self, prunable: list[PrunableLayer], importances: list[Tensor], cost: MultiplyAdds) -> list[int]:
        """How many outputs each layer keeps; convolutions lose blocks of channels, smaller ones if large ones fail."""
        least = cost([1] * len(prunable))
        require(least <= self.keep, f"finetune.keep={self.keep}: this network needs at least {least:.2g}")
        full = [unit.width for unit in prunable]
        # losses[i][n]: squared importance that removing the n least important outputs of layer i loses.
        losses = [[0.0, *importance.sort().values.square().cumsum(0).tolist()] for importance in importances]
        multiple = self.multiple
        while True:
            blocks = [multiple if isinstance(unit.layer, nn.Conv2d) else 1 for unit in prunable]
            widths = self._shrink(full, blocks, losses, cost)
            if cost(widths) <= self.keep:
                return self._refill(widths, full, blocks, cost)
            multiple = max(1, multiple // 2)

    def _shrink(self, full: list[int], blocks: list[int], losses: list[list[float]], cost: MultiplyAdds) -> list[int]:
        """Remove a block at a time, until `keep` is reached or each layer has one block left."""
        widths = list(full)
        while (current := cost(widths)) > self.keep:
            candidates = []
            for index, (width, block) in enumerate(zip(widths, blocks, strict=True)):
                if width > block:
                    smaller = (width - 1) // block * block
                    candidate = [*widths[:index], smaller, *widths[index + 1 :]]
                    loss = losses[index][full[index] - smaller] - losses[index][full[index] - width]
                    saved = max(current - cost(candidate), 1e-12)
                    candidates.append((-width / full[index] if self.spread == "uniform" else loss / saved, candidate))
            if not candidates:
                break
            widths = min(candidates)[1]
        return widths

    def _refill(self, widths: list[int], full: list[int], blocks: list[int], cost: MultiplyAdds) -> list[int]:
        """Add the neurons that still fit where removing a block of channels went further than `keep` requires."""
        for index, block in enumerate(blocks):
            while block == 1 and widths[index] < full[index]:
                larger = [*widths[:index], widths[index] + 1, *widths[index + 1 :]]
                if cost(larger) > self.keep:
                    break
                widths = larger
        return widths
