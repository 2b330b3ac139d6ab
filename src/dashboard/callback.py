"""Write training, seen from inside, to TensorBoard once per epoch: conf/dashboard."""

from collections import Counter
from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics.functional.classification import multiclass_confusion_matrix

from src.dashboard import image_grids
from src.dashboard.activations import Activations, Histogram, histogram, record_activations, weighted_layers
from src.data.info import NumberOutput
from src.errors import positive_int, printable, require
from src.plotting import MANY_CLASSES

BATCH_SIZE = 100  # small enough for the feature maps of a large network
MAX_MAPPED = 4  # convolutions whose maps are drawn, evenly spaced from the first to the last
GUIDE = """What is where, and what to look for (dashboard=rich, {images:,} fixed validation images):

| tab | tags | shows |
|---|---|---|
| Scalars | `dead/` | the fraction of a layer's units that respond to none of the images; if it grows, the network loses capacity, often because the learning rate is too high |
| Images | `filters/`, `maps/` | the first layer's weights, and the convolutions' feature maps of the same images, epoch by epoch |
| Images | `confusion/` | the confusion matrix on validation, epoch by epoch |
| Histograms, Distributions | `weights/`, `gradients/`, `activations/` | the values of each layer; gradients are those of an epoch's last step, before clipping |
| PR curves | `pr/` | precision against recall on validation, one curve per class; of more than {classes}, those with most mistakes in the first record |
| Projector | `features` | the head's inputs for each image; color them by label, answer, or right and wrong |
"""  # noqa: E501


