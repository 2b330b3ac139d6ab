"""Which parameters train, at which rate, and from which epoch on.

A method changes the network once (`adapt`), builds all parameter groups before the first step (`parameter_groups`), so
that every schedule works, and selects before each epoch what trains in it (`set_trainable`). Frozen parameters stay
bit-equal.
"""

import sys
from collections.abc import Iterable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.data.augment import Identity
from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.errors import fraction, integer, number, positive_int, require
from src.models.structure import extract_features, find_head, is_norm, parameter_blocks


class SourceModel(Protocol):
    """What a method may know of the network that fine-tuning starts from: `src.inference.model.InferenceModel`."""

    model: nn.Module
    info: DataInfo
    temperature: float | None


class Method:
    """Everything trains: plain fine-tuning, and the hooks that other methods override.

    layer_decay: the rate of each block is this times the rate of the block above it (Clark et al. 2020,
    arXiv:2003.10555); 1 for one rate. head_rate: the head's rate as a multiple of optimizer.lr.
    cached_passes: while only the head trains, its inputs are computed once and cached; with augmentation, those of this
    many augmented passes, used in turn. None caches where nothing is augmented, 0 never.
    """

    adds_modules = False  # changes the structure of the network, not only its values
    mergeable = False  # `merge` folds the added modules into the weights
    resizes_layers = False  # makes another network of the same class
    needs_start = False  # a resumed run needs the weights that it started from, which its checkpoint does not have

    def __init__(self, layer_decay: float = 1.0, head_rate: float = 1.0, cached_passes: int | None = None):
        self.layer_decay = fraction("finetune.layer_decay", layer_decay, zero=False)
        self.head_rate = number("finetune.head_rate", head_rate, above=0)
        self.cached_passes = integer("finetune.cached_passes", cached_passes, 0, optional=True)
        self.fresh_head = False
        self.choice: dict[str, float | str] = {}  # what `prepare` chose, for results.json

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        """The network with the modules that the method adds; called once, on the trained network.

        shape: (C, H, W) of its images. fresh_head: whether the head starts afresh, and so must train with any method.
        Raises InputError if the method does not apply to this network.
        """
        self.fresh_head = fresh_head
        self.check_model(model)
        return model

    def check_model(self, model: nn.Module) -> None:
        """Raise InputError if the method does not apply to this network."""

    def prepare(self, model: nn.Module, data: ImageData, source: SourceModel | None, device: torch.device) -> None:
        """Choose by the labelled images, before the first step; a resumed run calls it again, with the same start.

        model: adapted, with the weights that it starts from. source: None for published weights. device: to compute on.
        """

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        """The parameters that train in `epoch`, counted from 0, of `epochs`; they train in all later epochs too."""
        return model.parameters()

    def all_trainable_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that train in some epoch, whatever the number of epochs: a run can be made longer."""
        ids = {id(p) for p in self.trainable_parameters(model, sys.maxsize, 1)}
        return [p for p in model.parameters() if id(p) in ids]

    def frozen_names(self, model: nn.Module) -> list[str]:
        """The names of the parameters that train in no epoch."""
        ids = {id(p) for p in self.all_trainable_parameters(model)}
        return [name for name, p in model.named_parameters() if id(p) not in ids]

    def set_trainable(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Unfreeze the parameters that train in `epoch`, freeze all others, and set the modes of the modules."""
        trainable = {id(p) for p in self.trainable_parameters(model, epoch, epochs)}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trainable)
        self.set_module_modes(model)

    def on_epoch_start(self, model: nn.Module, data: ImageData, epoch: int, epochs: int, mixed: bool) -> None:
        """Call `set_trainable`; show cached features instead of images while only the head trains.

        mixed: whether the task mixes images, which cached features cannot represent.
        """
        self.set_trainable(model, epoch, epochs)
        passes = int(isinstance(data.augment, Identity)) if self.cached_passes is None else self.cached_passes
        if passes and not mixed and self.is_backbone_frozen(model):
            data.feature_cache.enable(partial(extract_features, model), passes, epoch, next(model.parameters()).device)
        else:
            data.feature_cache.disable()

    def set_module_modes(self, model: nn.Module) -> None:
        """Undo `model.train()` for frozen parts: the whole network while only its head trains, and batch norms whose
        scale is frozen, so that their statistics do not change."""
        if self.is_backbone_frozen(model):
            model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm) and (module.weight is None or not module.weight.requires_grad):
                module.eval()

    def is_backbone_frozen(self, model: nn.Module) -> bool:
        """Whether nothing but the head trains in this epoch, so that the head's inputs do not change."""
        head = head_ids(model)
        return not any(p.requires_grad for p in model.parameters() if id(p) not in head)

    def parameter_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
        """A parameter group per rate and kind: matrices and kernels with weight decay, all others without."""
        trainable, head = {id(p) for p in self.all_trainable_parameters(model)}, head_ids(model)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for depth, (_, parameters) in enumerate(reversed(parameter_blocks(model))):
            for parameter in parameters:
                if id(parameter) in trainable:
                    rate = self.head_rate if id(parameter) in head else self.layer_decay**depth
                    groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": params, "lr": lr * rate, "weight_decay": weight_decay if decayed else 0.0}
            for (rate, decayed), params in groups.items()
        ]

    def on_step_start(self, model: nn.Module, progress: float) -> None:
        """Called before a step; progress: share of all steps that are done after it, above 0, at most 1."""

    def penalty(self, model: nn.Module) -> Tensor | float:
        """Regularization that is added to the loss."""
        return 0.0

    def on_epoch_end(self, model: nn.Module) -> None:
        """Called at the end of an epoch, before validation."""

    def is_complete(self, model: nn.Module) -> bool:
        """Whether the network has its final structure, so that it can be the best checkpoint."""
        return True

    def adapt_config(self, config: dict) -> dict:
        """The model config that builds the adapted network, from the config of the network it was adapted from."""
        return config

    def merge(self, model: nn.Module) -> None:
        """Fold added modules into the weights, in place, if the method is mergeable."""


