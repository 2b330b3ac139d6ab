"""Which parameters train, at which rate, and from which epoch on.

A method changes the network once (`adapt`), makes all parameter groups before the first step (`groups`), so that every
schedule works, and says before each epoch what trains in it (`stage`). What does not train keeps its bits.
"""

from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.data.augment import Identity
from src.data.datamodule import ImageData
from src.errors import InputError, is_integer, is_number, require
from src.models.structure import blocks, head_of, is_norm, read_features


class Method:
    """Everything trains: the plainest fine-tuning, and what the other methods change.

    layer_decay: each block's rate is this times the rate of the block above it (Clark et al. 2020, arXiv:2003.10555);
    1 for one rate. head_rate: the head's rate as a multiple of optimizer.lr.
    cached_passes: while only the head trains, its inputs are computed once and kept; with augmentation, those of this
    many passes, in turn. None keeps them where nothing is augmented, 0 never.
    """

    closed_form = False  # solved at the end of an epoch, without gradients
    adds = False  # changes the structure of the network, not only its values
    merges = False  # what it adds can be folded into the weights
    reshapes = False  # makes another network of the same class

    def __init__(self, layer_decay: float = 1.0, head_rate: float = 1.0, cached_passes: int | None = None):
        require(
            is_number(layer_decay) and 0 < layer_decay <= 1,
            f"finetune.layer_decay={layer_decay}: above 0, at most 1",
        )
        require(is_number(head_rate) and head_rate > 0, f"finetune.head_rate={head_rate}: above 0")
        require(
            cached_passes is None or (is_integer(cached_passes) and cached_passes >= 0),
            f"finetune.cached_passes={cached_passes}: 0 or more, or null",
        )
        self.layer_decay, self.head_rate, self.cached_passes = layer_decay, head_rate, cached_passes
        self.fresh_head = False

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        """The network with what the method adds to it; called once, on the trained network.

        shape: (C, H, W) of its images. fresh_head: whether the head starts afresh, and must train whatever the method.
        Raises InputError if the method makes no sense for this network.
        """
        self.fresh_head = fresh_head
        self.check(model)
        return model

    def check(self, model: nn.Module) -> None:
        """Raise InputError if the method makes no sense for this network."""

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        """The parameters that train in `epoch`, counted from 0, of `epochs`."""
        return model.parameters()

    def ever(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that may train in some epoch, however many there are: a run can be made longer."""
        ids = {id(p) for p in self.wanted(model, 0, 1)}
        return [p for p in model.parameters() if id(p) in ids]

    def never(self, model: nn.Module) -> list[str]:
        """The names of the parameters that train in no epoch."""
        ids = {id(p) for p in self.ever(model)}
        return [name for name, p in model.named_parameters() if id(p) not in ids]

    def stage(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Let train what trains in `epoch`, and nothing else; set the modes that go with it."""
        trained = {id(p) for p in self.wanted(model, epoch, epochs)}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.set_modes(model)

    def begin_epoch(self, model: nn.Module, data: ImageData, epoch: int, epochs: int, mixed: bool) -> None:
        """`stage`, and features in the place of images while only the head trains and they stay the same.

        mixed: whether the task mixes images, which features cannot stand for.
        """
        self.stage(model, epoch, epochs)
        passes = self.cached_passes
        if passes is None:
            passes = 1 if isinstance(data.augment, Identity) else 0
        if passes and not mixed and self.trunk_frozen(model):
            data.features.show(partial(read_features, model), passes, epoch, next(model.parameters()).device)
        else:
            data.features.hide()

    def set_modes(self, model: nn.Module) -> None:
        """After `model.train()`: eval mode for batch norms whose scale does not train, so that they change nothing, and
        for all of a network of which only the head trains."""
        if self.trunk_frozen(model):
            model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm) and (module.weight is None or not module.weight.requires_grad):
                module.eval()

    def trunk_frozen(self, model: nn.Module) -> bool:
        """Whether nothing but the head trains now, so that its inputs are the same in every epoch."""
        head = {id(p) for p in head_of(model)[1].parameters()}
        return not any(p.requires_grad for p in model.parameters() if id(p) not in head)

    def groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
        """A parameter group per block and kind (decayed: matrices and kernels; not decayed: the others)."""
        trained, parts = {id(p) for p in self.ever(model)}, blocks(model)
        head, made = {id(p) for p in head_of(model)[1].parameters()}, {}
        for depth, (_, parameters) in enumerate(reversed(parts)):
            for parameter in parameters:
                if id(parameter) in trained:
                    rate = self.head_rate if id(parameter) in head else self.layer_decay**depth
                    made.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": params, "lr": lr * rate, "weight_decay": weight_decay if decayed else 0.0}
            for (rate, decayed), params in made.items()
        ]

    def begin_step(self, model: nn.Module, progress: float) -> None:
        """What is to be done before a step; progress: share of all steps that are done after it, above 0, at most 1."""

    def penalty(self, model: nn.Module) -> Tensor | float:
        """What is added to the loss."""
        return 0.0

    def finish(self, model: nn.Module) -> None:
        """What is left to do at an epoch's end, before it is validated."""

    def complete(self, model: nn.Module) -> bool:
        """Whether the network is what it is to become, and may be chosen as the best."""
        return True

    def model_options(self, options: dict) -> dict:
        """The options that build the adapted network, from those of the one that was adapted."""
        return options

    def merge(self, model: nn.Module) -> None:
        """Fold what was added into the weights, in place, where that can be done."""


