"""Ctrl-C, SIGTERM and SIGHUP end training between two optimizer steps, from where it can be resumed."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from src.signals import ENDING
from src.training.task import Classifier


class StopBetweenSteps(Callback):
    """Remembers a signal, and stops before the next batch that begins an optimizer step.

    A validation, or gradients that are being accumulated, are finished first: nothing that a checkpoint does not hold
    is lost. A second signal ends training at once, with the last.ckpt that is there.
    signum: the signal that asked for the end; None so far.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[signal.Signals, Any] = {}  # handlers; none where the Trainer is run without `listening`

    @property
    def status(self) -> int:
        """The exit status after the signal; that of Ctrl-C where an interrupt came without one."""
        return 128 + (self.signum or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within this; those that are ignored (nohup, a shell's &) stay ignored."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in ENDING} if in_main_thread else {}
        self._listen()
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _listen(self) -> None:
        for number, handler in self._before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, signum: int, frame: object) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum
        if sys.stderr.isatty():  # a logger may be in the middle of a line
            os.write(sys.stderr.fileno(), b"\nstopping after this step; once more ends at once\n")

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        self._listen()  # Lightning has put its own handler before ours, which stops within an accumulation

    def on_train_batch_start(self, trainer: Trainer, task: Classifier, batch: object, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        stop = self.signum is not None
        if trainer.world_size > 1:  # every process stops before the same batch
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            raise SIGTERMException
