"""The inputs of a frozen network's head, computed once and used instead of images."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src.data.augment import Identity
from src.data.batches import BatchDataset, derive_seed


class FeatureCache:
    """Features of the training and validation images of an ImageData, stored when they are first needed."""

    def __init__(self, data):
        self.data = data
        self._train: list[Tensor] = []
        self._val: Tensor | None = None

    def enable(self, extract: Callable, passes: int, epoch: int, device: torch.device) -> None:
        """Let batches hold features (B, D) instead of images.

        extract: takes normalised batches, returns features (N, D) and labels (N,). Called the first time only: on the
        validation images, and on `passes` augmented passes of the training images, which the epochs use in turn.
        """
        data = self.data
        if self._val is None:
            self._train = [extract(self._normalized(data.train_set, device, i))[0].cpu() for i in range(passes)]
            self._val = extract(self._normalized(data.val_set, device))[0].cpu()
        data.train_set.features, data.val_set.features = self._train[epoch % len(self._train)], self._val

    def disable(self) -> None:
        """Let batches hold images again."""
        self.data.train_set.features = self.data.val_set.features = None

    def _normalized(self, batches: BatchDataset, device: torch.device, pass_index: int | None = None) -> Iterator:
        """Batches in their own order on a device, normalised; augmented if they belong to a pass."""
        data = self.data
        generator = torch.Generator(device)
        for step, (images, labels) in enumerate(data.loader(batches)):
            images = images.to(device)
            if pass_index is not None and not isinstance(data.augment, Identity):
                images = data.augment(images, generator.manual_seed(derive_seed(data.seed, pass_index, step)))
            yield data.normalize(images), labels
