"""Training a classifier: the loss, the metrics, the optimizer. The only file with training hooks."""

import inspect
import math
import time
from collections.abc import Callable, Iterable

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from src.data.batches import derive_seed
from src.data.info import DataInfo
from src.errors import InputError, is_number, require
from src.evaluation.metrics import ClassifierMetrics
from src.finetune.method import Method
from src.models.structure import head_of
from src.training.epochs import epochs_of
from src.training.losses import CrossEntropy
from src.training.mixup import mix
from src.training.optimizers import parameter_groups, rate_and_decay
from src.training.schedules import constant


class DivergedError(InputError):
    """The loss is no finite number any more."""


class Classifier(LightningModule):
    """A network, what it is trained for, and how.

    model: normalised images (B, C, H, W) -> logits (B, K). info: of the data it is trained on.
    optimizer: called with parameter groups. scheduler: called with the optimizer and the number of steps, gives what
    `configure_optimizers` takes. loss: called with logits and targets, and with the images and the facts where its
    `wants_images` is true.
    method: what of the network trains, and when; None trains everything.
    mixup, cutmix: alpha of the Beta distribution that images are mixed by (Zhang et al. 2018, arXiv:1710.09412; Yun
    et al. 2019, arXiv:1905.04899), 0 for none; with both, each batch takes one of them at random.
    seed: with the epoch and the batch, determines every random choice inside the network and the mixing.
    log_every: steps between two looks at the loss; each look waits for the device.
    config: plain values kept in the checkpoint, from which `load_model` rebuilds the network.
    base: file and digest of the start, where checkpoints are to hold only what changes.
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
    ):
        super().__init__()
        for key, value in (("mixup", mixup), ("cutmix", cutmix)):
            require(is_number(value) and value >= 0, f"task.{key}={value}: 0 for none, or above 0")
        self.model, self.info, self.loss = model, info, loss or CrossEntropy()
        self.method, self.base = method, base
        self.strict_loading = base is None
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.mixup, self.cutmix, self.seed, self.log_every, self.config = mixup, cutmix, seed, log_every, config or {}
        self.scores = ClassifierMetrics(info)
        self.shown: dict[str, float] = {}  # what the progress bar prints
        self._head = [head_of(model)[1]] if method else []  # in a list, not to be saved twice
        self.unread: list[tuple[Tensor, Tensor, Tensor]] = []  # loss, logits, labels of the steps since the last look
        self._answers, self._labels = [], []  # of tensors
        self.predicted: list[tuple[Tensor, Tensor]] = []  # logits, labels of the split that is being measured
        self._loss_sum, self._image_count, self._epoch_seed, self._started = 0.0, 0, 0, 0.0
        self._steps = math.inf  # of the whole training

    def __setattr__(self, name: str, value: object) -> None:
        # Lightning notes the running hook here 44 times a step, which nn.Module's search for parameters and modules
        # makes 70 microseconds.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        return self._head[0](images) if images.ndim == 2 else self.model(images)  # features, or images

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if mode and self.method:
            self.method.set_modes(self.model)
        return self

    def on_train_start(self) -> None:
        self.on_train_epoch_start()  # not called in a run that is resumed within an epoch

    def on_train_epoch_start(self) -> None:
        self._epoch_seed = derive_seed(self.seed, self.current_epoch, self.global_rank)
        self._loss_sum, self._image_count = 0.0, 0
        for parts in (self.unread, self._answers, self._labels):
            parts.clear()
        if self.method:
            mixed, epochs = bool(self.mixup or self.cutmix), epochs_of(self.trainer)
            self.method.begin_epoch(self.model, self.trainer.datamodule, self.current_epoch, epochs, mixed)
            self.train()
        self._started = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        # Dropout and mixing are functions of (seed, epoch, batch): a resumed run draws what it would have drawn.
        generator = torch.default_generator if images.device.type == "cpu" else torch
        generator.manual_seed(self._epoch_seed + batch_idx)
        targets = labels
        if self.mixup or self.cutmix:
            images, targets = mix(images, labels, self.info.num_classes, self.mixup, self.cutmix)
        if self.method:
            self.method.begin_step(self.model, (self.global_step + 1) / self._steps)
        logits = self(images) if self.method else self.model(images)
        seen = (images, self.info) if getattr(self.loss, "wants_images", False) else ()
        loss = self.loss(logits, targets, *seen)
        if self.method:
            loss = loss + self.method.penalty(self.model)
        self.unread.append((loss.detach(), logits.detach(), labels))
        if self.method and self.method.closed_form:
            return self.method.collect(self.model, images, labels)
        return loss

    # Lightning inspects the signature at every step; a stored one is found at once.
    training_step.__signature__ = inspect.signature(training_step)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            self.close_epoch()
        elif (batch_idx + 1) % self.log_every == 0:
            self._read_losses()

    def on_train_epoch_end(self) -> None:
        self.close_epoch()  # where max_steps or max_time ended it early

    def on_train_end(self) -> None:
        if self.method:
            self.trainer.datamodule.features.hide()  # what follows looks at images

    def close_epoch(self) -> None:
        """Sum the epoch up in `shown` and in the log; does nothing a second time, or where no step was made."""
        if self.unread:
            self._read_losses()
        if not self._answers:
            return
        if self.method:
            self.method.finish(self.model)
        right = self.scores.of_training(torch.cat(self._answers), torch.cat(self._labels))
        self._answers.clear()
        self._labels.clear()
        summary = {
            "train/loss": self._loss_sum / self._image_count,
            **right,
            "train/images_per_s": self.shown["train/images_per_s"],
            "train/lr": self._lr,
        }
        self.shown |= summary
        self.log_dict(summary, on_step=False, on_epoch=True, batch_size=1, sync_dist=self.trainer.world_size > 1)

    def _read_losses(self) -> None:
        """Add up what the last steps left on the device; stop if it is not finite."""
        losses, logits, labels = zip(*self.unread, strict=True)
        self.unread.clear()
        sizes = torch.tensor([len(some) for some in labels])
        total, count = float((torch.stack(losses).float().cpu() * sizes).sum()), int(sizes.sum())
        if not math.isfinite(total):
            raise DivergedError(
                f"the loss is {total} in epoch {self.current_epoch + 1}, step {self.global_step:,}: lower optimizer.lr "
                f"({self._lr:.3g} now), or clip gradients with trainer.gradient_clip_val=1"
            )
        self._answers.append(torch.cat(logits).argmax(1))
        self._labels.append(torch.cat(labels))
        self._loss_sum += total
        self._image_count += count
        self.shown["loss"] = total / count
        self.shown["train/images_per_s"] = self._image_count / (time.perf_counter() - self._started)
        if not self.trainer.is_last_batch:
            for logger in self.loggers:
                logger.log_metrics({"train/loss_step": total / count, "train/lr": self._lr}, step=self.global_step)

    @property
    def _lr(self) -> float:
        groups = self.trainer.optimizers[0].param_groups  # none where the head is solved for
        return groups[0]["lr"] if groups else 0.0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._predict(batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._predict(batch)

    def _predict(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.predicted.append((self(images).float(), labels))

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _report(self, split: str) -> None:
        """Measure the whole split at once: five times cheaper than batch by batch."""
        logits, labels = (torch.cat(parts) for parts in zip(*self.predicted, strict=True))
        self.predicted.clear()
        values = {f"{split}/{name}": value for name, value in self.scores.of_split(logits, labels).items()}
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)
        self.shown |= {name: float(value) for name, value in values.items()}
        self.shown[f"{split}/epoch"] = self.current_epoch

    def on_validation_start(self) -> None:
        self.predicted.clear()

    on_test_start = on_validation_start

    def configure_optimizers(self) -> dict | None:
        lr, decay = rate_and_decay(self.make_optimizer)
        if self.method and self.method.closed_form:
            return None
        method, model = self.method, self.model
        groups = method.groups(model, lr, decay) if method else parameter_groups(model, decay)
        require(bool(groups), "the model has no trainable parameter")
        try:
            optimizer = self.make_optimizer(groups)
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(f"optimizer refused its arguments ({error}): see conf/optimizer") from None
        self._steps = steps = self.trainer.estimated_stepping_batches
        require(math.isfinite(steps), "training has no end: give trainer.max_epochs or trainer.max_steps")
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer, total_steps=int(steps))}

    def configure_gradient_clipping(self, optimizer: Optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        if gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["config"] = self.config
        checkpoint["facts"] = self.info.plain()
        if self.base is not None:
            checkpoint["base"] = self.base
            for name in self.method.never(self.model):
                del checkpoint["state_dict"][f"model.{name}"]
