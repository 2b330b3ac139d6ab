"""The LightningDataModule: whole batches of raw grey levels, augmented and normalised on the device."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.data.augment import Identity
from src.data.batches import BatchDataset, BatchLoader, FeatureCache, SeededAugmentation, SeededBatchSampler, identity
from src.data.cache import cached
from src.data.info import DataInfo
from src.data.normalize import Normalize, channel_statistics
from src.data.rotation import build_target
from src.data.source import Source, Split, in_memory, join
from src.data.sources.registry import load_dataset
from src.data.splits import check_classes, sample_rows, validation_mask
from src.data.transforms import transform_source
from src.errors import integer, is_number, number, positive_int, require
from src.files import utf8_name
from src.signals import ignore_signals


class ImageData(LightningDataModule):
    """Training, validation and test batches of one data set.

    name: a data set of `src.data.sources.registry`; options: of its loader (root, download, mirrors, ...).
    val: images cut from the training images for validation, a count or a fraction below 1, every class in proportion;
    always the same for one split_seed.
    folds, fold: cross-validation instead; fold `fold` of `folds` stratified folds is the validation split.
    fraction, shots: train on this fraction, or this many images per class, of the rest, drawn by `seed`.
    unlabelled: train without labels, too, on the images that these leave, or on a folder's (`src.data.unlabelled`).
    min_steps: steps per epoch at least; a small data set is repeated, each time in a new order.
    ink, classes, quarter_turns: as for `src.data.transforms.transform_source`; ink may be auto: as the network reads.
    target: class; or angle, of a random rotation by at most max_angle_deg: float32 labels (B,), degrees over it.
    augment: called on training batches as `augment(images, generator)`.
    num_workers: processes that decode pictures which are not held in memory; None takes one per core.
    Raises InputError for invalid values, where possible before anything is read.
    """

    name: str

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
        unlabelled: bool | str = False,
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
        self.name, self.ink, self.batch_size = name, ink, positive_int("data.batch_size", batch_size)
        self.eval_batch_size = positive_int("data.eval_batch_size", eval_batch_size)
        self.val, self.folds, self.fold = number("data.val", val, above=0), folds, fold
        require(val < 1 or val == int(val), f"data.val={val}: a whole number of images, or a fraction below 1")
        if folds is not None or fold is not None:
            integer("data.folds", folds, 2)
            integer("data.fold", fold, 0, (folds or 0) - 1)
        self.fraction = number("data.fraction", fraction, above=0, most=1)
        self.shots = positive_int("data.shots", shots, optional=True)
        self.min_steps = integer("data.min_steps", min_steps, 0, 10_000)
        self.seed, self.split_seed = integer("data.seed", seed, 0), integer("data.split_seed", split_seed, 0)
        workers = integer("data.num_workers", num_workers, 0, optional=True)
        self.num_workers, self.augment = (os.cpu_count() or 1) if workers is None else workers, augment or Identity()
        self.unlabelled = str(unlabelled) if is_number(unlabelled) else unlabelled  # a folder called 2024
        if is_number(options.get("root")):  # a folder called 2024, typed without quotes
            options["root"] = str(options["root"])
        self.root: str | None = options.get("root")
        self.options, self.quarter_turns, original = options, quarter_turns, load_dataset(name, **options)
        self._transform = partial(transform_source, original, classes=classes, quarter_turns=quarter_turns)
        self.source = self._read_source("none" if ink == "auto" else ink)
        self.target = build_target(target, max_angle_deg, self.augment, self.source)
        self.skipped: tuple[tuple[str, str], ...] = ()  # files that could not be read, and why
        self._batches_to_skip, self.seeded_augment = 0, SeededAugmentation(self.augment, self.seed)
        self.feature_cache = FeatureCache(self)

    def setup(self, stage: str | None = None) -> None:
        """Read the training images (downloading missing files), split them and measure them; once."""
        if hasattr(self, "train_set"):
            return
        self.ink = "none" if self.ink == "auto" else self.ink
        data = self._read_split("train", self.source.train)
        labels, names = data.labels, self.source.class_names
        check_classes(labels, names, self.name, self.root if "size" in self.options else None)
        rule = len(names), self.val, self.folds, self.fold, self.split_seed, self.name
        in_val, (strata, named) = data.in_val, data.strata(names)
        if in_val is None or self.folds is not None:
            in_val = self.source.validation_mask(strata, lambda original: validation_mask(original, *rule))
        train_rows = sample_rows((~in_val).nonzero().flatten(), strata, self.fraction, self.shots, self.seed, named)
        self.class_counts = labels[train_rows].bincount(minlength=len(names))
        self.skipped += data.skipped
        images, labels = self.target.apply(data, "train")
        digest = hashlib.sha256(train_rows.numpy().tobytes()).hexdigest()
        first = train_rows if data.tasks is None else train_rows[data.tasks[train_rows] == 0]  # later ones are unknown
        statistics = cached(self.cache_key, f"statistics {digest}", lambda: channel_statistics(images, first))
        channels, height, width = images.shape[1:]
        self.info = self.target.describe(DataInfo((channels, height, width), names, *statistics))
        self.normalize = Normalize(*statistics)
        parts = data.files, data.digests, data.tasks
        self.train_set = BatchDataset(images, labels, train_rows, *parts)
        self.val_set = BatchDataset(images, labels, in_val.nonzero().flatten(), *parts)

    def _read_source(self, ink: str) -> Source:
        return self._transform(ink=ink)

    def _read_split(self, split: str, read: Callable[[], Split]) -> Split:
        data = cached(self.cache_key, split, read)
        classes = len(self.source.class_names)
        valid = len(data.labels) > 0 and int(data.labels.min()) >= 0 and int(data.labels.max()) < classes
        require(valid, f"the labels of data={self.name} are not all in 0..{classes - 1}")
        return data

    @cached_property
    def test_set(self) -> BatchDataset:
        """The official test split, read at first access."""
        return self._whole(self._read_split("test", self.source.test))

    @cached_property
    def all_set(self) -> BatchDataset:
        """Every image: those of training and validation, then those of the test split."""
        train, test = (self._read_split(name, getattr(self.source, name)) for name in ("train", "test"))
        return self._whole(join(train, test))

    def _whole(self, data: Split) -> BatchDataset:
        self.skipped += data.skipped
        images, labels = self.target.apply(data, "test")
        return BatchDataset(images, labels, torch.arange(len(labels)), data.files, data.digests, data.tasks)

    def train_dataloader(self) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        # overfit_batches, which the Trainer sets without declaring it, repeats the same few batches.
        seed = None if self.trainer and self.trainer.overfit_batches else self.seed  # type: ignore[attr-defined]
        skip, self._batches_to_skip = self._batches_to_skip, 0
        return self.loader(self.train_set, self._sampler(seed, skip, rank, world))

    def _sampler(self, seed: int | None, skip: int, rank: int, world: int) -> SeededBatchSampler:
        return SeededBatchSampler(len(self.train_set), self.batch_size, seed, skip, rank, world, self.min_steps)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.val_set)

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.test_set)

    def loader(self, batches: BatchDataset, sampler: SeededBatchSampler | None = None) -> DataLoader:
        """Raw batches of a split; without a sampler in their own order and of eval_batch_size."""
        workers = 0 if in_memory(batches.images) else self.num_workers
        # A sampler of whole batches and no batch size: the fetcher asks the dataset for a batch as one item. A
        # generator of its own keeps the workers' seeds from advancing the global random state.
        return BatchLoader(
            batches,
            sampler=sampler or SeededBatchSampler(len(batches), self.eval_batch_size, None),
            batch_size=None,
            collate_fn=identity,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),
            worker_init_fn=ignore_signals,
        )

    def normalize_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Replace the statistics by those of the source model, which its network expects."""
        self.info = replace(self.info, mean=mean, std=std)
        self.normalize = Normalize(mean, std)

    @property
    def cache_key(self) -> str:
        """Equal for equal images and labels."""
        return repr((self.name, self.ink, self.target, self._transform.keywords, self.options, self.source.version))

    @property
    def few_labels(self) -> bool:
        """Whether its labels are too few to choose an epoch by."""
        return self.shots is not None or self.source.few_labels

    def read_as(self, shape: tuple[int, int, int], ink: bool) -> None:
        """Let what was left open of pictures be as a network reads them, MNIST's form with `ink`; before `setup`."""
        if self.ink == "auto":
            self.ink = "mnist" if ink else "none"
            self.source = self._read_source(self.ink)
        self.source = self.source.read_as(shape)

    @property
    def settled(self) -> dict[str, object]:
        """The options that were left open, as the data were read; after `setup`."""
        of_pictures = dict(zip(("channels", "size"), self.info.shape, strict=False), root=utf8_name(self.root or ""))
        return {"ink": self.ink, **(of_pictures if "size" in self.options else {})}

    def without_ink(self) -> "ImageData":
        """The same data set without data.ink=mnist."""
        return self._with_source(self._read_source("none").read_as(self.info.shape), "none")

    def target_data(self) -> "ImageData | None":
        """The data whose test split measures what fine-tuning gains, mostly itself; None if there are none."""
        target = self.source.target_data()
        if target is self.source:
            return self
        return None if target is None else self._with_source(target, self.ink)

    def _with_source(self, source: Source, ink: str) -> "ImageData":
        other = copy(self)
        other.source, other.ink = source, ink
        for split in ("train_set", "val_set", "test_set"):
            vars(other).pop(split, None)
        return other

    def transfer_batch_to_device(self, batch, device: torch.device, dataloader_idx: int):
        images, labels = batch
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Sequence[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        trainer = self.trainer
        assert trainer is not None  # the Trainer calls this
        if images.ndim == 2:  # features
            return trainer.precision_plugin.convert_input(images), labels
        if trainer.training:
            step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            images = self.seeded_augment(images, trainer.current_epoch, step, trainer.global_rank)
        # Lightning converts real inputs to the trainer's precision before this hook; grey levels become real only here.
        return trainer.precision_plugin.convert_input(self.normalize(images)), labels

    def state_dict(self) -> dict[str, int]:
        """Finished batches of the current epoch, for a run resumed within it."""
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed if self.trainer else 0
        return {"batches_done": done if self.trainer and done < self.trainer.num_training_batches else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._batches_to_skip = state["batches_done"]
