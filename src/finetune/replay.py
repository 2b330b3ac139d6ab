"""Continual learning with a replay buffer: old images among new ones."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.batches import derive_seed
from src.data.task_data import TaskData
from src.errors import boolean, integer, number, positive_int
from src.finetune.continual import HIDDEN, Batch, ContinualMethod, Criterion
from src.models.structure import eval_mode, extract_features, find_head


class ReplayBuffer:
    """Raw images of a stream that is read once, their labels, and the logits they were seen with.

    Reservoir sampling (Vitter 1985): each image of the stream is in it with equal probability. balanced: each class has
    as many as the others instead, as far as the stream has them, and within a class each image is as likely (Chrysakis
    & Moens 2020, ICML).
    Every draw is a function of `seed` and the images seen so far.
    """

    def __init__(self, size: int, seed: int, balanced: bool = False):
        self.size, self.seed, self.balanced = size, seed, balanced
        self.seen, self.filled = 0, 0
        self.class_seen: dict[int, int] = {}
        self.images = self.labels = self.logits = torch.empty(0)

    def add(self, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Offer images, uint8 (B, C, H, W), labels (B,) and logits (B, K) of the stream, in its order."""
        if self.filled == 0:
            self.images = images.new_empty(self.size, *images.shape[1:])
            self.labels, self.logits = labels.new_empty(self.size), logits.new_empty(self.size, logits.shape[1])
        slots = dict(self._balanced_slots(labels) if self.balanced else self._slots(len(labels)))
        self.seen += len(labels)
        self.filled = min(self.size, self.seen)
        if slots:
            to = torch.tensor(list(slots), device=images.device)
            rows = torch.tensor(list(slots.values()), device=images.device)
            self.images[to], self.labels[to], self.logits[to] = images[rows], labels[rows], logits[rows]

    def sample(self, count: int, draw: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """At most `count` images, labels and logits, without repetition. draw: tells several draws of a step apart."""
        order = torch.randperm(self.filled, generator=self._generator(1 + draw))[:count].to(self.labels.device)
        return self.images[order], self.labels[order], self.logits[order]

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, self.seen, stream))

    def _slots(self, count: int) -> Iterator[tuple[int, int]]:
        """Of each image that is taken: its slot, and its row in the batch; a later one replaces an earlier."""
        draws = torch.rand(count, dtype=torch.double, generator=self._generator(0)).tolist()
        for row, draw in enumerate(draws):
            number = self.seen + row
            slot = number if number < self.size else int(draw * (number + 1))
            if slot < self.size:
                yield slot, row

    def _balanced_slots(self, labels: Tensor) -> Iterator[tuple[int, int]]:
        held = self.labels[: self.filled].tolist()
        draws = torch.rand(len(labels), 2, dtype=torch.double, generator=self._generator(0)).tolist()
        for row, (label, (first, second)) in enumerate(zip(labels.tolist(), draws, strict=True)):
            self.class_seen[label] = self.class_seen.get(label, 0) + 1
            if len(held) < self.size:
                held.append(label)
                yield len(held) - 1, row
                continue
            counts = {one: held.count(one) for one in set(held)}
            most = max(counts.values())
            mine = counts.get(label, 0)
            if mine < most:  # it takes the place of an image of a larger class
                largest = sorted(one for one, many in counts.items() if many == most)
                victim = largest[int(first * len(largest))]
            elif second * self.class_seen[label] < mine:
                victim = label
            else:
                continue
            slots = [slot for slot, one in enumerate(held) if one == victim]
            slot = slots[int(first * len(slots)) % len(slots)]
            held[slot] = label
            yield slot, row

    def state(self) -> dict[str, Any]:
        """Tensors and plain values; `load` reads them back."""
        parts = {name: getattr(self, name)[: self.filled].cpu().clone() for name in ("images", "labels", "logits")}
        seen = {str(label): count for label, count in self.class_seen.items()}
        return {**parts, "seen": self.seen, "class_seen": seen}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Fill the buffer with a state."""
        self.seen, self.filled = state["seen"], len(state["labels"])
        self.class_seen = {int(label): count for label, count in state["class_seen"].items()}
        for name in ("images", "labels", "logits"):
            part = state[name].to(device)
            whole = part.new_empty(self.size, *part.shape[1:])
            whole[: self.filled] = part[: self.size]
            setattr(self, name, whole)


class Replay(ContinualMethod):
    """Experience replay: each step trains on old images, too (Chaudhry et al. 2019, arXiv:1902.10486).

    buffer: images of the replay buffer, which is saved in the checkpoint. replayed: of them in each step; null for as
    many as the batch has. balanced: whether the buffer has equally many of each class.
    """

    def __init__(self, buffer: int = 500, replayed: int | None = None, balanced: bool = False, seed: int = 0):
        super().__init__()
        self.size = positive_int("continual.buffer", buffer, unit="images")
        self.count = positive_int("continual.replayed", replayed, optional=True, unit="images")
        self.buffer = ReplayBuffer(
            self.size, integer("continual.seed", seed, 0), boolean("continual.balanced", balanced)
        )

    def bind(self, data: TaskData, model: nn.Module, criterion: Criterion, device: torch.device) -> None:
        super().bind(data, model, criterion, device)
        self.count_of_step = self.count or data.batch_size

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
        counts = onehot.sum(0).unsqueeze(1)
        means = onehot.T @ features / counts.clamp_min(1)
        scale = (features - onehot @ means).square().sum(1).mean().clamp_min(1e-12)
        head.weight.copy_(2 * means / scale)
        head.bias.copy_(torch.where(counts[:, 0] > 0, -means.square().sum(1) / scale, HIDDEN))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "trained": {name: value.cpu() for name, value in self.trained.items()}}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.trained = {name: value.to(self.device) for name, value in state["trained"].items()}
