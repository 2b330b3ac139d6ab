"""Training on one task after another: exact, resumable, with every method."""

import json
import signal
from functools import cache

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from src.cli.config import CONF
from src.cli.error_line import CommandExit
from src.data.task_data import TaskData
from src.errors import InputError
from src.evaluation.evaluate import predict
from src.model_files.checkpoint import load_model, read_checkpoint
from src.training.build import build
from src.training.results import write_results
from tests.training.sessions import Signal, _leaves, assert_equal, make_session, run, small_config, state, weights

TASKS = ["scenario=split", "scenario.tasks=3", "task.mixup=0", "task.cutmix=0", "optimizer.lr=0.01"]
SHORT = {
    "replay": ["continual.buffer=30"],
    "der": ["continual.buffer=30"],
    "derpp": ["continual.buffer=30", "continual.balanced=true"],
    "rehearsal": ["continual.old=40", "continual.share=0.6"],
    "er_ace": ["continual.buffer=30", "continual.replayed=5"],
    "adjusted_replay": ["continual.buffer=30", "continual.replayed=7", "optimizer.lr=0.003"],
    "nearest_mean": ["continual.buffer=30"],
    "ewc": ["continual.images=10"],
}
METHODS = sorted(path.stem for path in (CONF / "continual").glob("*.yaml"))


def words_of(method: str, *words: str) -> list[str]:
    return [*TASKS, f"continual={method}", *SHORT.get(method, []), *words]


def whole_state(path):
    """Of a checkpoint: the training's state, and the method's."""
    return {**state(path), **dict(_leaves(read_checkpoint(path)["continual"], "continual"))}


@pytest.fixture(scope="session")
def uninterrupted(data_root, tmp_path_factory):
    """Method -> the folder of a run that is left alone."""

    @cache
    def folder_of(method: str):
        folder = tmp_path_factory.mktemp(method)
        run(data_root, folder, *words_of(method, "scenario.epochs=2"))
        return folder

    return folder_of


@pytest.mark.parametrize("method", METHODS)
def test_every_method_repeats_and_resumes_bit_by_bit(method, data_root, tmp_path, uninterrupted):
    """Stopped twice: within the first epoch of the second task, and between its epochs."""
    words, expected = words_of(method, "scenario.epochs=2"), uninterrupted(method)
    last = tmp_path / "checkpoints/last.ckpt"
    steps = 10 if method in ("joint", "rehearsal") else 8
    with pytest.raises(CommandExit):
        run(data_root, tmp_path, *words, callbacks=(Signal("on_train_batch_end", steps),))
    assert read_checkpoint(last)["continual"]["task"] == 1
    with pytest.raises(CommandExit):
        resumed = f"resume_from={last}"
        run(data_root, tmp_path, *words, resumed, callbacks=(Signal("on_train_epoch_end", 1, signal.SIGTERM),))
    run(data_root, tmp_path, *words, resumed)
    assert_equal(whole_state(last), whole_state(expected / "checkpoints/last.ckpt"))
    for task in range(4):
        ours, theirs = (folder / f"checkpoints/task_{task}.ckpt" for folder in (tmp_path, expected))
        assert_equal(weights(ours), weights(theirs))


