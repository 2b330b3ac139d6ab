"""How long a training is to be."""

import math

from lightning.pytorch import Trainer


def epochs_of(trainer: Trainer) -> int:
    """How many epochs there are to be, 1 where that is not known."""
    if (trainer.max_epochs or -1) > 0:
        return trainer.max_epochs
    known = trainer.max_steps > 0 and math.isfinite(trainer.num_training_batches)
    return max(1, -(-trainer.max_steps // max(1, int(trainer.num_training_batches)))) if known else 1
