"""Short runs on the small KMNIST, with a checkpoint and TensorBoard."""

from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from src.data.augment import Identity, Shift
from src.data.datamodule import ImageData
from src.model_files.checkpoint import CheckpointFiles
from src.models.lenet import LeNet
from src.training.callbacks import NoProfiler
from src.training.checkpoints import Checkpoints
from src.training.schedules import onecycle
from src.training.task import Classifier

LAYERS = ("features.0", "features.3", "head.0", "head.3", "head.6")  # of small_lenet


def small_lenet(data: ImageData) -> nn.Module:
    return LeNet(data.info.shape, data.info.num_classes, dropout=0.2)


def train(
    root: Path,
    folder: Path,
    *callbacks,
    make: Callable[[ImageData], nn.Module] = small_lenet,
    method=None,
    epochs: int = 2,
    resume: Path | None = None,
    compiled: bool = False,
    target: str = "class",
    augment=None,
    flags: dict | None = None,
    folder_of_pictures: bool = False,
    **options,
) -> Classifier:
    """A short run on the KMNIST below `root`, or on a folder of pictures, with a checkpoint and TensorBoard."""
    augment = augment or (Identity() if target == "angle" else Shift(1))
    name, val = ("folder", 0.25) if folder_of_pictures else ("kmnist", 50)
    data = ImageData(name, root=str(root), download=False, val=val, batch_size=32, augment=augment, target=target)
    data.setup()
    torch.manual_seed(0)
    model = make(data)
    if method is not None:
        model = method.adapt(model, data.info.shape)
    if compiled:
        model.compile(backend="eager")
    defaults = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)}
    task = Classifier(model, data.info, **{**defaults, "scheduler": onecycle, **options}, method=method)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks, Checkpoints(str(folder / "checkpoints"))],
        logger=TensorBoardLogger(str(folder), name="", version="", default_hp_metric=False),
        plugins=[CheckpointFiles()],
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        **(flags or {}),
    )
    trainer.fit(task, data, ckpt_path=resume)
    return task


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "scalars": 0, "tensors": 0})
    return found.Reload()


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
