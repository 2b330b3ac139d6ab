"""A whole batch as one item, in an order that a seed and an epoch determine."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from src.data.source import Images


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several integers, so that neighbouring (seed, epoch, step) give unrelated streams."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


class Batches(Dataset):
    """Item `rows`, a vector of positions in `indices`, is a whole batch: uint8 (B, C, H, W), int64 (B,)."""

    def __init__(self, images: Images, labels: Tensor, indices: Tensor):
        self.images, self.labels, self.indices = images, labels, indices
        self.features: Tensor | None = None  # what a head reads, a row per position, in the place of images

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.indices.index_select(0, rows)  # six times faster than [rows] at 64 rows
        if self.features is not None:
            return self.features.index_select(0, rows), self.labels.index_select(0, chosen)
        return self.images.index_select(0, chosen), self.labels.index_select(0, chosen)

    def relabelled(self, new_labels: list[int]) -> "Batches":
        """The same images; label k becomes new_labels[k]."""
        return Batches(self.images, torch.tensor(new_labels)[self.labels], self.indices)


class BatchLoader(DataLoader):
    """Batches of a `Batches`; its features are read here, as workers hold copies of it from before there were any."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.dataset.features is None:
            yield from super().__iter__()
        else:
            yield from map(self.dataset.__getitem__, self.sampler)


class BatchOrder(SequentialSampler):
    """Yields the positions of each batch; a shuffled order is a function of (seed, epoch) alone.

    size: number of images. start: batches to leave out once, for a run resumed within an epoch.
    min_steps: batches that an epoch has at least; few images are drawn in new orders until there are as many.
    rank, world: this process' share; every process gets equally many, the order's beginning filling up the last.
    A SequentialSampler by name, or Lightning would put one of single images in its place for overfit_batches.
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
    ):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.start, self.rank, self.world, self.epoch = start, rank, world, 0
        self.rounds = max(1, -(-min_steps * batch_size * world // size)) if seed is not None else 1
        self.limit = min_steps * batch_size * world if self.rounds > 1 else size

    def set_epoch(self, epoch: int) -> None:  # called by Lightning
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self._share() // self.batch_size)

    def _share(self) -> int:
        return -(-self.limit // self.world)

    def __iter__(self) -> Iterator[Tensor]:
        start, self.start = self.start, 0
        if self.seed is None:
            order = torch.arange(self.size)
        else:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
            rounds = [torch.randperm(self.size, generator=generator) for _ in range(self.rounds)]
            order = torch.cat(rounds)[: self.limit] if self.rounds > 1 else rounds[0]
        if self.world > 1:
            order = order.repeat(2)[: self._share() * self.world][self.rank :: self.world]
        yield from order.split(self.batch_size)[start:]
