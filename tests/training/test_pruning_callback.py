"""The callback that asks a search's pruner."""

from src.training.callbacks import PruningCallback


def test_a_resumed_run_asks_the_pruner_before_it_trains():
    calls = []

    def should_prune(epoch, value):
        calls.append((epoch, value))
        return True

    class Fake:
        current_epoch, should_stop = 3, False

    callback, trainer = PruningCallback("val/acc", should_prune), Fake()
    callback.on_train_start(trainer, None)
    assert calls == [(3, None)] and trainer.should_stop and callback.pruned
