"""Continual learning without old images: weights or outputs are held near those of earlier tasks."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.batches import derive_seed
from src.data.task_data import TaskData
from src.errors import fraction, integer, number, positive_int, require
from src.finetune.continual import Batch, ContinualMethod, Criterion
from src.models.structure import eval_mode


class Anchored(ContinualMethod):
    """A quadratic penalty on the distance of each weight from where the last task left it, by its importance.

    strength: of the penalty.
    """

    ordinary = False

    def __init__(self, strength: float, buffer: int | None = None):
        super().__init__(buffer)
        self.strength = number("continual.strength", strength, least=0)
        self.anchors: dict[str, Tensor] = {}
        self.importance: dict[str, Tensor] = {}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(model, batch)
        return loss + self.penalty(model) if self.anchors else loss, logits

    def penalty(self, model: nn.Module) -> Tensor:
        """strength / 2 times the sum of importance * (weight - anchor)^2."""
        parts = [
            (self.importance[name] * (parameter - self.anchors[name]).square()).sum()
            for name, parameter in trained_parameters(model).items()
        ]
        return self.strength / 2 * torch.stack(parts).sum()

    def set_anchors(self, model: nn.Module) -> None:
        """The weights as they are."""
        self.anchors = {name: p.detach().clone() for name, p in trained_parameters(model).items()}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "anchors": _on_cpu(self.anchors), "importance": _on_cpu(self.importance)}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.anchors, self.importance = (
            {name: value.to(self.device) for name, value in state[key].items()} for key in ("anchors", "importance")
        )


class EWC(Anchored):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796), online (Schwarz et al. 2018,
    arXiv:1805.06370): importance is the Fisher information, the mean over images of squared gradients of a label drawn
    from what the network predicts.

    strength: lambda. decay: of the importance from one task to the next, 1 to forget none. images: of a task from which
    it is computed, one by one.
    """

    def __init__(
        self, strength: float = 100.0, decay: float = 1.0, images: int = 1000, seed: int = 0, buffer: int | None = None
    ):
        super().__init__(strength, buffer)
        self.decay = fraction("continual.decay", decay)
        self.images = positive_int("continual.images", images)
        self.seed = integer("continual.seed", seed, 0)

    def recall(self, model: nn.Module, learned: int) -> None:
        for self.task in range(learned):
            self.end_task(model)

    def end_task(self, model: nn.Module) -> None:
        raw, labels = self.data.task_images(self.task, self.images)
        images = self.data.normalize(raw.to(self.device))
        new = fisher_information(model, images, self._hidden, labels.to(self.device), derive_seed(self.seed, self.task))
        self.importance = {name: self.decay * self.importance.get(name, 0.0) + value for name, value in new.items()}
        self.set_anchors(model)


def fisher_information(
    model: nn.Module, images: Tensor, hidden: Tensor | None, labels: Tensor, seed: int
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of each trained parameter: the mean over images (N, C, H, W) of squared
    gradients of log p(y), for one y each, drawn from p.

    hidden: the classes that are hidden from an image of each label, bool (K, K), where the network is told its task.
    """
    parameters = trained_parameters(model)
    generator = torch.Generator().manual_seed(seed)
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with eval_mode(model), torch.enable_grad():
        for image, label in zip(images, labels, strict=True):
            logits = model(image.unsqueeze(0))
            if hidden is not None:
                logits = logits.masked_fill(hidden[label], float("-inf"))
            log_probs = logits.log_softmax(1)
            drawn = int(torch.multinomial(log_probs[0].detach().exp().cpu(), 1, generator=generator))
            gradients = torch.autograd.grad(log_probs[0, drawn], list(parameters.values()), allow_unused=True)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient)
    return {name: total / len(images) for name, total in sums.items()}


class SynapticIntelligence(Anchored):
    """Synaptic intelligence (Zenke et al. 2017, arXiv:1703.04200): importance is how much the change of a weight has
    lowered the loss along the path of training, over the square of the whole change.

    strength: twice the c of the paper. damping: xi, added to that square.
    """

    def __init__(self, strength: float = 1.0, damping: float = 0.1, buffer: int | None = None):
        super().__init__(strength, buffer)
        self.damping = number("continual.damping", damping, above=0)
        self.path: dict[str, Tensor] = {}  # of the running task: the sum of -gradient * change
        self.before: dict[str, Tensor] = {}  # the weights before the next step
        self.start: dict[str, Tensor] = {}  # the weights before the running task

    def recall(self, model: nn.Module, learned: int) -> None:
        super().recall(model, learned)
        before = "continual=si measures what matters while a task trains, and the network has learned some before"
        require(not learned, f"{before}: give continual=ewc, or another method")

    def start_task(self, model: nn.Module, task: int) -> None:
        super().start_task(model, task)
        parameters = trained_parameters(model)
        self.start = {name: p.detach().clone() for name, p in parameters.items()}
        self.before = {name: p.detach().clone() for name, p in parameters.items()}
        self.path = {name: torch.zeros_like(p) for name, p in parameters.items()}

    @torch.no_grad()
    def end_step(self, model: nn.Module) -> None:
        for name, parameter in trained_parameters(model).items():
            if parameter.grad is not None:
                self.path[name].addcmul_(parameter.grad, parameter - self.before[name], value=-1)
            self.before[name].copy_(parameter)

    @torch.no_grad()
    def end_task(self, model: nn.Module) -> None:
        for name, parameter in trained_parameters(model).items():
            change = (parameter - self.start[name]).square() + self.damping
            new = (self.path[name] / change).clamp_min(0)
            self.importance[name] = self.importance[name] + new if name in self.importance else new
        self.set_anchors(model)

    def state(self) -> dict[str, Any]:
        running = {name: _on_cpu(getattr(self, name)) for name in ("path", "before", "start")}
        return {**super().state(), **running}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        for key in ("path", "before", "start"):
            setattr(self, key, {name: value.to(self.device) for name, value in state[key].items()})


class LearningWithoutForgetting(ContinualMethod):
    """The network keeps what it answered before a task to the images of that task (Li & Hoiem 2016, arXiv:1606.09282).

    strength: of the distillation. temperature: of both distributions, over the classes of earlier tasks.
    """

    ordinary = False

    def __init__(self, strength: float = 1.0, temperature: float = 2.0, buffer: int | None = None):
        super().__init__(buffer)
        self.strength = number("continual.strength", strength, least=0)
        self.temperature = number("continual.temperature", temperature, above=0)
        self.teacher: nn.Module | None = None

    def bind(self, data: TaskData, model: nn.Module, criterion: Criterion, device: torch.device) -> None:
        super().bind(data, model, criterion, device)
        self.model = [model]  # in a list: it is not this method's

    def start_task(self, model: nn.Module, task: int) -> None:
        super().start_task(model, task)
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False) if task else None

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(model, batch)
        if self.teacher is None:
            return loss, logits
        classes = self.data.source.task_classes[: self.task]
        old = torch.tensor(sorted({label for some in classes for label in some}), device=logits.device)
        with torch.no_grad():
            targets = (self.teacher(batch.images)[:, old] / self.temperature).softmax(1)
        answers = (logits[:, old] / self.temperature).log_softmax(1)
        distance = F.kl_div(answers, targets, reduction="batchmean") * self.temperature**2
        return loss + self.strength * distance, logits

    def state(self) -> dict[str, Any]:
        return {**super().state(), "teacher": {} if self.teacher is None else _on_cpu(self.teacher.state_dict())}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        if state["teacher"]:
            self.teacher = copy.deepcopy(self.model[0]).eval().requires_grad_(False)
            self.teacher.load_state_dict(state["teacher"])


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}
