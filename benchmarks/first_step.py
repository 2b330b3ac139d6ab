"""A callback that ends a run after its first step, so that the process' time is the time to the first step."""

import os

from lightning.pytorch.callbacks import Callback


class StopAtFirstStep(Callback):
    """Ends the process at once."""

    def on_train_batch_end(self, *args) -> None:
        os._exit(0)
