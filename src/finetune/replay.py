"""Continual learning with a replay buffer: old images among new ones."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.task_data import TaskData
from src.errors import boolean, integer, number, positive_int
from src.finetune.closed_form import nearest_mean_head
from src.finetune.continual import HIDDEN, Batch, ContinualMethod, Criterion
from src.finetune.replay_buffer import ReplayBuffer
from src.models.structure import eval_mode, extract_features, find_head, predict_logits

UNSEEN = 0.1  # images that a class without any counts as, so that its share has a logarithm


class Replay(ContinualMethod):
    """Experience replay: each step trains on old images, too (Chaudhry et al. 2019, arXiv:1902.10486).

    buffer: images of the replay buffer, which is saved in the checkpoint. replayed: of them in each step; null for as
    many as the batch has. balanced: whether the buffer has equally many of each class.
    """

    ordinary = False

    def __init__(self, buffer: int = 500, replayed: int | None = None, balanced: bool = False, seed: int = 0):
        super().__init__(positive_int("continual.buffer", buffer, unit="images"))
        self.count = positive_int("continual.replayed", replayed, optional=True, unit="images")
        self.buffer = ReplayBuffer(buffer, integer("continual.seed", seed, 0), boolean("continual.balanced", balanced))
        self.inherited: tuple[Tensor, Tensor, dict[int, int]] | None = None

    def bind(self, data: TaskData, model: nn.Module, criterion: Criterion, device: torch.device) -> None:
        super().bind(data, model, criterion, device)
        self.count_of_step = self.count or data.batch_size

    def recall(self, model: nn.Module, learned: int) -> None:
        """Fill the buffer: with images of these tasks; where there are none, with those that were inherited. Their
        logits are those of the network."""
        super().recall(model, learned)
        buffer = self.buffer
        if learned:
            images, labels, class_seen = self.data.earlier_images(learned, buffer.size, buffer.seed, buffer.balanced)
        elif self.inherited is not None:
            images, labels, class_seen = self.inherited
            chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(buffer.seed))[: buffer.size]
            images, labels = images[chosen], labels[chosen]
        else:
            return
        images, labels = images.to(self.device), labels.to(self.device)
        logits = torch.cat([predict_logits(model, self.data.normalize(some)) for some in images.split(500)])
        buffer.start_with(images, labels, logits, class_seen)

    def inherit(self, state: dict[str, Any], renamed: dict[int, int]) -> int:
        """Start with the buffer of the network that training starts from; returns how many of its images that are.

        state: of that method. renamed: the label here of each label there; images of other classes are left out.
        """
        images, labels = state["buffer"]["images"], state["buffer"]["labels"]
        known = torch.tensor([label in renamed for label in labels.tolist()], dtype=torch.bool)
        mapped = torch.tensor([renamed[label] for label in labels[known].tolist()], dtype=torch.long)
        each = state["buffer"]["seen"] / max(1, len(labels))  # images of the stream that one of the buffer stands for
        held = labels.bincount(minlength=1).tolist()
        counts = state["buffer"]["class_seen"] or {label: round(each * count) for label, count in enumerate(held)}
        class_seen = {renamed[int(label)]: count for label, count in counts.items() if int(label) in renamed}
        self.inherited = (images[known], mapped, class_seen)
        return len(mapped)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        count, draws = len(batch.labels), self._draw(batch)
        logits = model(torch.cat([batch.images, *(images for images, _, _ in draws)]))
        current, *replayed = logits.split([count, *(len(labels) for _, labels, _ in draws)])
        old = [(outputs, labels, stored) for outputs, (_, labels, stored) in zip(replayed, draws, strict=True)]
        loss = self.combine(current, batch.labels, old)
        self.buffer.add(batch.raw, batch.labels, current.detach())
        return loss, current

    @property
    def draws(self) -> int:
        """How often a step draws from the buffer."""
        return 1

    def _draw(self, batch: Batch) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Normalized images, labels and stored logits of each draw; none while the buffer is empty."""
        drawn = []
        for draw in range(self.draws if self.buffer.filled else 0):
            images, labels, logits = self.buffer.sample(self.count_of_step, draw)
            drawn.append((self.data.replayed(images, batch.step, 1 + draw).to(batch.images), labels, logits))
        return drawn

    def combine(self, logits: Tensor, labels: Tensor, old: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """The loss of the new images' logits and labels, and of each draw: logits, labels and stored logits."""
        logits = torch.cat([logits, *(outputs for outputs, _, _ in old)])
        return self.criterion(logits, torch.cat([labels, *(some for _, some, _ in old)]))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "buffer": self.buffer.state()}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.buffer.load(state["buffer"], self.device)


