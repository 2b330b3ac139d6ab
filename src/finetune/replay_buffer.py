"""The replay buffer of continual learning: raw images of a stream, their labels and logits."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from src.data.batches import derive_seed


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
        slots = dict(self._balanced_slots(labels) if self.balanced else self._slots(len(labels)))
        self.seen += len(labels)
        filled = max([self.filled, *(slot + 1 for slot in slots)])
        if filled > len(self.labels):
            room = min(self.size, max(filled, 2 * len(self.labels)))
            new = {"images": images, "labels": labels, "logits": logits}
            for name, part in new.items():
                self._place(name, getattr(self, name)[: self.filled] if self.filled else part[:0], room)
        self.filled = filled
        if slots:
            to = torch.tensor(list(slots), device=images.device)
            rows = torch.tensor(list(slots.values()), device=images.device)
            self.images[to], self.labels[to], self.logits[to] = images[rows], labels[rows], logits[rows]

    def sample(self, count: int, draw: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """At most `count` images, labels and logits, without repetition. draw: tells several draws of a step apart."""
        order = torch.randperm(self.filled, generator=self._generator(1 + draw))[:count].to(self.labels.device)
        return self.images[order], self.labels[order], self.logits[order]

    def start_with(self, images: Tensor, labels: Tensor, logits: Tensor, class_seen: dict[int, int]) -> None:
        """Fill the empty buffer with images that stand for a stream. class_seen: how many it had of each class."""
        self.add(images, labels, logits)
        self.class_seen, self.seen = dict(class_seen), sum(class_seen.values())

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, self.seen, stream))

    def _slots(self, count: int) -> Iterator[tuple[int, int]]:
        """Of each image that is taken: its slot, and its row in the batch; a later one replaces an earlier."""
        draws = torch.rand(count, dtype=torch.double, generator=self._generator(0)).tolist()
        for row, draw in enumerate(draws):
            held = self.filled + row
            slot = held if held < self.size else int(draw * (self.seen + row + 1))
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
            self._place(name, state[name].to(device)[: self.size], min(self.size, self.filled))

    def _place(self, name: str, part: Tensor, room: int) -> None:
        whole = part.new_empty(room, *part.shape[1:])
        whole[: len(part)] = part
        setattr(self, name, whole)
