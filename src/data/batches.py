"""A whole batch as one item, in an order that a seed and an epoch determine; images, or cached features of them."""

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from src.data.augment import Identity
from src.data.source import Images
from src.signals import signals_blocked


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several integers, so that neighbouring (seed, epoch, step) give unrelated streams."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def identity(batch):
    """The batch itself: a BatchDataset makes whole ones."""
    return batch


class SeededAugmentation:
    """An augmentation whose draws are a function of `seed` and of numbers given with each batch."""

    def __init__(self, augment: Callable[[Tensor, torch.Generator], Tensor], seed: int):
        self.augment, self.seed = augment, seed
        self._generator: torch.Generator | None = None

    def __call__(self, images: Tensor, *stream: int) -> Tensor:
        if isinstance(self.augment, Identity):
            return images
        if self._generator is None or self._generator.device != images.device:
            self._generator = torch.Generator(images.device)
        return self.augment(images, self._generator.manual_seed(derive_seed(self.seed, *stream)))


class BatchDataset(Dataset):
    """Item `positions`, int64 (B,) into `indices`, is a whole batch: uint8 (B, C, H, W), int64 (B,).

    files, digests (`src.data.seen_images`): of each image, where the data set is one of pictures. tasks: of each image,
    where they arrive in tasks (`src.data.scenario`).
    """

    def __init__(
        self,
        images: Images,
        labels: Tensor,
        indices: Tensor,
        files: tuple[str, ...] | None = None,
        digests: Tensor | None = None,
        tasks: Tensor | None = None,
    ):
        self.images, self.labels, self.indices = images, labels, indices
        self.files, self.digests, self.tasks = files, digests, tasks
        self.features: Tensor | None = None  # inputs of the head, one row per position, used instead of images

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.indices.index_select(0, positions)  # six times faster than [positions] at 64 of them
        if self.features is not None:
            return self.features.index_select(0, positions), self.labels.index_select(0, rows)
        return self.images.index_select(0, rows), self.labels.index_select(0, rows)

    def relabeled(self, new_labels: list[int]) -> "BatchDataset":
        """The same images; label k becomes new_labels[k]."""
        labels = torch.tensor(new_labels)[self.labels]
        return BatchDataset(self.images, labels, self.indices, self.files, self.digests, self.tasks)

    def keep(self, which: Tensor) -> "BatchDataset":
        """The images at some positions, int64 (M,), or where a mask, (N,), is set."""
        return BatchDataset(self.images, self.labels, self.indices[which], self.files, self.digests, self.tasks)

    @property
    def picture_digests(self) -> Tensor | None:
        """The digest of each position, int64 (N,); None without."""
        return None if self.digests is None else self.digests[self.indices]

    @property
    def task_of_each(self) -> Tensor:
        """The task of each position, int64 (N,); 0 for data that do not arrive in tasks."""
        return torch.zeros_like(self.indices) if self.tasks is None else self.tasks[self.indices]

    @property
    def names(self) -> list[str] | None:
        """The file of each position; None without files."""
        return None if self.files is None else [self.files[row] for row in self.indices.tolist()]


class BatchLoader(DataLoader):
    """Loads a BatchDataset. What is in memory is indexed at once, in this process: images, and features, of which the
    workers' copies may be out of date.

    Its workers leave signals to the command from the moment they start.
    """

    dataset: BatchDataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]  # the base names a private class
        if self.num_workers and self.dataset.features is None:
            with signals_blocked():
                batches = super().__iter__()
            yield from batches
        else:
            yield from map(self.dataset.__getitem__, self.sampler)


class SeededBatchSampler(SequentialSampler):
    """Yields the positions of each batch; a shuffled order is a function of (seed, epoch) alone.

    size: number of images. seed: None for their own order. start: batches to skip once, for a run resumed within an
    epoch. min_steps: batches per epoch at least; a small data set is repeated, each time in a new order.
    A last batch of one image joins the batch before it: batch norm cannot train on a single value per channel.
    rank, world: this process' share; every process gets equally many, the beginning of the order fills up the end.
    positions: those to choose from, int64 (size,); None for 0 to size - 1.
    A SequentialSampler by type, or Lightning's overfit_batches would replace it by one of single images.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int | None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        min_steps: int = 0,
        positions: Tensor | None = None,
    ):
        self.positions = positions
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.start, self.rank, self.world, self.epoch = start, rank, world, 0
        self.repeats = max(1, -(-min_steps * batch_size * world // size)) if seed is not None else 1
        self.total = min_steps * batch_size * world if self.repeats > 1 else size
        self.per_process = -(-self.total // world)
        self.joins = seed is not None and 1 < batch_size < self.per_process and self.per_process % batch_size == 1

    def set_epoch(self, epoch: int) -> None:  # called by Lightning
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.per_process // self.batch_size) - self.joins

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]  # the base yields single positions
        start, self.start = self.start, 0
        if self.seed is None:
            order = torch.arange(self.size)
        else:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
            orders = [torch.randperm(self.size, generator=generator) for _ in range(self.repeats)]
            order = torch.cat(orders)[: self.total] if self.repeats > 1 else orders[0]
        if self.world > 1:
            order = order.repeat(2)[: self.per_process * self.world][self.rank :: self.world]
        order = order if self.positions is None else self.positions[order]
        batches = list(order.split(self.batch_size))
        if self.joins:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches[start:]

    @property
    def has_single_image(self) -> bool:
        """Whether a batch holds one image: all of them, or the only one."""
        return self.batch_size == 1 or (self.per_process % self.batch_size == 1 and not self.joins)


class FeatureCache:
    """The inputs of a frozen network's head for the images of an ImageData, computed once and used instead of them."""

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
