"""An average of the weights, which is validated and saved in their place."""

from collections import defaultdict

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from src.errors import fraction, require
from src.finetune.closed_form import ClosedForm
from src.training.task import Classifier


class EMA(WeightAveraging):
    """Validate and save an exponential moving average of the weights and buffers, updated after every step.

    decay: fraction of the old average kept at each step; it rises to this value as (1 + n) / (10 + n) after n steps.
    """

    state_key = "ema"

    def __init__(self, decay: float = 0.999):
        fraction("callbacks.ema.decay", decay, zero=False, one=False)
        self.decay = decay
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    def _average(self, averages, currents, count) -> None:
        n = int(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        real = averages[0].is_floating_point() or averages[0].is_complex()  # masks and counters have no mean
        get_ema_multi_avg_fn(decay if real else 0.0)(averages, currents, count)

    def on_fit_start(self, trainer: Trainer, task: Classifier) -> None:
        steps = not isinstance(task.method, ClosedForm)
        require(steps, "callbacks.ema averages over steps, and this method has none: leave ema out of callbacks")
        assert self._average_model is not None
        self._average_model.to(task.device)  # Lightning leaves it on the CPU

    def on_train_epoch_start(self, trainer: Trainer, task: Classifier) -> None:
        assert self._average_model is not None
        self._average_model.update_parameters = AverageUpdate(self._average_model)  # type: ignore[method-assign]

    def setup(self, trainer: Trainer, task: Classifier, stage: str) -> None:
        fine = trainer.precision not in ("bf16-true", "16-true")
        advice = "half precision rounds the average's small steps away; give trainer.precision=bf16-mixed"
        require(fine, f"callbacks.ema with trainer.precision={trainer.precision}: {advice}")
        super().setup(trainer, task, stage)
        if self._average_model is not None:  # Lightning converts only the network itself
            trainer.precision_plugin.convert_module(self._average_model)


class AverageUpdate:
    """An AveragedModel's update_parameters that walks through the modules at its first call only.

    It ends in the same bits. On two cores with torch 2.14.1 it takes 42 of 172 microseconds a step of LeNet-5.
    """

    def __init__(self, average: AveragedModel):
        self.average = average
        self.parameters: list[tuple[list[Tensor], list[Tensor]]] = []  # of the average and of the network, by type
        self.buffers: list[tuple[list[Tensor], list[tuple[nn.Module, str]]]] = []

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> None:
        try:
            self._update(model)
        except (RuntimeError, ValueError):
            self._check_shapes(model)
            raise

    def _update(self, model: nn.Module) -> None:
        average = self.average
        if not self.parameters:
            AveragedModel.update_parameters(average, model)
            self._find_tensors(model)
            return
        count, average_of = int(average.n_averaged), average.multi_avg_fn
        assert average_of is not None
        for averages, currents in self.parameters:
            average_of(averages, currents, count)
        for averages, places in self.buffers:
            average_of(averages, [getattr(module, name) for module, name in places], count)
        average.n_averaged += 1

    def _check_shapes(self, model: nn.Module) -> None:
        """Raise InputError for a network whose tensors are no longer those that are averaged."""
        means, now = ({name: value.shape for name, value in (*net.named_parameters(), *net.named_buffers())}
                      for net in (self.average.module, model))  # fmt: skip
        changed = sorted(name for name in means.keys() | now.keys() if means.get(name) != now.get(name))
        names = ", ".join(name.removeprefix("model.") for name in changed[:3])
        require(not changed, f"callbacks.ema: {names} appears or changes its shape in training; leave ema out")

    def _find_tensors(self, model: nn.Module) -> None:
        """Group the tensors by their type; a buffer by its place, as a network may replace it."""
        parameters: dict = defaultdict(lambda: ([], []))
        buffers: dict = defaultdict(lambda: ([], []))
        for mean, parameter in zip(self.average.module.parameters(), model.parameters(), strict=True):
            averages, currents = parameters[mean.dtype]
            averages.append(mean)
            currents.append(parameter)
        for average, (path, _) in zip(self.average.module.buffers(), model.named_buffers(), strict=True):
            averages, places = buffers[average.dtype]
            averages.append(average)
            owner, _, name = path.rpartition(".")
            places.append((model.get_submodule(owner), name))
        self.parameters, self.buffers = list(parameters.values()), list(buffers.values())
