"""What a training epoch has measured so far, in a form that a checkpoint holds."""

from typing import Any

import torch
from torch import Tensor, distributed


class EpochSums:
    """Losses and predictions of the running epoch; a run that is resumed within it continues them.

    unread: loss, logits (B, K) and labels (B,) of the steps whose values are still on the device. images: that were
    read; images_before: of these, before the run was resumed. saved: what a checkpoint holds of the epoch within which
    the run is resumed.
    """

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.unread: list[tuple[Tensor, Tensor, Tensor]] = []
        self._predictions: list[tuple[Tensor, Tensor]] = []
        self._loss, self.images, self.images_before = 0.0, 0, 0

    def read(self) -> tuple[float, int]:
        """Fetch the unread steps from the device: the sum of their losses over images, and the number of images."""
        losses, logits, labels = zip(*self.unread, strict=True)
        self.unread.clear()
        sizes = torch.tensor([len(some) for some in labels])
        total, count = float((torch.stack(losses).float().cpu() * sizes).sum()), int(sizes.sum())
        self._predictions.append((torch.cat(logits).argmax(1), torch.cat(labels)))
        self._loss += total
        self.images += count
        return total, count

    @property
    def loss(self) -> float:
        """The mean over the images that were read."""
        return self._loss / self.images

    def take_predictions(self) -> tuple[Tensor, Tensor] | None:
        """Classes (N,) and labels (N,) of the epoch, once; None if there are none."""
        if not self._predictions:
            return None
        classes, labels = map(torch.cat, zip(*self._predictions, strict=True))
        self._predictions.clear()
        return classes, labels

    def state(self) -> list[dict[str, Any]]:
        """Plain values of every process; empty between two epochs."""
        if not (self.unread or self._predictions):
            return []
        unread = [[part.detach().cpu() for part in step] for step in self.unread]
        predictions = [[part.cpu() for part in some] for some in self._predictions]
        mine = {"unread": unread, "predictions": predictions, "loss": self._loss, "images": self.images}
        if not (distributed.is_available() and distributed.is_initialized()):
            return [mine]
        states: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(states, mine)
        return states

    def resume(self, rank: int, device: torch.device) -> None:
        """Continue what is saved, as one of as many processes; with another number of them the epoch's measures are of
        its rest alone."""
        world = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if len(self.saved) != world:
            return
        mine = self.saved[rank]
        self.unread, self._predictions = (
            [tuple(part.to(device) for part in parts) for parts in mine[name]] for name in ("unread", "predictions")
        )
        self._loss, self.images, self.images_before = mine["loss"], mine["images"], mine["images"]
