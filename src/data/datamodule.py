"""Whole batches of raw grey levels for the Trainer; augmentation and normalisation on its device."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.data.augment import Identity
from src.data.batches import Batches, BatchLoader, BatchOrder, derive_seed
from src.data.cache import cached
from src.data.feature_cache import FeatureCache
from src.data.info import DataInfo
from src.data.normalize import Normalize, channel_statistics
from src.data.rotation import check_target, turn
from src.data.source import Images, Source
from src.data.sources.registry import load_source
from src.data.splits import few_shot, stratified, validation_mask
from src.data.transforms import transform_source
from src.errors import InputError, is_integer, is_number, require


def _as_it_is(batch):
    return batch


class ImageData(LightningDataModule):
    """Training, validation and test batches of one data set.

    name: a data set of `src.data.sources.registry`; options: what its reader takes (root, download, mirrors, ...).
    val: images cut from the training images for validation, a count or a fraction below 1; always the same for one
    split_seed, every class in proportion.
    folds, fold: cross-validation instead; part `fold` of `folds` stratified parts is the validation split.
    fraction, shots: keep this share, or this many images per class, of what is left for training, drawn by `seed`.
    min_steps: steps that an epoch has at least: few images are used again, in new orders, until there are as many.
    ink, classes, quarter_turns: the data set seen in another way, as `src.data.transforms` does it.
    target: class; or angle, by which each image is turned, at most max_angle_deg, and which is to be estimated: labels
    are then float32 (B,), degrees over max_angle_deg.
    augment: called on training batches as `augment(images, generator)`.
    num_workers: processes that decode pictures which are not held in memory; None takes one per core.
    Raises InputError for values that make no sense, before anything is read where that can be told.
    """

    def __init__(
        self,
        name: str = "mnist",
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        val: float = 5000,
        folds: int | None = None,
        fold: int | None = None,
        fraction: float = 1.0,
        shots: int | None = None,
        min_steps: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        num_workers: int | None = None,
        ink: str = "none",
        classes: Sequence | Mapping | None = None,
        quarter_turns: int = 0,
        target: str = "class",
        max_angle_deg: float = 45.0,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        **options,
    ):
        super().__init__()
        for key, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            require(is_integer(value) and value >= 1, f"data.{key}={value}: a whole number of at least 1")
        for key, value in (("seed", seed), ("split_seed", split_seed)):
            require(is_integer(value) and value >= 0, f"data.{key}={value}: a whole number, 0 or more")
        require(shots is None or (is_integer(shots) and shots >= 1), f"data.shots={shots}: at least 1, or null")
        require(is_integer(min_steps) and 0 <= min_steps <= 10_000, f"data.min_steps={min_steps}: 0 to 10,000 steps")
        require(is_number(fraction) and 0 < fraction <= 1, f"data.fraction={fraction}: above 0, at most 1")
        require(is_number(val) and val > 0, f"data.val={val}: a count, or a fraction above 0 and below 1")
        require(val < 1 or val == int(val), f"data.val={val}: a whole number of images, or a fraction below 1")
        if folds is not None or fold is not None:
            require(is_integer(folds) and folds >= 2, f"data.folds={folds} with data.fold={fold}: at least 2 folds")
            require(
                is_integer(fold) and 0 <= fold < folds, f"data.fold={fold}: with data.folds={folds}, 0 to {folds - 1}"
            )
        require(
            num_workers is None or (is_integer(num_workers) and num_workers >= 0),
            f"data.num_workers={num_workers}: 0 or more, or null",
        )
        self.name, self.batch_size, self.eval_batch_size = name, batch_size, eval_batch_size
        self.val, self.folds, self.fold = val, folds, fold
        self.fraction, self.shots, self.seed, self.split_seed = fraction, shots, seed, split_seed
        self.min_steps = min_steps
        self.num_workers = (os.cpu_count() or 1) if num_workers is None else num_workers
        self.augment = augment or Identity()
        check_target(target, max_angle_deg, self.augment)
        self.target, self.max_angle_deg = target, max_angle_deg
        self._raw = load_source(name, **options)
        require(target == "class" or not self._raw.replay, f"data.target={target}: corrections are about classes")
        self._view, self._options = {"classes": classes, "quarter_turns": quarter_turns}, options
        self.ink, self.source = ink, transform_source(self._raw, ink, **self._view)
        self.train_set: Batches | None = None
        self.val_set: Batches | None = None
        self._test_set: Batches | None = None
        self._skip = 0
        self.features = FeatureCache(self)

    def setup(self, stage: str | None = None) -> None:
        """Read the training images (downloading them if they are missing), split them and measure them; once."""
        if self.train_set is not None:
            return
        images, labels = cached(self.contents, "train", self.source.train)
        self._check_labels(labels)
        replay = self.source.replay
        how = len(self.source.class_names), self.val, self.folds, self.fold, self.split_seed, self.name
        in_val = replay.validated(labels, *how) if replay else validation_mask(labels, *how)
        train_rows = (~in_val).nonzero().flatten()
        if self.fraction < 1:
            count = round(self.fraction * len(train_rows))
            require(count >= 1, f"data.fraction={self.fraction} of {len(train_rows):,} images leaves none")
            train_rows = train_rows[stratified(labels[train_rows], count, self.seed)]
        if self.shots is not None:
            train_rows = train_rows[few_shot(labels[train_rows], self.shots, self.seed)]
        if replay:
            train_rows = replay.epoch(train_rows, labels, self.seed)
        self.class_counts = labels[train_rows].bincount(minlength=len(self.source.class_names))
        images, labels = self._with_targets(images, labels, "train")
        mean, std = self._statistics(images, train_rows)
        self.info = DataInfo(tuple(images.shape[1:]), self.source.class_names, mean, std)
        if self.target == "angle":
            self.info = replace(self.info, class_names=(), target="angle_deg", scale=self.max_angle_deg)
        self.normalize = Normalize(mean, std)
        self._generator: torch.Generator | None = None
        self.train_set = Batches(images, labels, train_rows)
        self.val_set = Batches(images, labels, in_val.nonzero().flatten())

    def _statistics(self, images: Images, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if not isinstance(images, Tensor):
            return channel_statistics(images, rows)
        which = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
        return cached(self.contents, f"statistics {which}", lambda: channel_statistics(images, rows))

    def _with_targets(self, images: Images, labels: Tensor, part: str) -> tuple[Images, Tensor]:
        if self.target == "class":
            return images, labels
        require(isinstance(images, Tensor), "data.target=angle needs the images in memory: raise data.memory_gb")
        turned, angles = turn(images, self.max_angle_deg, part)
        return turned, angles / self.max_angle_deg

    def _check_labels(self, labels: Tensor) -> None:
        names = self.source.class_names
        if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(names):
            raise InputError(f"the labels of data={self.name} are not all in 0..{len(names) - 1}")

    @property
    def test_set(self) -> Batches:
        """The official test split, read when it is first asked for."""
        if self._test_set is None:
            images, labels = cached(self.contents, "test", self.source.test)
            self._check_labels(labels)
            images, labels = self._with_targets(images, labels, "test")
            self._test_set = Batches(images, labels, torch.arange(len(labels)))
        return self._test_set

    def train_dataloader(self) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        seed = None if self.trainer and self.trainer.overfit_batches else self.seed  # the same few batches again
        order = BatchOrder(len(self.train_set), self.batch_size, seed, self._skip, rank, world, self.min_steps)
        self._skip = 0
        return self.loader(self.train_set, order)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.val_set)

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.test_set)

    def loader(self, batches: Batches, order: BatchOrder | None = None) -> DataLoader:
        """Raw batches of a split, in their own order for evaluation unless another is given."""
        order = order or BatchOrder(len(batches), self.eval_batch_size, None)
        workers = 0 if isinstance(batches.images, Tensor) else self.num_workers
        # A sampler of whole batches and no batch size: the fetcher asks the data set for a batch as one item. Its own
        # generator keeps the workers' seeds from drawing on the global stream.
        return BatchLoader(
            batches,
            sampler=order,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),
        )

    def read_as(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Normalise by these statistics instead, of what a network was trained on before."""
        self.info = replace(self.info, mean=mean, std=std)
        self.normalize = Normalize(mean, std)

    @property
    def contents(self) -> str:
        """What images it holds, as a key: equal for equal ones."""
        replay = self.source.replay  # a store grows: what was read of it once is not what it holds later
        return repr((self.name, self.ink, self.target, self._view, self._options, replay and replay.version))

    @property
    def few_labels(self) -> bool:
        """Whether its labels are too few to choose an epoch by."""
        return self.shots is not None or self.source.replay is not None

    def without_ink(self) -> "ImageData":
        """The same data set, its pictures as they are."""
        return self._reading(transform_source(self._raw, "none", **self._view), "none")

    def target_data(self) -> "ImageData | None":
        """What is to be gained on: itself; of corrections those that were held out as its test split, None for none."""
        replay = self.source.replay
        if replay is None or not len(replay.held_out().labels):
            return None if replay else self
        return self._reading(replace(self.source, test=replay.held_out, replay=replay.measured()), self.ink)

    def _reading(self, source: Source, ink: str) -> "ImageData":
        other = copy(self)
        other.source, other.ink, other.train_set, other.val_set, other._test_set = source, ink, None, None, None
        return other

    def transfer_batch_to_device(self, batch, device: torch.device, dataloader_idx: int):
        images, labels = batch
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Sequence[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        if images.ndim == 2:  # features
            return self.trainer.precision_plugin.convert_input(images), labels
        if self.trainer.training and not isinstance(self.augment, Identity):
            if self._generator is None or self._generator.device != images.device:
                self._generator = torch.Generator(images.device)
            step = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
            parts = (self.seed, self.trainer.current_epoch, step, self.trainer.global_rank)
            images = self.augment(images, self._generator.manual_seed(derive_seed(*parts)))
        # Lightning converts to the trainer's precision what was real before; grey levels become so only here.
        return self.trainer.precision_plugin.convert_input(self.normalize(images)), labels

    def state_dict(self) -> dict[str, int]:
        """How many batches of the running epoch are done, for a run that is resumed within one."""
        if self.trainer is None:
            return {"batches_done": 0}
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return {"batches_done": done if done < self.trainer.num_training_batches else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._skip = state["batches_done"]
