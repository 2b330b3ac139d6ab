"""`src.train` that signals itself: STOP_MOMENT=validation STOP_SIGNAL=9 python -m benchmarks.interrupted_run [words]

The words are those of `src.train`. KILL and TERM go to the command, INT to its whole group, as Ctrl-C does; the command
is the leader of its group. A run that never reaches the moment ends as usual.
"""

import os
import signal
from collections.abc import Callable


def _before(owner: object, name: str, is_moment: Callable[..., bool], stop: Callable[[], None]) -> None:
    """Call `stop` before the first call of owner.name for which is_moment, which gets its arguments, is true."""
    original = getattr(owner, name)

    def call(*args, **kwargs):
        if is_moment(*args):
            stop()
        return original(*args, **kwargs)

    setattr(owner, name, call)


def _later_write() -> Callable[..., bool]:
    """Whether it is the sixth file that is synced to disk: each is written beside the one that it replaces."""
    calls = iter(range(1, 1_000_000))
    return lambda *args: next(calls) == 6


def install(moment: str, number: int) -> None:
    """Arrange a signal to this process at one of MOMENTS."""
    from matplotlib.figure import Figure

    import src.training.results as results
    from src.training.checkpoints import Checkpoints
    from src.training.task import Classifier

    sent = []

    def stop() -> None:
        if not sent:
            sent.append(number)
            leader = os.getpgrp()
            (os.killpg if number == signal.SIGINT else os.kill)(leader, number)

    def in_epoch(epoch: int) -> Callable[..., bool]:
        return lambda task, batch, batch_idx: task.trainer.current_epoch == epoch and batch_idx == 1

    owner, name, is_moment = {
        "start": (Classifier, "training_step", in_epoch(0)),
        "epoch": (Classifier, "training_step", in_epoch(1)),
        "validation": (Classifier, "validation_step", lambda task, *_: task.trainer.current_epoch == 1),
        "write": (os, "fsync", _later_write()),
        "epoch's end": (Checkpoints, "on_train_epoch_end", lambda _, trainer, *__: trainer.current_epoch == 1),
        "test": (results, "compute_metrics", lambda *_: True),
        "figures": (Figure, "savefig", lambda *_: True),
    }[moment]
    _before(owner, name, is_moment, stop)


MOMENTS = ("start", "epoch", "validation", "write", "epoch's end", "test", "figures")


def main() -> None:
    """Run the command of sys.argv."""
    moment = os.environ.get("STOP_MOMENT")
    if moment and "LOCAL_RANK" not in os.environ:  # the other processes of a ddp run have it
        install(moment, int(os.environ["STOP_SIGNAL"]))
    from src.train import main as train

    train()


if __name__ == "__main__":
    main()
