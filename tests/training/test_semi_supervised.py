"""Training beside labelled images on those whose labels were not drawn."""

import json

import pytest
import torch
from PIL import Image

from src.cli.error_line import CommandExit
from src.data.unlabelled import unlabelled_images
from src.errors import InputError
from src.training.fit import train
from src.training.semi_supervised import SemiSupervised
from tests.training.sessions import Signal, assert_equal, make_session, run, small_config, state

WORDS = ["data.shots=4", "data.unlabelled=true", "data.min_steps=8", "unlabelled.batch_size=24", "unlabelled.sure=0.3"]
FINETUNE = ["finetune=adaptive", "model.dropout=0", "task.mixup=0", "task.cutmix=0"]


def test_every_training_image_is_labelled_unlabelled_or_for_validation(data_root, tmp_path):
    data = make_session(data_root, tmp_path, *WORDS).data
    parts = [data.train_set.indices, unlabelled_images(data).indices, data.val_set.indices]
    assert torch.cat(parts).sort().values.equal(torch.arange(len(data.train_set.labels)))
    assert len(data.train_set) == 40
    assert unlabelled_images(data)[torch.arange(5)][1].tolist() == [-1] * 5


def test_pictures_of_another_folder_train_without_labels(data_root, picture_folder, tmp_path, caplog):
    """They are read as the data are: in the folder's own form, or in MNIST's; what cannot be read is told."""
    caplog.set_level("INFO")
    root = tmp_path / "loose"
    (root / "deep").mkdir(parents=True)
    labelled = sorted(picture_folder.glob("*/*"))[:6]
    for row, path in enumerate(labelled):
        with Image.open(path) as picture:
            picture.convert("RGB").rotate(180).save(root / ("deep" if row % 2 else ".") / f"{row}.png")
        (root / f"same{row}{path.suffix}").write_bytes(path.read_bytes())
    (root / "broken.png").write_text("no picture")
    words = ["data=folder", f"data.root={picture_folder}", "data.val=0.3", f"data.unlabelled={root}"]
    session = make_session(data_root, tmp_path / "run", *words)
    images, train = session.task.images, session.data.train_set
    assert len(images) == 6
    assert images[torch.arange(6)][1].tolist() == [-1] * 6
    assert images.images.shape[1:] == train.images.shape[1:]
    assert not torch.isin(images.picture_digests, train.digests).any()
    assert torch.isin(images.picture_digests, session.task.seen["train"]).all()
    left_out = "left out: 6 that train with a label, validate or test, 1 that cannot be read"
    assert f"6 pictures train without labels; {left_out}" in caplog.text
    assert session.data.skipped[0][0] == f"{root}/broken.png"
    train_one = run(data_root, tmp_path / "one", *words, "trainer.max_epochs=1", "unlabelled.sure=0.1", "model=cnn")
    assert train_one.task.latest["train/sure"] > 0
    of_digits = make_session(data_root, tmp_path / "digits", f"data.unlabelled={root}", "data.quarter_turns=1")
    assert of_digits.task.images.images.shape[1:] == (1, 28, 28)


def test_labels_that_were_not_drawn_change_nothing(data_root, tmp_path):
    ends = []
    for name in ("true", "wrong"):
        session = make_session(data_root, tmp_path / name, *WORDS, "trainer.max_epochs=2")
        if name == "wrong":
            rows = unlabelled_images(session.data).indices
            session.data.train_set.labels[rows] = (session.data.train_set.labels[rows] + 3) % 10
        session.task.images = unlabelled_images(session.data)
        session.trainer.fit(session.task, session.data)
        ends.append(session.task.model.state_dict())
    assert_equal(*ends)


def test_sure_predictions_train(data_root, tmp_path):
    """With a threshold above 1's reach nothing is sure, and the labels alone decide."""
    sure, unsure, without = (
        run(data_root, tmp_path / name, *words, "model.dropout=0", "model.batch_norm=false", "trainer.max_epochs=2")
        for name, words in {
            "sure": WORDS, "unsure": [*WORDS, "unlabelled.sure=1"], "without": [*WORDS, "data.unlabelled=false"],
        }.items()
    )  # fmt: skip
    assert isinstance(sure.task, SemiSupervised)
    assert not isinstance(without.task, SemiSupervised)
    assert_equal(unsure.task.model.state_dict(), without.task.model.state_dict())
    assert 0 == unsure.task.latest["train/sure"] < sure.task.latest["train/sure"] <= 1
    assert any(
        not a.equal(b) for a, b in zip(sure.task.model.parameters(), without.task.model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("hook", "call"), [("on_train_batch_end", 19), ("on_after_backward", 13), ("on_train_epoch_end", 1)]
)
@pytest.mark.parametrize("method", [[], FINETUNE], ids=["scratch", "adaptive"])
def test_a_run_that_is_stopped_and_resumed_ends_bit_equal(whole, data_root, tmp_path, hook, call, method):
    words = [*WORDS, *method, *([f"init_from={whole}/checkpoints/best.ckpt"] if method else [])]
    run(data_root, tmp_path / "a", *words)
    with pytest.raises(CommandExit):
        run(data_root, tmp_path / "b", *words, callbacks=(Signal(hook, call),))
    last = tmp_path / "b/checkpoints/last.ckpt"
    run(data_root, tmp_path / "b", *words, f"resume_from={last}")
    assert_equal(state(last), state(tmp_path / "a/checkpoints/last.ckpt"))
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines()[0] for name in ("a", "b")]
    assert rows[0] == rows[1]
    assert "train/sure" in rows[0]


def test_the_results_tell_how_many_images_and_how_sure(data_root, tmp_path):
    train(small_config(data_root, tmp_path, *WORDS, "figures=false", "run_name=x"))
    told = json.loads((tmp_path / "results.json").read_text())["unlabelled"]
    assert told["images"] > 100
    assert 0 < told["sure"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.shots=null"], r"data\.unlabelled=true: every training image trains with its label: .*data\.shots"),
        (["data.unlabelled=3"], r"data\.unlabelled=3 is no folder: give true, false or a folder of pictures"),
        (["data.unlabelled=null"], r"data\.unlabelled=.*: true, false or a folder of pictures"),
        (["data.unlabelled=conf"], r"data\.unlabelled=conf: the folder holds no pictures"),
        (["unlabelled.sure=2", "data.unlabelled=false"], r"unlabelled\.sure=2"),
        (["unlabelled.sure=2"], r"unlabelled\.sure=2"),
        (["unlabelled.batch_size=0"], r"unlabelled\.batch_size=0"),
        (["unlabelled.weight=0"], r"unlabelled\.weight=0"),
        (
            ["data.target=angle", "loss=mse", "augment=none", "task.mixup=0", "task.cutmix=0"],
            r"data\.unlabelled: .*leave it out",
        ),
        (["scenario=split", "task.mixup=0", "task.cutmix=0"], r"data\.unlabelled: data that arrive in tasks"),
    ],
)  # fmt: skip
def test_what_cannot_train_without_labels_is_refused(words, message, data_root, tmp_path):
    with pytest.raises(InputError, match=message):
        make_session(data_root, tmp_path, *WORDS, *words)


def test_a_head_that_is_solved_for_is_refused(whole, data_root, tmp_path):
    words = [f"init_from={whole}/checkpoints/best.ckpt", "finetune=ridge", "task.mixup=0", "task.cutmix=0"]
    with pytest.raises(InputError, match=r"a head that is solved for takes no steps; give another finetune="):
        make_session(data_root, tmp_path, *WORDS, *words)
