"""What training looks like from inside, written to TensorBoard once per epoch: conf/dashboard."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from src.dashboard import image_grids
from src.dashboard.activations import Activity, Histogram, Observed, histogram, observe, weighted_layers
from src.errors import is_integer, require

CHUNK = 100  # images per pass: the maps of a large network fit in memory
MAPPED = 4  # convolutions whose maps are drawn, evenly from the first to the last
GUIDE = """What is where, and what to look for (dashboard=rich, {images:,} fixed validation images):

| tab | tags | what it says |
|---|---|---|
| Scalars | `dead/` | share of a layer's units that answer none of the images; a share that grows is capacity lost, often to a rate that is too high |
| Images | `filters/`, `maps/` | the first layer's weights, and what convolutions make of the same images, epoch by epoch |
| Images | `confusion/` | true against predicted class on validation, epoch by epoch |
| Histograms, Distributions | `weights/`, `gradients/`, `activations/` | each layer; gradients are of an epoch's last step, before clipping |
| PR curves | `pr/` | precision against recall on validation, a curve per class |
| Projector | `features` | what the head reads of each image; colour by label, answer or whether it is right |
"""  # noqa: E501


class Dashboard(Callback):
    """Histograms, dead units, filters, feature maps, precision-recall curves, confusion and an embedding.

    every_epochs: epochs between two looks; there is one before the first step as well. sample: validation images that
    are looked at, the same in every epoch, as many of each class as there are. pictures: of them whose feature maps
    are drawn; channels: of each map that are drawn. embedding_epochs: epochs between two embeddings; None for one, at
    the end.
    Reads and never writes: a run ends with the same bits as without it. Only the first process looks.
    Raises InputError when training begins without TensorBoard among the loggers.
    """

    state_key = "dashboard"

    def __init__(
        self,
        every_epochs: int = 1,
        sample: int = 1000,
        pictures: int = 6,
        channels: int = 16,
        embedding_epochs: int | None = None,
    ):
        given = {"every_epochs": every_epochs, "sample": sample, "pictures": pictures, "channels": channels}
        for key, value in given.items():
            require(is_integer(value) and value >= 1, f"dashboard.{key}={value}: a whole number of at least 1")
        require(
            embedding_epochs is None or (is_integer(embedding_epochs) and embedding_epochs >= 1),
            f"dashboard.embedding_epochs={embedding_epochs}: 1 or more epochs, or null for one at the end",
        )
        require(pictures <= CHUNK, f"dashboard.pictures={pictures}: at most {CHUNK}")
        self.every_epochs, self.sample, self.pictures, self.channels = every_epochs, sample, pictures, channels
        self.embedding_epochs = embedding_epochs
        self.writer = None
        self._images, self._labels = torch.empty(0), torch.empty(0)
        self._gradients: dict[str, Histogram | None] = {}
        self._predicted: tuple[Tensor, Tensor] | None = None
        self._embedded = -1

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        require(
            bool(boards),
            "dashboard=rich writes to TensorBoard, which is not among the loggers: give logger=tensorboard, or "
            "dashboard=none",
        )
        if not trainer.is_global_zero:
            return
        self.writer, split = boards[0].experiment, trainer.datamodule.val_set
        labels = split.labels.index_select(0, split.indices)
        rows = fixed_rows(labels, self.sample, bool(task.info.target))
        self._images = split.images.index_select(0, split.indices[rows])
        self._labels = labels[rows]
        self.writer.add_text("about", GUIDE.format(images=len(rows)))

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        if self.writer is not None and trainer.global_step == 0:
            self._write_layers(trainer, task, self._look(trainer, task))

    def on_before_optimizer_step(self, trainer: Trainer, task: LightningModule, optimizer: Optimizer) -> None:
        last = trainer.is_last_batch or trainer.global_step + 1 == trainer.max_steps
        if not last or not self._is_due(trainer):
            return
        # Only here are they as the network gave them: some optimizers change them in place.
        scaler = trainer.scaler if getattr(optimizer, "_step_supports_amp_scaling", False) else None
        scale = scaler.get_scale() if scaler else 1.0
        for name, layer in weighted_layers(task.model).items():
            parts = [p.grad.flatten() for p in layer.parameters() if p.grad is not None]
            if parts:
                self._gradients[name] = histogram(torch.cat(parts) / scale)

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and self._is_due(trainer):
            outputs, labels = zip(*task.predicted, strict=True)
            self._predicted = torch.cat(outputs), torch.cat(labels)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._is_due(trainer):
            seen = self._look(trainer, task)
            self._write_layers(trainer, task, seen)
            if self._predicted is not None and not task.info.target:
                self._write_answers(trainer, task, *self._predicted)
            if self.embedding_epochs and (trainer.current_epoch + 1) % self.embedding_epochs == 0:
                self._write_embedding(trainer, task, seen)
            self.writer.flush()
        self._gradients, self._predicted = {}, None

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self.writer is not None and self._embedded != trainer.global_step:
            self._write_embedding(trainer, task, self._look(trainer, task))
            self.writer.flush()

    def _is_due(self, trainer: Trainer) -> bool:
        return self.writer is not None and (trainer.current_epoch + 1) % self.every_epochs == 0

    def _look(self, trainer: Trainer, task: LightningModule) -> Observed:
        normalize, precision = trainer.datamodule.normalize, trainer.precision_plugin
        batches = (precision.convert_input(normalize(some.to(task.device))) for some in self._images.split(CHUNK))
        with precision.forward_context():
            return observe(task.model, batches, self.pictures, self.channels)

    def _write_layers(self, trainer: Trainer, task: LightningModule, seen: Observed) -> None:
        writer, step, layers = self.writer, trainer.global_step, weighted_layers(task.model)
        when = _when(trainer)
        for name, layer in layers.items():
            self._write_histogram(f"weights/{name}", histogram(layer.weight), step)
            self._write_histogram(f"gradients/{name}", self._gradients.get(name), step)
            if name in seen.activities:
                self._write_histogram(f"activations/{name}", histogram(seen.activities[name].values), step)
        for name, activity in seen.activities.items():
            if activity.dead is not None:
                writer.add_scalar(f"dead/{name}", float(activity.dead.float().mean()), step)
        first, layer = next(iter(layers.items()), ("", None))
        if layer is not None:
            picture = image_grids.filter_grid(layer.weight, task.info.shape, f"{first}, {when}")
            if picture is not None:
                writer.add_image(f"filters/{first}", picture, step, dataformats="HWC")
        for name, activity in _evenly(seen.activities):
            after = f" after {activity.activation}" if activity.activation else ""
            images, title = self._images[: self.pictures], f"{name}{after}, {when}"
            picture = image_grids.map_grid(images, activity.maps, title, len(activity.high))
            writer.add_image(f"maps/{name}", picture, step, dataformats="HWC")

    def _write_histogram(self, tag: str, values: Histogram | None, step: int) -> None:
        if values is not None:
            low, high, count, total, squares, edges, counts = values
            self.writer.add_histogram_raw(tag, low, high, count, total, squares, edges, counts, step)

    def _write_answers(self, trainer: Trainer, task: LightningModule, logits: Tensor, labels: Tensor) -> None:
        step, names = trainer.global_step, task.info.class_names
        probs, labels = logits.float().softmax(1).cpu(), labels.cpu()
        for place, name in enumerate(names):
            self.writer.add_pr_curve(f"pr/{name}", (labels == place).numpy(), probs[:, place].numpy(), step)
        counts = image_grids.count_confusion(labels, probs.argmax(1), len(names))
        wrong = len(labels) - int(counts.trace())
        title = f"validation, {_when(trainer)}: {wrong:,} of {len(labels):,} wrong"
        self.writer.add_image(
            "confusion/validation", image_grids.confusion(counts, names, title), step, dataformats="HWC"
        )

    def _write_embedding(self, trainer: Trainer, task: LightningModule, seen: Observed) -> None:
        info, logits, self._embedded = task.info, seen.logits.cpu(), trainer.global_step
        if info.target:
            header = [info.target, "estimated"]
            numbers = ((self._labels * info.scale).tolist(), (logits[:, 0] * info.scale).tolist())
            rows = [[f"{truth:.1f}", f"{answer:.1f}"] for truth, answer in zip(*numbers, strict=True)]
        else:
            header = ["image", "label", "answer", "is"]
            pairs = zip(self._labels.tolist(), logits.argmax(1).tolist(), strict=True)
            rows = [_row(info.class_names[truth], info.class_names[answer]) for truth, answer in pairs]
        thumbnails = torch.from_numpy(image_grids.to_grey_levels(self._images).copy()).permute(0, 3, 1, 2).float() / 255
        self.writer.add_embedding(
            seen.features.cpu(), rows, thumbnails, trainer.global_step, tag="features", metadata_header=header
        )


def fixed_rows(labels: Tensor, count: int, numbers: bool = False) -> Tensor:
    """Rows of at most `count` labels: one of each class, then another of each, and so on; evenly spaced of numbers."""
    count = min(count, len(labels))
    if numbers:
        return torch.arange(count) * len(labels) // count
    by_class = labels.argsort(stable=True)
    firsts = labels.bincount().cumsum(0) - labels.bincount()
    turn = torch.empty_like(by_class)
    turn[by_class] = torch.arange(len(labels)) - firsts[labels[by_class]]
    return (turn * (int(labels.max()) + 1) + labels).argsort()[:count]


def _evenly(activities: dict[str, Activity]) -> list[tuple[str, Activity]]:
    drawn = [(name, activity) for name, activity in activities.items() if activity.maps is not None]
    drawn = [pair for pair in drawn if pair[1].kind] or drawn  # not those of shortcuts
    count = min(MAPPED, len(drawn))
    return [drawn[place * (len(drawn) - 1) // max(1, count - 1)] for place in range(count)]


def _row(truth: str, answer: str) -> list[str]:
    # The page names points by the first column that holds more than numbers.
    name, right = f"is {truth}", truth == answer
    return [name if right else f"{name}, answered {answer}", truth, answer, "right" if right else "wrong"]


def _when(trainer: Trainer) -> str:
    return "before the first step" if trainer.global_step == 0 else f"epoch {trainer.current_epoch + 1}"
