"""Training a classifier: the loss, the metrics, the optimizer. The only file with training hooks."""

import inspect
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from src.data.batches import derive_seed
from src.data.info import DataInfo
from src.data.seen_images import SeenImages
from src.errors import number, require
from src.evaluation.metrics import ClassifierMetrics
from src.finetune.closed_form import ClosedForm
from src.finetune.method import Method
from src.models.structure import find_head
from src.training.epoch_sums import EpochSums
from src.training.lean_module import LeanModule
from src.training.losses import CrossEntropy, DivergedError
from src.training.mixup import mix
from src.training.optimizers import lr_and_weight_decay, new_optimizer, trained_groups
from src.training.schedules import check_schedule_length, constant, step_plateau
from src.training.trainer_state import data_of, planned_epochs, require_measured


class Classifier(LeanModule):
    """A network and how it is trained.

    model: normalized images (B, C, H, W) -> logits (B, K). info: of the training data.
    optimizer: called with parameter groups. scheduler: called with the optimizer and the number of steps; returns the
    scheduler part of what `configure_optimizers` returns. loss: called with logits and targets, and with images and
    info if its `wants_images` is true.
    method: which parameters train, and when; None trains all of them.
    mixup, cutmix: alpha of the Beta distribution that images are mixed by (Zhang et al. 2018, arXiv:1710.09412; Yun
    et al. 2019, arXiv:1905.04899), 0 for none; with both, each batch takes one of them at random.
    seed: with the epoch and the batch, determines every random choice inside the network and the mixing.
    log_every: steps between two readings of the loss; each reading waits for the device.
    config: plain values kept in the checkpoint, from which `load_model` rebuilds the network.
    base: file and digest of the source model, where checkpoints hold only what changes.
    metrics: more of them by name, measured in validation and test. seen: which pictures train and validate.
    """

    def __init__(
        self,
        model: nn.Module,
        info: DataInfo,
        optimizer: Callable[[Iterable[dict]], Optimizer] = torch.optim.AdamW,
        scheduler: Callable[..., dict] = constant,
        loss: nn.Module | None = None,
        method: Method | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        seed: int = 0,
        log_every: int = 50,
        config: dict | None = None,
        base: dict | None = None,
        metrics: Mapping[str, Metric] | None = None,
        seen: SeenImages | None = None,
    ):
        super().__init__()
        number("task.mixup", mixup, least=0)
        number("task.cutmix", cutmix, least=0)
        self.model, self.info, self.loss = model, info, loss or CrossEntropy()
        self.method, self.base, self.seen = method, base, seen
        self.strict_loading = base is None
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.mixup, self.cutmix, self.seed, self.log_every, self.config = mixup, cutmix, seed, log_every, config or {}
        self.metrics = ClassifierMetrics(info, metrics)
        self.latest: dict[str, float] = {}  # metric -> value, for the progress bar
        self._head = [find_head(model)[1]] if method else []  # in a list, so as not to be saved twice
        self.sums = EpochSums()
        self.evaluated: list[tuple[Tensor, Tensor]] = []  # logits, labels of the split that is being measured
        self.predicted: tuple[Tensor, Tensor] | None = None  # those of the split that was measured last
        self._epoch_seed, self._started, self._total_steps = 0, 0.0, math.inf

    def forward(self, images: Tensor) -> Tensor:
        return self._head[0](images) if images.ndim == 2 else self.model(images)  # features, or images

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if mode and self.method:
            self.method.set_module_modes(self.model)
        return self

    def on_train_start(self) -> None:
        check_schedule_length(self.trainer.lr_scheduler_configs, self._total_steps)
        self.on_train_epoch_start()  # not called in a run that is resumed within an epoch
        self.sums.resume(self.global_rank, self.device)

    def on_train_epoch_start(self) -> None:
        self._epoch_seed = derive_seed(self.seed, self.current_epoch, self.global_rank)
        self.sums.clear()
        if self.method:
            mixed, epochs = bool(self.mixup or self.cutmix), planned_epochs(self.trainer)
            self.method.on_epoch_start(self.model, data_of(self.trainer), self.current_epoch, epochs, mixed)
            self.train()
        self._started = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        images, labels = batch
        # Dropout and mixing are functions of (seed, epoch, batch): a resumed run draws what it would have drawn.
        generator = torch.default_generator if images.device.type == "cpu" else torch
        generator.manual_seed(self._epoch_seed + batch_idx)
        loss, logits = self.compute_loss(images, labels)
        self.sums.unread.append((loss.detach(), logits.detach(), labels))
        if isinstance(self.method, ClosedForm):
            self.method.collect(self.model, images, labels)
            return None  # no gradient
        return loss

    # Lightning inspects the signature at every step; a stored one is found at once (benchmarks/upstream.py).
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def compute_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a training batch, and its logits."""
        targets = labels
        if self.mixup or self.cutmix:
            images, targets = mix(images, labels, self.info.num_classes, self.mixup, self.cutmix)
        if self.method:
            self.method.on_step_start(self.model, (self.global_step + 1) / self._total_steps)
        logits = self(images) if self.method else self.model(images)
        extra = (images, self.info) if getattr(self.loss, "wants_images", False) else ()
        loss = self.loss(logits, targets, *extra)
        if self.method:
            loss = loss + self.method.penalty(self.model)
        return loss, logits

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            self.finish_epoch()
        elif (batch_idx + 1) % self.log_every == 0:
            self._read_losses()

    def on_train_epoch_end(self) -> None:
        self.finish_epoch()  # where max_steps or max_time ended it early
        for config in self.trainer.lr_scheduler_configs if self.trainer.is_last_batch else ():
            step_plateau(config, self.current_epoch, self.latest)

    def on_train_end(self) -> None:
        if self.method:
            data_of(self.trainer).feature_cache.disable()  # what follows needs images

    def finish_epoch(self) -> None:
        """Summarize the epoch in `latest` and in the log; does nothing a second time, or where no step was made."""
        if self.sums.unread:
            self._read_losses()
        predicted = self.sums.take_predictions()
        if predicted is None:
            return
        if self.method:
            self.method.on_epoch_end(self.model)
        summary = {
            "train/loss": self.sums.loss,
            **self.metrics.compute_train(*predicted),
            "train/images_per_s": self.latest["train/images_per_s"],
            "train/lr": self._lr,
        }
        self.latest |= summary
        self.log_dict(summary, on_step=False, on_epoch=True, batch_size=1, sync_dist=self.trainer.world_size > 1)

    def _read_losses(self) -> None:
        """Fetch the losses of the last steps from the device; raise DivergedError if they are not finite."""
        total, count = self.sums.read()
        if not math.isfinite(total):
            where, (lr, _) = f"epoch {self.current_epoch + 1}", lr_and_weight_decay(self.make_optimizer)
            raise DivergedError(
                f"the loss is {total} in {where}, by step {self.global_step:,}: lower optimizer.lr, {lr:g}, or clip "
                "gradients with trainer.gradient_clip_val=1"
            )
        self.latest["loss"] = total / count
        images, seconds = self.sums.images - self.sums.images_before, time.perf_counter() - self._started
        self.latest["train/images_per_s"] = images / seconds
        for logger in () if self.trainer.is_last_batch else self.loggers:
            logger.log_metrics({"train/loss_step": total / count, "train/lr": self._lr}, step=self.global_step)

    @property
    def _lr(self) -> float:
        groups = self.trainer.optimizers[0].param_groups  # none where the head is solved in closed form
        return groups[0]["lr"] if groups else 0.0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.evaluated.append((self(images).float(), labels))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _report(self, split: str) -> None:
        """Measure the whole split at once: five times cheaper than batch by batch."""
        logits, labels = (torch.cat(parts) for parts in zip(*self.evaluated, strict=True))
        self.evaluated.clear()
        self.predicted = logits, labels
        values = {f"{split}/{name}": value for name, value in self.metrics.compute_split(logits, labels).items()}
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)
        self.latest |= {name: float(value) for name, value in values.items()}
        self.latest[f"{split}/epoch"] = self.current_epoch

    def on_validation_start(self) -> None:
        self.evaluated.clear()

    on_test_start = on_validation_start

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = trained_groups(self.model, self.method, self.make_optimizer)
        if groups is None:
            return None
        require(bool(groups), "the model has no trainable parameter")
        optimizer = new_optimizer(self.make_optimizer, groups, clipped=bool(self.trainer.gradient_clip_val))
        self._total_steps = self.count_steps()
        require(math.isfinite(self._total_steps), "training has no end: give trainer.max_epochs or trainer.max_steps")
        scheduler: Any = self.make_scheduler(optimizer, total_steps=int(self._total_steps))
        require_measured(self.trainer, self.metrics.names, "scheduler.monitor", scheduler.get("monitor"))
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def count_steps(self) -> float:
        """Steps of the whole training; infinite without a limit."""
        return self.trainer.estimated_stepping_batches

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint |= {
            "config": self.config,
            "facts": self.info.to_dict(),
            **({"seen": self.seen} if self.seen else {}),
        }
        if (sums := self.sums.state()) and not isinstance(self.method, ClosedForm):  # with which the epoch begins again
            checkpoint["epoch_sums"] = sums
        if self.base is not None and self.method is not None:
            checkpoint["base"] = self.base
            for name in self.method.frozen_names(self.model):
                del checkpoint["state_dict"][f"model.{name}"]

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.sums.saved = checkpoint.get("epoch_sums", [])
