"""A short fine-tuning in this process."""

from lightning.pytorch import Trainer

from src.model_files.checkpoint import CheckpointFiles
from src.training.task import Classifier


def tune(model, method, data, folder, epochs=1, batches=2, callbacks=(), **task) -> Trainer:
    """Train `model` with `method`; returns the trainer, whose lightning_module is the task."""
    classifier = Classifier(model, data.info, method=method, config={}, **task)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_train_batches=batches,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        callbacks=list(callbacks),
        plugins=[CheckpointFiles()],
        default_root_dir=str(folder),
        num_sanity_val_steps=0,
    )
    if method is not None:
        method.prepare(model, data, None, trainer.strategy.root_device)
    trainer.fit(classifier, data)
    return trainer