def test_each_task_trains_on_its_own_images_for_its_own_epochs(data_root, tmp_path):
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            seen.append((trainer.current_epoch, batch[1]))

    session = run(data_root, tmp_path, *words_of("none", "scenario.epochs=2"), callbacks=(Watch(),))
    data = session.data
    assert isinstance(data, TaskData) and session.trainer.max_epochs == 6
    for epoch in range(6):
        labels = torch.cat([labels for number, labels in seen if number == epoch])
        classes = data.source.task_classes[epoch // 2]
        assert set(labels.tolist()) == set(classes)
        whole = data.train_set.labels[data.train_set.indices]
        assert len(labels) == sum(int((whole == label).sum()) for label in classes)


def test_the_network_before_a_task_is_the_one_after_the_last(data_root, tmp_path):
    started = {}

    class Watch(Callback):
        def on_train_batch_start(self, trainer, task, batch, batch_idx):
            if batch_idx == 0:
                started[trainer.current_epoch] = {k: v.clone() for k, v in task.state_dict().items()}

    session = run(data_root, tmp_path, *words_of("er_ace"), callbacks=(Watch(),))
    for task in range(3):
        assert_equal(started[task], weights(session.checkpoints.folder / f"task_{task}.ckpt"))


def test_averaged_weights_are_those_of_the_tasks(data_root, tmp_path):
    session = run(data_root, tmp_path, *words_of("er_ace"), ema=True)
    last, best = (weights(session.checkpoints.folder / f"{name}.ckpt") for name in ("task_3", "best"))
    assert_equal(last, best)
    assert any(not torch.equal(last[key], last[f"raw.{key}"]) for key in last if f"raw.{key}" in last)


def test_nearest_mean_goes_on_from_the_head_that_was_trained(data_root, tmp_path):
    """Apart from the head that it classifies by, it is er_ace with its buffer."""
    balanced = ["continual.balanced=true", "continual.buffer=30"]
    nearest = run(data_root, tmp_path / "nearest", *words_of("nearest_mean", *balanced))
    trained = run(data_root, tmp_path / "trained", *words_of("er_ace", *balanced, "continual.replayed=null"))
    ours, theirs = (weights(session.checkpoints.last) for session in (nearest, trained))
    differing = {key for key, value in ours.items() if not torch.equal(value, theirs[key])}
    assert differing and all("head" in key or key.startswith("model.classifier") for key in differing), differing


def test_a_buffer_as_large_as_all_tasks_holds_what_joint_trains_on(data_root, tmp_path):
    replay = run(data_root, tmp_path / "replay", *words_of("replay", "continual.buffer=1000"))
    joint = make_session(data_root, tmp_path / "joint", *words_of("joint"))
    joint.task.continual.bind(joint.data, joint.initial.model, joint.task.loss, torch.device("cpu"))
    images, labels = joint.data.train_set[joint.data.positions(2)]
    buffer = replay.task.continual.buffer
    assert buffer.filled == len(labels) == len(joint.data.train_set)

    def sorted_rows(images, labels):
        rows = torch.cat([images.flatten(1).long(), labels.unsqueeze(1)], 1)
        return sorted(map(tuple, rows.tolist()))

    held = sorted_rows(buffer.images[: buffer.filled], buffer.labels[: buffer.filled])
    assert held == sorted_rows(images, labels)


def test_without_its_weights_dark_experience_trains_as_none(data_root, tmp_path, uninterrupted):
    words = words_of("derpp", "scenario.epochs=2", "continual.alpha=0", "continual.beta=0")
    plain = weights(uninterrupted("none") / "checkpoints/last.ckpt")
    assert_equal(weights(run(data_root, tmp_path, *words).checkpoints.last), plain)


def test_without_its_weights_adjusted_replay_is_replay(data_root, tmp_path):
    shared = ["continual.buffer=30", "continual.balanced=true"]
    words = words_of("adjusted_replay", "continual.alpha=0", "continual.tau=0", "continual.replayed=null", *shared)
    words += ["optimizer.lr=0.01"]  # as of all others
    ours = weights(run(data_root, tmp_path / "ours", *words).checkpoints.last)
    assert_equal(ours, weights(run(data_root, tmp_path / "replay", *words_of("replay", *shared)).checkpoints.last))


def test_results_have_the_matrix_of_the_saved_networks(data_root, tmp_path):
    session = run(data_root, tmp_path, *words_of("er_ace"))
    result = write_results(session)["continual"]
    assert result == json.loads((tmp_path / "results.json").read_text())["continual"]
    matrix = torch.tensor(result["test"]["matrix"])
    assert matrix.shape == (4, 3) and len(result["tasks"]) == 3
    test = session.data.test_set
    for done in range(4):
        logits, labels = predict(load_model(tmp_path / f"checkpoints/task_{done}.ckpt"), session.data.loader(test))
        right = logits.argmax(1) == labels
        for task in range(3):
            assert float(right[test.task_of_each == task].float().mean()) == pytest.approx(float(matrix[done, task]))
    last = {name: matrix[3, task] for task, name in enumerate(result["tasks"])}
    assert result["test"]["average"] == pytest.approx(float(sum(last.values()) / 3))
    lines = (tmp_path / "tasks_test.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[0].count(",") == 3
    assert (tmp_path / "figures/tasks.png").is_file()


def test_told_the_task_a_network_chooses_among_its_classes(data_root, tmp_path):
    session = run(data_root, tmp_path, *words_of("replay", "scenario.reading=task"))
    result = write_results(session)["continual"]
    assert result["reading"] == "task"
    class_wise = run(data_root, tmp_path / "class", *words_of("replay"))
    assert result["test"]["average"] > write_results(class_wise)["continual"]["test"]["average"]
    assert result["test"]["matrix"][0][0] > 0.1  # three or four classes by chance


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scenario.tasks=11"], r"scenario.tasks=11 of 10 classes: give 2 to 10"),
        (["scenario.tasks=1"], "scenario.tasks=1"),
        (["scenario.order=up"], "seed, classes, or a list"),
        (["scenario.order=[o,ki,su]"], r"scenario.order lacks tsu, na"),
        (["scenario.order=[[o,ki,su,tsu,na],[ha,ma,ya,re,wo,o]]", "scenario.tasks=null"], "o is listed twice"),
        (["scenario.order=[[o,ki,su,tsu,na],[ha,ma,ya,re,seven]]", "scenario.tasks=null"], "seven is no class"),
        (["scenario.reading=both"], "scenario.reading=both"),
        (["scenario=rotated", "scenario.reading=task"], "each task has all classes"),
        (["continual.buffer=0"], "continual.buffer=0"),
        (["continual.alpha=-1"], "continual.alpha=-1"),
        (["task.mixup=0.2"], "mixup"),
        (["loss=focal", "scenario.reading=task", "loss.label_smoothing=0.1"], "label_smoothing"),
        (["finetune=ridge", "init_from=SOURCE"], "cannot go from task to task"),
        (["data.target=angle", "loss=mse", "augment=none"], "a scenario is of classes"),
        (["trainer.devices=2"], "one device"),
        (["trainer.overfit_batches=2"], "overfit_batches"),
    ],
)
def test_options_of_no_use_are_refused(words, message, data_root, tmp_path, uninterrupted):
    source = uninterrupted("none") / "checkpoints/best.ckpt"
    words = [word.replace("SOURCE", str(source)) for word in words]
    with pytest.raises(InputError, match=message):
        make_session(data_root, tmp_path, *words_of("derpp"), *words)


