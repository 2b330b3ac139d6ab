"""Plain steps end as Lightning's own do, and leave every other step to it."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization

from src.model_files.checkpoint import read_checkpoint
from src.training.fit import fit
from tests.training.sessions import assert_equal, make_session, state

VARIANTS = {
    "everything": [],
    "sgd": ["optimizer=sgd", "scheduler=step", "scheduler.epochs=1"],
    "muon": ["optimizer=muon"],
    "plateau": ["scheduler=plateau", "scheduler.patience=0"],
    "max_steps": ["trainer.max_steps=7"],
    "ema": ["callbacks=[default,ema]", "callbacks.ema.decay=0.9"],
}
OTHERS = {
    "clipped": ["trainer.gradient_clip_val=0.5"],
    "accumulated": ["trainer.accumulate_grad_batches=2"],
    "double": ["trainer.precision=64-true"],
    "mixed": ["trainer.precision=bf16-mixed", "trainer.max_epochs=1"],
    "profiled": ["trainer.profiler=simple"],
}


class Outputs(Callback):
    """What a user's callback is given after each step, and the hook that runs then."""

    def __init__(self):
        self.losses, self.steps, self.hooks = [], [], set()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.steps.append(trainer.global_step)
        self.hooks.add(task._current_fx_name)


def train(root, folder, monkeypatch, *words, lightning=False, callbacks=()):
    """A run whose steps are Lightning's own or ours; how many were Lightning's."""
    session = make_session(root, folder, *words, callbacks=callbacks)
    loop = session.trainer.fit_loop.epoch_loop
    if lightning:
        loop.automatic_optimization = _AutomaticOptimization(session.trainer)
    made = []
    with monkeypatch.context() as patch:
        original = _AutomaticOptimization.run
        patch.setattr(_AutomaticOptimization, "run", lambda *args: made.append(1) or original(*args))
        fit(session)
    return len(made)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_plain_step_is_lightnings_step(variant, data_root, tmp_path, monkeypatch):
    ours, theirs = Outputs(), Outputs()
    words = VARIANTS[variant]
    assert train(data_root, tmp_path / "a", monkeypatch, *words, callbacks=[ours]) == 0
    assert train(data_root, tmp_path / "b", monkeypatch, *words, lightning=True, callbacks=[theirs]) > 0
    assert_equal(*(state(tmp_path / name / "checkpoints/last.ckpt") for name in "ab"))
    assert (ours.losses, ours.hooks) == (theirs.losses, theirs.hooks)
    assert ours.steps == theirs.steps == list(range(1, len(ours.steps) + 1))


@pytest.mark.parametrize("variant", OTHERS)
def test_other_steps_are_left_to_lightning(variant, data_root, tmp_path, monkeypatch):
    outputs = Outputs()
    steps = train(data_root, tmp_path, monkeypatch, *OTHERS[variant], callbacks=[outputs])
    assert steps == len(outputs.losses) > 0


@pytest.mark.parametrize(
    "hook", ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
)
def test_a_hook_within_the_step_is_called(hook, data_root, tmp_path, monkeypatch):
    called = []
    by_class = type("Hooked", (Callback,), {hook: lambda *args: called.append(1)})()
    steps = train(data_root, tmp_path / "a", monkeypatch, callbacks=[by_class])
    assert len(called) == steps > 0
    by_instance = Callback()
    setattr(by_instance, hook, lambda *args: called.append(1))
    assert train(data_root, tmp_path / "b", monkeypatch, callbacks=[by_instance]) == steps == len(called) / 2


def test_a_run_of_lightnings_steps_is_resumed_with_plain_ones(data_root, tmp_path, monkeypatch):
    """As runs of older versions are."""
    train(data_root, tmp_path / "a", monkeypatch, "scheduler=constant")
    train(data_root, tmp_path / "b", monkeypatch, "scheduler=constant", "trainer.max_epochs=2", lightning=True)
    assert train(data_root, tmp_path / "b", monkeypatch, "scheduler=constant", f"resume_from={tmp_path / 'b'}") == 0
    last = [read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in "ab"]
    assert last[0]["global_step"] == last[1]["global_step"] > 0
    same = (torch.equal(value, last[1]["state_dict"][key]) for key, value in last[0]["state_dict"].items())
    assert all(same)