class Dashboard(Callback):
    """Histograms, dead units, filters, feature maps, precision-recall curves, a confusion matrix and an embedding.

    every_epochs: epochs between two records; one more is made before the first step. sample: validation images that
    are recorded, the same in every epoch and balanced over classes. pictures: of these, images whose feature maps are
    drawn; channels: of each map that are drawn. embedding_epochs: epochs between two embeddings; None makes one, at the
    end.
    Reads and never writes: a run ends with the same bits as without it. Only rank 0 records.
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
        self.every_epochs = positive_int("dashboard.every_epochs", every_epochs)
        self.sample = positive_int("dashboard.sample", sample)
        self.channels = positive_int("dashboard.channels", channels)
        self.pictures = positive_int("dashboard.pictures", pictures, BATCH_SIZE)
        self.embedding_epochs = positive_int("dashboard.embedding_epochs", embedding_epochs, optional=True)
        self.writer = None
        self._images, self._labels = torch.empty(0), torch.empty(0)
        self._gradients: dict[str, Histogram | None] = {}
        self._predicted: tuple[Tensor, Tensor] | None = None
        self._embedded = -1
        self._curves: list[int] | None = None  # classes that have a precision-recall curve

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        require(
            bool(boards),
            "dashboard=rich needs TensorBoard among the loggers: give logger=tensorboard, or dashboard=none",
        )
        if not trainer.is_global_zero:
            return
        self.writer, split = boards[0].experiment, trainer.datamodule.val_set
        labels = split.labels.index_select(0, split.indices)
        rows = balanced_rows(labels, self.sample, task.info.output.is_number)
        self._images = split.images.index_select(0, split.indices[rows])
        self._labels = labels[rows]
        self.writer.add_text("about", GUIDE.format(images=len(rows), classes=MANY_CLASSES))

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        if self.writer is not None and trainer.global_step == 0:
            self._write_layers(trainer, task, self._record(trainer, task))

    def on_before_optimizer_step(self, trainer: Trainer, task: LightningModule, optimizer: Optimizer) -> None:
        last = trainer.is_last_batch or trainer.global_step + 1 == trainer.max_steps
        if not last or not self._is_due(trainer):
            return
        # Later is too late: some optimizers change gradients in place.
        scaler = trainer.scaler if getattr(optimizer, "_step_supports_amp_scaling", False) else None
        scale = scaler.get_scale() if scaler else 1.0
        for name, layer in weighted_layers(task.model).items():
            grads = [p.grad.flatten() for p in layer.parameters() if p.grad is not None]
            if grads:
                self._gradients[name] = histogram(torch.cat(grads) / scale)

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and self._is_due(trainer):
            outputs, labels = zip(*task.evaluated, strict=True)
            self._predicted = torch.cat(outputs), torch.cat(labels)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._is_due(trainer):
            record = self._record(trainer, task)
            self._write_layers(trainer, task, record)
            if self._predicted is not None and not task.info.output.is_number:
                self._write_predictions(trainer, task, *self._predicted)
            if self.embedding_epochs and (trainer.current_epoch + 1) % self.embedding_epochs == 0:
                self._write_embedding(trainer, task, record)
            self.writer.flush()
        self._gradients, self._predicted = {}, None

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self.writer is not None and self._embedded != trainer.global_step:
            self._write_embedding(trainer, task, self._record(trainer, task))
            self.writer.flush()

    def _is_due(self, trainer: Trainer) -> bool:
        return self.writer is not None and (trainer.current_epoch + 1) % self.every_epochs == 0

    def _record(self, trainer: Trainer, task: LightningModule) -> Activations:
        normalize, precision = trainer.datamodule.normalize, trainer.precision_plugin
        batches = (
            precision.convert_input(normalize(batch.to(task.device))) for batch in self._images.split(BATCH_SIZE)
        )
        with precision.forward_context():
            return record_activations(task.model, batches, self.pictures, self.channels)

    def _write_layers(self, trainer: Trainer, task: LightningModule, record: Activations) -> None:
        writer, step, layers = self.writer, trainer.global_step, weighted_layers(task.model)
        epoch = _epoch_name(trainer)
        for name, layer in layers.items():
            self._write_histogram(f"weights/{name}", histogram(layer.weight), step)
            self._write_histogram(f"gradients/{name}", self._gradients.get(name), step)
            if name in record.layers:
                self._write_histogram(f"activations/{name}", histogram(torch.cat(record.layers[name].samples)), step)
        for name, activations in record.layers.items():
            if activations.dead is not None:
                writer.add_scalar(f"dead/{name}", float(activations.dead.float().mean()), step)
        first, layer = next(iter(layers.items()), ("", None))
        if layer is not None:
            grid = image_grids.filter_grid(layer.weight, task.info.shape, f"{first}, {epoch}")
            if grid is not None:
                writer.add_image(f"filters/{first}", grid, step, dataformats="HWC")
        convolutions = [(name, layer) for name, layer in record.layers.items() if layer.maps is not None]
        convolutions = [pair for pair in convolutions if pair[1].activation] or convolutions  # without shortcuts
        count = min(MAX_MAPPED, len(convolutions))
        for index in range(count):
            name, activations = convolutions[index * (len(convolutions) - 1) // max(1, count - 1)]
            after = f" after {activations.activation.__name__}" if activations.activation else ""
            images, title = self._images[: self.pictures], f"{name}{after}, {epoch}"
            grid = image_grids.map_grid(images, activations.maps, title, len(activations.high))
            writer.add_image(f"maps/{name}", grid, step, dataformats="HWC")

    def _write_histogram(self, tag: str, values: Histogram | None, step: int) -> None:
        if values is not None:
            self.writer.add_histogram_raw(tag, *values, step)

    def _write_predictions(self, trainer: Trainer, task: LightningModule, logits: Tensor, labels: Tensor) -> None:
        step, names = trainer.global_step, task.info.class_names
        probs, labels = logits.float().softmax(1).cpu(), labels.cpu()
        counts = multiclass_confusion_matrix(probs, labels, len(names), validate_args=False)
        if self._curves is None:
            mistakes = counts.sum(1) - counts.diag()
            self._curves = mistakes.argsort(descending=True, stable=True)[:MANY_CLASSES].sort().values.tolist()
        short = short_names(names)
        for index in self._curves:
            self.writer.add_pr_curve(f"pr/{short[index]}", (labels == index).numpy(), probs[:, index].numpy(), step)
        wrong = len(labels) - int(counts.trace())
        title = f"validation, {_epoch_name(trainer)}: {wrong:,} of {len(labels):,} wrong"
        matrix = image_grids.confusion_image(counts, names, title)
        self.writer.add_image("confusion/validation", matrix, step, dataformats="HWC")

    def _write_embedding(self, trainer: Trainer, task: LightningModule, record: Activations) -> None:
        info, logits, self._embedded = task.info, record.logits.cpu(), trainer.global_step
        if isinstance(info.output, NumberOutput):
            header = [info.output.name, "estimated"]
            estimates, truths = info.output.metric_inputs(logits, self._labels)
            pairs = zip(truths.tolist(), estimates.tolist(), strict=True)
            rows = [[f"{truth:.1f}", f"{estimate:.1f}"] for truth, estimate in pairs]
        else:
            header = ["image", "label", "answer", "is"]
            pairs = zip(self._labels.tolist(), logits.argmax(1).tolist(), strict=True)
            names = short_names(info.class_names)
            rows = [_metadata_row(names[label], names[predicted]) for label, predicted in pairs]
        thumbnails = torch.from_numpy(image_grids.to_rgb(self._images).copy()).permute(0, 3, 1, 2).float() / 255
        self.writer.add_embedding(
            record.features.cpu(), rows, thumbnails, trainer.global_step, tag="features", metadata_header=header
        )


def balanced_rows(labels: Tensor, count: int, numbers: bool = False) -> Tensor:
    """Rows of at most `count` labels: one of each class, then another of each, and so on; evenly spaced for numbers."""
    count = min(count, len(labels))
    if numbers:
        return torch.arange(count) * len(labels) // count
    by_class = labels.argsort(stable=True)
    firsts = labels.bincount().cumsum(0) - labels.bincount()
    rank_in_class = torch.empty_like(by_class)
    rank_in_class[by_class] = torch.arange(len(labels)) - firsts[labels[by_class]]
    return (rank_in_class * (int(labels.max()) + 1) + labels).argsort()[:count]


def short_names(names: Sequence[str]) -> list[str]:
    """Class names for tags and cells: one line of at most 60 characters, with a number where two would be equal."""
    lines = [printable(name, 60) for name in names]  # a tab or a line break would end a cell
    counts = Counter(lines)
    return [f"{line} #{index}" if counts[line] > 1 else line for index, line in enumerate(lines)]


def _metadata_row(label: str, predicted: str) -> list[str]:
    # TensorBoard names points by the first column that holds more than numbers.
    name, right = f"is {label}", label == predicted
    return [name if right else f"{name}, answered {predicted}", label, predicted, "right" if right else "wrong"]


def _epoch_name(trainer: Trainer) -> str:
    return "before the first step" if trainer.global_step == 0 else f"epoch {trainer.current_epoch + 1}"