RENEWED = ["scenario.order=classes", "scenario.tasks=2", "scenario.learned=1"]


@pytest.fixture(scope="session")
def first_half(data_root, tmp_path_factory):
    """A network that has learned the first five classes, with a buffer."""
    folder = tmp_path_factory.mktemp("half")
    run(data_root, folder, *words_of("replay", "data.classes=[o,ki,su,tsu,na]", "scenario.tasks=2"))
    return folder / "checkpoints/best.ckpt"


def grown(data_root, folder, source, method, *words):
    """Its training on the other five; the options of the network are its own."""
    return run(data_root, folder, *words_of(method, *RENEWED, f"init_from={source}", "model=lenet", *words))


@pytest.mark.parametrize("method", sorted({*METHODS} - {"si"}))
def test_training_goes_on_from_a_network_that_has_learned_some_tasks(method, data_root, tmp_path, first_half):
    session = grown(data_root, tmp_path, first_half, method)
    data, learner = session.data, session.task
    old, new = (set(classes) for classes in data.source.task_classes)
    trained = set(data.train_set[data.positions(1)][1].tolist())
    assert trained == (old | new if method in ("joint", "rehearsal") else new)
    files = sorted(path.name for path in session.checkpoints.folder.glob("task_*.ckpt"))
    assert files == ["task_1.ckpt", "task_2.ckpt"]
    result = write_results(session)["continual"]
    assert result["learned_before"] == 1 and result["val"]["matrix"][0] == [None, None]
    begun, ended = result["val"]["matrix"][1:]
    assert result["val"]["forgetting"] == pytest.approx(begun[0] - ended[0])
    start, source = load_model(tmp_path / "checkpoints/task_1.ckpt"), load_model(first_half)
    test = session.data.val_set
    images = test[(test.task_of_each == 0).nonzero().flatten()][0]
    assert torch.allclose(start(images)[:, :5], source(images), atol=1e-5), "the head knows what it knew"
    if hasattr(learner.continual, "buffer"):
        assert learner.continual.buffer.filled == 30