class Full(Method):
    """Every weight trains."""


class Head(Method):
    """The last linear layer trains on fixed features: the linear probe (Alain & Bengio 2016, arXiv:1610.01644)."""

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return find_head(model)[1].parameters()


class ProbeThenFull(Method):
    """The head first, then everything, so that a poor head does not distort the features (Kumar et al. 2022,
    arXiv:2202.10054).

    probe: share of the epochs in which only the head trains.
    """

    def __init__(self, probe: float = 0.5, **options):
        super().__init__(**options)
        self.probe = fraction("finetune.probe", probe, zero=False, one=False)

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        probing = epoch < max(1, round(self.probe * epochs))
        return find_head(model)[1].parameters() if probing else model.parameters()


class Last(Method):
    """The last `blocks` layers or residual blocks train (Yosinski et al. 2014, arXiv:1411.1792)."""

    def __init__(self, blocks: int = 2, **options):
        super().__init__(**options)
        self.blocks = positive_int("finetune.blocks", blocks)

    def check_model(self, model: nn.Module) -> None:
        count = len(parameter_blocks(model))
        require(self.blocks <= count, f"finetune.blocks={self.blocks}: this network has {count}")

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [p for _, parameters in parameter_blocks(model)[-self.blocks :] for p in parameters]


class Gradual(Method):
    """The head trains first, and every `every` epochs the block below joins in: gradual unfreezing (Howard & Ruder
    2018, arXiv:1801.06146)."""

    def __init__(self, every: int = 1, **options):
        super().__init__(**options)
        self.every = positive_int("finetune.every", every, unit="epochs")

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [p for _, parameters in parameter_blocks(model)[-(1 + epoch // self.every) :] for p in parameters]


class Bias(Method):
    """The biases and the head train (BitFit, Ben Zaken et al. 2022, arXiv:2106.10199)."""

    def check_model(self, model: nn.Module) -> None:
        require(bool(self._biases(model)), "finetune=bias: this network has no biases below its head")

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [*self._biases(model), *find_head(model)[1].parameters()]

    def _biases(self, model: nn.Module) -> list[nn.Parameter]:
        head = head_ids(model)
        return [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias" and id(p) not in head]


class Norm(Method):
    """The scales and offsets of the norms train, and the head (Frankle et al. 2021, arXiv:2003.00152); batch norms go
    on updating their statistics."""

    def check_model(self, model: nn.Module) -> None:
        advice = "train the source model with model.batch_norm=true"
        require(any(map(is_norm, model.modules())), f"finetune=norm: this network has no norms; {advice}")

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        norms = [p for module in model.modules() if is_norm(module) for p in module.parameters()]
        return [*norms, *find_head(model)[1].parameters()]


def head_ids(model: nn.Module) -> set[int]:
    """The `id` of each parameter of the head."""
    return {id(p) for p in find_head(model)[1].parameters()}
