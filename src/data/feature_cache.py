"""What a frozen network's head reads, computed once and given in the place of images."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src.data.augment import Identity
from src.data.batches import Batches, derive_seed


class FeatureCache:
    """The features of the training and validation images of an ImageData, kept from when they are first shown."""

    def __init__(self, data):
        self.data = data
        self._train: list[Tensor] = []
        self._val: Tensor | None = None

    def show(self, read: Callable, passes: int, epoch: int, device: torch.device) -> None:
        """From now on, batches hold features (B, D) in the place of images.

        read: called with batches of what a network reads, gives features (N, D) and labels (N,). Called the first time
        only: on the validation images, and on `passes` augmented passes of the training images, which take turns.
        """
        data = self.data
        if self._val is None:
            self._train = [read(self._prepared(data.train_set, device, turn))[0].cpu() for turn in range(passes)]
            self._val = read(self._prepared(data.val_set, device))[0].cpu()
        data.train_set.features, data.val_set.features = self._train[epoch % len(self._train)], self._val

    def hide(self) -> None:
        """From now on, batches hold images again."""
        self.data.train_set.features = self.data.val_set.features = None

    def _prepared(self, batches: Batches, device: torch.device, turn: int | None = None) -> Iterator:
        """Batches in their own order on a device, normalised; augmented for a turn."""
        data = self.data
        augmented = turn is not None and not isinstance(data.augment, Identity)
        generator = torch.Generator(device)
        for step, (images, labels) in enumerate(data.loader(batches)):
            images = images.to(device)
            if augmented:
                images = data.augment(images, generator.manual_seed(derive_seed(data.seed, turn, step)))
            yield data.normalize(images), labels