def test_a_buffer_is_filled_with_images_of_the_tasks_that_were_learned(data_root, tmp_path, first_half):
    words = words_of("derpp", *RENEWED, f"init_from={first_half}", "model=lenet", "continual.buffer=20")
    session = make_session(data_root, tmp_path, *words)
    learner, data = session.task, session.data
    learner.continual.bind(data, learner.model, learner.loss, torch.device("cpu"))
    learner.continual.recall(learner.model, 1)
    buffer = learner.continual.buffer
    assert buffer.labels.bincount().tolist() == [4] * 5, "equally many of each class: continual.balanced"
    assert buffer.seen == int((data.train_set.task_of_each == 0).sum()) == sum(buffer.class_seen.values())
    logits = learner.model.eval()(data.normalize(buffer.images))
    assert torch.allclose(buffer.logits, logits, atol=1e-4)


def test_a_buffer_goes_on_from_the_network_that_training_starts_from(data_root, tmp_path, first_half, caplog):
    words = words_of("replay", "scenario.tasks=2", "scenario.order=[[na,o],[ha,ma]]", "data.classes=[na,o,ha,ma]")
    words += [f"init_from={first_half}", "model=lenet", "continual.buffer=40"]
    with caplog.at_level("INFO", "src"):
        session = make_session(data_root, tmp_path, *words)
    held = read_checkpoint(first_half)["continual"]["buffer"]
    kept = [label for label in held["labels"].tolist() if label in (0, 4)]
    assert f"{len(kept)} of its images go on in this one, {30 - len(kept)} of other classes are left out" in caplog.text
    learner, data = session.task, session.data
    learner.continual.bind(data, learner.model, learner.loss, torch.device("cpu"))
    learner.continual.recall(learner.model, 0)
    buffer, names = learner.continual.buffer, data.info.class_names
    assert [names[label] for label in sorted(buffer.labels[: buffer.filled].tolist())] == sorted(
        ("na", "o")[label == 0] for label in kept
    )
    old = {image.numpy().tobytes() for image in held["images"]}
    assert all(image.numpy().tobytes() in old for image in buffer.images[: buffer.filled])
    assert buffer.seen > buffer.filled, "each stands for several of the stream"
    buffer.add(torch.zeros(30, 1, 28, 28, dtype=torch.uint8), torch.full((30,), 2), torch.zeros(30, 4))
    assert buffer.filled == min(40, len(kept) + 30)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "scenario.learned=1: give init_from"),
        (["scenario.learned=2"], "scenario.learned=2 of 2 tasks leaves none"),
        (["scenario.epochs=null", "scenario.learned=0"], "scenario.epochs=null goes with one task"),
    ],
)
def test_what_cannot_go_on_is_refused(words, message, data_root, tmp_path, first_half):
    words = [word.replace("HALF", str(first_half)) for word in words]
    with pytest.raises(InputError, match=message):
        run(data_root, tmp_path, *words_of("derpp", *RENEWED, "model=lenet", *words))


def test_a_reset_head_cannot_know_what_was_learned(data_root, tmp_path, first_half):
    with pytest.raises(InputError, match=r"head=reset forgets the classes of scenario.learned=1"):
        grown(data_root, tmp_path, first_half, "replay", "head=reset")


def test_the_last_row_of_an_only_task_is_the_network_after_it(data_root, tmp_path, first_half):
    session = grown(data_root, tmp_path, first_half, "none", "scenario.epochs=2")
    matrix = write_results(session)["continual"]["val"]["matrix"]
    val = session.data.val_set
    logits, labels = predict(load_model(tmp_path / "checkpoints/task_2.ckpt"), session.data.loader(val))
    right = (logits.argmax(1) == labels)[val.task_of_each == 0]
    assert matrix[2][0] == pytest.approx(float(right.float().mean()))


def test_what_needs_its_own_past_or_data_is_refused(data_root, tmp_path, first_half):
    with pytest.raises(InputError, match="give continual=ewc"):
        grown(data_root, tmp_path, first_half, "si")
    with pytest.raises(InputError, match="give data=feedback, not data=kmnist"):
        make_session(data_root, tmp_path, "scenario=renewal", f"init_from={first_half}")


def test_a_method_without_tasks_is_refused(data_root, tmp_path):
    cfg = small_config(data_root, tmp_path, "continual=er_ace")
    with pytest.raises(InputError, match="continual learning needs tasks: give scenario=split"):
        build(cfg, overrides=["continual=er_ace"])