class Full(Method):
    """Every weight trains."""


class Head(Method):
    """The last linear layer trains on fixed features: the linear probe (Alain & Bengio 2016, arXiv:1610.01644)."""

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return head_of(model)[1].parameters()


class ProbeThenFull(Method):
    """The head first, then everything, so that a poor head does not spoil the features (Kumar et al. 2022,
    arXiv:2202.10054).

    probe: share of the epochs in which only the head trains.
    """

    def __init__(self, probe: float = 0.5, **rates: float):
        super().__init__(**rates)
        require(is_number(probe) and 0 < probe < 1, f"finetune.probe={probe}: above 0, below 1")
        self.probe = probe

    def ever(self, model: nn.Module) -> list[nn.Parameter]:
        return list(model.parameters())

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        probing = epoch < max(1, round(self.probe * epochs))
        return head_of(model)[1].parameters() if probing else model.parameters()


class Last(Method):
    """The last `blocks` layers or residual blocks train (Yosinski et al. 2014, arXiv:1411.1792)."""

    def __init__(self, blocks: int = 2, **rates: float):
        super().__init__(**rates)
        require(is_integer(blocks) and blocks >= 1, f"finetune.blocks={blocks}: a whole number of at least 1")
        self.blocks = blocks

    def check(self, model: nn.Module) -> None:
        there = len(blocks(model))
        require(self.blocks <= there, f"finetune.blocks={self.blocks}: this network has {there}")

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [p for _, parameters in blocks(model)[-self.blocks :] for p in parameters]


class Gradual(Method):
    """The head trains first, and every `every` epochs the block below joins in (Howard & Ruder 2018,
    arXiv:1801.06146)."""

    def __init__(self, every: int = 1, **rates: float):
        super().__init__(**rates)
        require(is_integer(every) and every >= 1, f"finetune.every={every}: a whole number of epochs of at least 1")
        self.every = every

    def ever(self, model: nn.Module) -> list[nn.Parameter]:
        return list(model.parameters())

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [p for _, parameters in blocks(model)[-(1 + epoch // self.every) :] for p in parameters]


class Bias(Method):
    """The biases train, and the head (Ben Zaken et al. 2022, arXiv:2106.10199)."""

    def check(self, model: nn.Module) -> None:
        require(bool(self._biases(model)), "finetune=bias: this network has no biases below its head")

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return [*self._biases(model), *head_of(model)[1].parameters()]

    def _biases(self, model: nn.Module) -> list[nn.Parameter]:
        head = {id(p) for p in head_of(model)[1].parameters()}
        return [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias" and id(p) not in head]


class Norm(Method):
    """The scales and offsets of the norms train, and the head (Frankle et al. 2021, arXiv:2003.00152); batch norms
    also go on measuring."""

    def check(self, model: nn.Module) -> None:
        if not any(is_norm(module) for module in model.modules()):
            raise InputError("finetune=norm: this network has no norms; give model.batch_norm=true when it is trained")

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        norms = [p for module in model.modules() if is_norm(module) for p in module.parameters()]
        return [*norms, *head_of(model)[1].parameters()]
