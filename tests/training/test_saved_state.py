"""A checkpoint that says something else of its training than a run would: one line, before the first step."""

import re
import shutil
import signal
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from src.cli.error_line import CommandExit
from src.errors import InputError
from src.model_files.checkpoint import read_checkpoint, write_checkpoint
from src.training.saved_state import check_saved_state
from tests.training.sessions import Signal, make_session, run

VARIANTS = {
    "averaged": ["callbacks=[default,ema,early_stopping]", "scheduler=plateau"],
    "muon": ["optimizer=muon", "scheduler=cosine", "trainer.max_time=00:01:00:00"],
    "sgd": ["optimizer=sgd", "scheduler=step", "trainer.accumulate_grad_batches=3"],
}
PARTS = (
    "loops.fit_loop", "callbacks", "optimizer_states", "lr_schedulers", "ImageData", "epoch_sums",
    "current_model_state", "averaging_state", "state_dict",
)  # fmt: skip
STOPPING = "EarlyStopping{'monitor': 'val/loss', 'mode': 'min'}"
BATCHES = "loops.fit_loop.epoch_loop.batch_progress"
MOMENTS = "optimizer_states.0.state.3.exp_avg"
GONE = object()


@pytest.fixture(scope="module", params=VARIANTS)
def stopped(request, data_root, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder and the words of a run that was stopped within its second epoch."""
    folder, words = tmp_path_factory.mktemp("stopped") / "run", VARIANTS[request.param]
    with pytest.raises(CommandExit):
        run(data_root, folder, *words, callbacks=(Signal("on_train_batch_start", 16, signal.SIGTERM),))
    return folder, words


def get(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple, new: object) -> Any:
    """A copy with another value at a path of keys and positions, or without it."""
    value = list(value) if isinstance(value, tuple) else copy(value)
    if len(path) > 1:
        value[path[0]] = put(value[path[0]], path[1:], new)
    elif new is GONE:
        del value[path[0]]
    else:
        value[path[0]] = new
    return value


def entries(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all nested values."""
    if path:
        yield path
    if isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from entries(inner, (*path, key))


def path_of(checkpoint: dict, name: str) -> tuple:
    """The path of an entry, or of one to be added, from its dotted name; keys may hold dots."""
    names = {".".join(map(str, path)): path for path in entries(checkpoint)}
    parent = max((known for known in names if name.startswith(f"{known}.")), key=len, default="")
    return names.get(name) or (*names.get(parent, ()), name.removeprefix(f"{parent}."))


def test_every_entry_is_checked(stopped, data_root, tmp_path):
    """A text, another shape, or nothing in the place of each: refused, unless the run's own says nothing of it."""
    folder, words = stopped
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    session = make_session(data_root, tmp_path, *words)
    session_parts = (session.trainer, session.task, session.data, "x.ckpt")
    check_saved_state(checkpoint, *session_parts)
    accepted, count = set(), 0
    for part in PARTS:
        if part.split(".")[0] not in checkpoint:
            continue
        for path in entries(get(checkpoint, tuple(part.split("."))), tuple(part.split("."))):
            for new in ("text", torch.ones(1, 2, 3), GONE) if path != ("state_dict",) else ():
                count += 1
                try:
                    check_saved_state(put(checkpoint, path, new), *session_parts)
                    accepted.add(".".join(map(str, path)))
                except InputError as error:
                    assert "\n" not in str(error)
                    assert "x.ckpt is damaged" in str(error)
    assert count > 500
    left = {name for name in accepted if "stopping_reason_message" not in name}  # which is only displayed
    fewer = re.compile(  # entries that may be lacking
        r"callbacks(\.\w+|\..*}|\.checkpoints\.best_metrics\..*)?|ImageData|optimizer_states\.0(\.parts\.\d)?\.state\.\d+"
        r"|epoch_sums(\.0(\.unread\.\d)?)?|current_model_state|averaging_state"
    )
    assert sorted(name for name in left if not fewer.fullmatch(name)) == []


LIES: dict[str, tuple[str, object]] = {
    "a version of nothing": ("pytorch-lightning_version", "x"),
    "no loops": ("loops", GONE),
    "fewer than no batches": (f"{BATCHES}.current.ready", -1),
    "no count": (f"{BATCHES}.total.ready", 10**30),
    "moments of another shape": (MOMENTS, torch.zeros(3)),
    "moments that share their memory": (MOMENTS, torch.zeros(1).expand(84, 120)),
    "moments of integers": (MOMENTS, torch.zeros(84, 120, dtype=torch.int64)),
    "no moments": (MOMENTS, GONE),
    "other parameters": ("optimizer_states.0.param_groups.0.params", [4, 3, 2, 1, 0]),
    "another kernel": ("optimizer_states.0.param_groups.0.foreach", True),
    "a decay where there is none": ("optimizer_states.0.param_groups.1.weight_decay", 0.5),
    "a decay that overflows": ("optimizer_states.0.param_groups.0.weight_decay", 10**30),
    "no rate": ("optimizer_states.0.param_groups.0.lr", float("nan")),
    "no schedule": ("lr_schedulers", []),
    "an attribute that is a method": ("lr_schedulers.0.step", 5),
    "another mode": ("lr_schedulers.0.mode", "middle"),
    "a reason that is none": (f"callbacks.{STOPPING}.stopping_reason", -1),
    "a score that is none": ("callbacks.checkpoints.best_score", "high"),
    "measures that are none": ("callbacks.checkpoints.best_metrics", {"val/acc": "high"}),
    "a folder of its own": ("callbacks.checkpoints.folder", "/elsewhere"),
    "batches that are none": ("ImageData.batches_done", 1.5),
    "classes that are not there": ("epoch_sums.0.predictions.0.0", torch.full((64,), 10)),
    "labels of another length": ("epoch_sums.0.unread.0.2", torch.zeros(3, dtype=torch.int64)),
    "logits of another width": ("epoch_sums.0.unread.0.1", torch.zeros(16, 11)),
    "images that were not read": ("epoch_sums.0.images", 0),
    "no weight of the average": ("averaging_state", {}),
    "a weight that the network lacks": ("current_model_state.model.more", torch.zeros(1)),
    "a weight of another shape": ("state_dict.model.head.4.bias", torch.zeros(11)),
}


@pytest.mark.parametrize("stopped", ["averaged"], indirect=True)
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_the_training_is_one_line(lie, stopped, data_root, tmp_path):
    folder, words = stopped
    shutil.copytree(folder, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(last)
    del checkpoint["digest"]
    name, new = LIES[lie]
    write_checkpoint(put(checkpoint, path_of(checkpoint, name), new), last)
    before = last.read_bytes()
    with pytest.raises(InputError, match="damaged") as error:
        run(data_root, tmp_path / "run", *words, f"resume_from={last}")
    assert "\n" not in str(error.value)
    assert last.read_bytes() == before


class Remembers(Callback):
    """A user's own, whose state grows with every batch."""

    def __init__(self):
        self.sizes = [0]

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.sizes.append(len(batch[1]))

    def state_dict(self) -> dict:
        return {"sizes": list(self.sizes), f"seen {len(self.sizes)}": True}

    def load_state_dict(self, state: dict) -> None:
        self.sizes = state["sizes"]


class Lookback(torch.optim.SGD):
    """A user's own, whose state has other entries after its second step."""

    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["steps"] = state.get("steps", 0) + 1
                if state["steps"] == 2:
                    state["second"] = [parameter.detach().clone()]
        return loss


def test_parts_of_a_user_may_have_any_state(data_root, tmp_path):
    words = ["optimizer=sgd", f"optimizer._target_={__name__}.Lookback", "optimizer.fused=false"]
    with pytest.raises(CommandExit):
        stop = Signal("on_train_batch_start", 16, signal.SIGTERM)
        run(data_root, tmp_path, *words, callbacks=(Remembers(), stop))
    remembers, last = Remembers(), tmp_path / "checkpoints" / "last.ckpt"
    run(data_root, tmp_path, *words, f"resume_from={last}", callbacks=(remembers,))
    assert len(remembers.sizes) == 31
    state = read_checkpoint(last)["optimizer_states"][0]["state"]
    assert state[0]["steps"] == 30
    assert "second" in state[0]