class DarkExperience(Replay):
    """DER: old images keep the logits that they were seen with (Buzzega et al. 2020, arXiv:2004.07211).

    alpha: weight of the squared distance of logits.
    """

    def __init__(self, alpha: float = 0.5, **options: Any):
        super().__init__(**options)
        self.alpha = number("continual.alpha", alpha, least=0)

    @property
    def draws(self) -> int:
        return int(self.alpha > 0)

    def combine(self, logits: Tensor, labels: Tensor, old: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        loss = self.criterion(logits, labels)
        return loss + self.alpha * F.mse_loss(old[0][0], old[0][2]) if old else loss


class DarkExperiencePlus(DarkExperience):
    """DER++: a second draw of old images keeps its labels (Buzzega et al. 2020, arXiv:2004.07211).

    beta: weight of their loss.
    """

    def __init__(self, beta: float = 0.5, **options: Any):
        super().__init__(**options)
        self.beta = number("continual.beta", beta, least=0)

    @property
    def draws(self) -> int:
        return super().draws + int(self.beta > 0)

    def combine(self, logits: Tensor, labels: Tensor, old: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        loss = super().combine(logits, labels, old[: super().draws])
        return loss + self.beta * self.criterion(old[-1][0], old[-1][1]) if old and self.beta else loss


class AsymmetricReplay(Replay):
    """ER-ACE: new images are told apart from one another only, old ones from all classes, so that new classes do not
    push the features of old ones away (Caccia et al. 2022, arXiv:2104.05025)."""

    def combine(self, logits: Tensor, labels: Tensor, old: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        if self.task > 0:
            absent = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
            absent[labels] = False
            logits = logits.masked_fill(absent, HIDDEN)
        loss = self.criterion(logits, labels)
        return loss + self.criterion(old[0][0], old[0][1]) if old and self.task > 0 else loss


class AdjustedReplay(Replay):
    """Old images keep their labels and the logits that they were seen with, in one draw, and logits are adjusted.

    What proved best on validation images of Split-MNIST of the parts of DER++ (Buzzega et al. 2020, arXiv:2004.07211)
    and of logit adjustment (Menon et al. 2021, arXiv:2007.07314): training adds to each class's logit the logarithm of
    its share of the step, so that few new classes among many old ones do not outweigh them; tau times.
    alpha: weight of the squared distance of logits.
    """

    def __init__(self, alpha: float = 0.3, tau: float = 1.0, **options: Any):
        super().__init__(**options)
        self.alpha = number("continual.alpha", alpha, least=0)
        self.tau = number("continual.tau", tau, least=0)

    def combine(self, logits: Tensor, labels: Tensor, old: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        if not old:
            return self.criterion(logits, labels)
        outputs, old_labels, stored = old[0]
        adjusted = torch.cat([logits, outputs]) + self.tau * self._log_shares(labels, len(old_labels), logits)
        loss = self.criterion(adjusted, torch.cat([labels, old_labels]))
        return loss + self.alpha * F.mse_loss(outputs, stored)

    def _log_shares(self, labels: Tensor, drawn: int, like: Tensor) -> Tensor:
        """The logarithm of each class's expected share of a step, (K,); UNSEEN images for a class without any."""
        held, classes = self.buffer.labels[: self.buffer.filled], like.shape[1]
        counts = held.bincount(minlength=classes) * (drawn / len(held)) + labels.bincount(minlength=classes)
        return (counts.clamp_min(UNSEEN) / counts.sum()).log().to(like)


class NearestMean(AsymmetricReplay):
    """Training as ER-ACE; then an image is of the class whose buffered images are nearest on average, in the network's
    features (as iCaRL classifies, Rebuffi et al. 2017, arXiv:1611.07725), which is a linear head.

    The next task goes on from the head that was trained.
    """

    def __init__(self, balanced: bool = True, **options: Any):
        super().__init__(balanced=balanced, **options)
        self.trained: dict[str, Tensor] = {}

    def start_task(self, model: nn.Module, task: int) -> None:
        super().start_task(model, task)
        if self.trained:
            find_head(model)[1].load_state_dict(self.trained)

    @torch.no_grad()
    def end_task(self, model: nn.Module) -> None:
        head, buffer = find_head(model)[1], self.buffer
        self.trained = {name: value.detach().clone() for name, value in head.state_dict().items()}
        images, labels = buffer.images[: buffer.filled], buffer.labels[: buffer.filled]
        batches = zip(images.split(500), labels.split(500), strict=True)
        with eval_mode(model), torch.no_grad():
            features, _ = extract_features(model, [(self.data.normalize(some), those) for some, those in batches])
        onehot = F.one_hot(labels, head.out_features).to(features)
        weight, bias = nearest_mean_head(features, onehot)
        head.weight.copy_(weight)
        head.bias.copy_(bias.masked_fill(onehot.sum(0) == 0, HIDDEN))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "trained": {name: value.cpu() for name, value in self.trained.items()}}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.trained = {name: value.to(self.device) for name, value in state["trained"].items()}
