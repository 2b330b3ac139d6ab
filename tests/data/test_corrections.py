"""Corrections: the store, the mixture with the original data, and what a network gains and forgets by them."""

import json
import sqlite3
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from src.data.datamodule import ImageData
from src.data.sources.corrections import Feedback, FullError, read_corrections
from src.data.sources.idx import mnist
from src.data.sources.idx_catalog import KUZUSHIJI_NAMES
from src.data.sources.replay import ALWAYS_LEARNT
from src.errors import InputError
from src.model_files.checkpoint import load_model
from src.pictures.inputs import resolve_ink
from src.pictures.mnist_form import to_mnist_form
from tests.commands import one_line, run


def an_image(seed: int, shape=(1, 28, 28)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def a_store(path, count: int) -> Feedback:
    """Corrections of KMNIST's classes, in turn."""
    store = Feedback(path)
    for place in range(count):
        store.add(an_image(place), b"picture", KUZUSHIJI_NAMES[(place + 1) % 10], KUZUSHIJI_NAMES[place % 10], "digest")
    return store


def mixed(root, data_root, **options) -> ImageData:
    mix = {"name": "kmnist", "root": str(data_root), **options.pop("mix", {})}
    data = ImageData("feedback", root=str(root), mix=mix, download=False, **{"val": 50, **options})
    data.setup()
    return data


class TestStore:
    def test_what_is_added_is_read(self, tmp_path):
        store = Feedback(tmp_path / "new/feedback.sqlite")
        assert store.count() == 0
        assert not store.path.exists(), "nothing is written before there is something to keep"
        image = an_image(0, (3, 20, 30))
        assert store.add(torch.from_numpy(image), b"\x89PNG", "4", "9", "abc") == 1
        assert store.add(an_image(1), b"", None, "ring") == 2
        assert store.count() == 2
        first, second = read_corrections(tmp_path / "new")
        assert (first.correction, first.answer, first.model) == ("9", "4", "abc")
        assert first.image.equal(torch.from_numpy(image))
        assert (second.correction, second.answer) == ("ring", None)
        store.close()
        assert Feedback(store.path).count() == 2
        with sqlite3.connect(store.path) as connection:
            (picture, made_at) = connection.execute("SELECT picture, made_at FROM corrections").fetchone()
        assert picture == b"\x89PNG"
        assert made_at.endswith("+00:00")

    def test_the_last_word_on_a_picture_counts(self, tmp_path):
        store = Feedback(tmp_path / "f.sqlite")
        for seed, correction in ((0, "1"), (1, "2"), (0, "7"), (1, "2")):
            store.add(an_image(seed), b"", "0", correction)
        found = [(c.id, c.correction, c.earlier) for c in read_corrections(store.path)]
        assert found == [(3, "7", ((1, "1"),)), (4, "2", ((2, "2"),))]

    def test_threads_and_processes_share_it(self, tmp_path):
        stores = [Feedback(tmp_path / "f.sqlite") for _ in range(2)]  # as two processes would
        numbers, errors = [], []

        def add(worker):
            try:
                for place in range(25):
                    numbers.append(stores[worker % 2].add(an_image(100 * worker + place), b"x", "0", "1"))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sorted(numbers) == list(range(1, 101))
        assert stores[0].count() == stores[1].count() == 100

    def test_a_full_store_keeps_the_oldest(self, tmp_path):
        store = Feedback(tmp_path / "f.sqlite", rows=3)
        for seed in range(3):
            store.add(an_image(seed), b"", "0", "1")
        with pytest.raises(FullError, match="full"):
            store.add(an_image(3), b"", "0", "1")
        assert store.count() == 3
        small = Feedback(tmp_path / "g.sqlite", megabytes=1)
        with pytest.raises(FullError, match="full"):
            for seed in range(9):
                small.add(an_image(seed), bytes(300_000), "0", "1")
        assert 3 <= small.count() <= 5
        assert small.path.stat().st_size < 2_000_000

    @pytest.mark.parametrize(
        ("image", "correction"),
        [
            (np.zeros((28, 28), np.uint8), "1"),
            (np.zeros((1, 28, 28)), "1"),
            (an_image(0), ""),
            (an_image(0), "x" * 300),
        ],
    )
    def test_it_refuses_what_is_no_correction(self, tmp_path, image, correction):
        with pytest.raises(InputError, match="correction"):
            Feedback(tmp_path / "f.sqlite").add(image, b"", "0", correction)

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be looked at " * 9)
        with sqlite3.connect(tmp_path / "other.sqlite") as connection:
            connection.execute("CREATE TABLE mine (x)")
        with sqlite3.connect(tmp_path / "newer.sqlite") as connection:
            connection.execute("PRAGMA user_version=2")
        before = {path: path.read_bytes() for path in tmp_path.glob("*.sqlite")}
        for path in before:
            with pytest.raises(InputError):
                Feedback(path).add(an_image(0), b"", "0", "1")
            with pytest.raises(InputError):
                read_corrections(path)
        with sqlite3.connect(tmp_path / "other.sqlite") as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


class TestMixture:
    def test_the_original_splits_stay_and_corrections_are_added(self, tmp_path, data_root):
        a_store(tmp_path / "feedback.sqlite", 15)
        plain = ImageData("kmnist", root=str(data_root), download=False, val=50)
        plain.setup()
        data = mixed(tmp_path, data_root, held_out=0.0, replay=None)
        assert data.val_set.indices.equal(plain.val_set.indices), "what a run validated on is never trained on"
        assert data.test_set.images.equal(plain.test_set.images)
        rows = data.train_set.indices
        assert set(plain.train_set.indices.tolist()) == {row for row in rows.tolist() if row < 200}
        assert set(rows.tolist()) - set(range(200)) == set(range(200, 215)), "few corrections all train"
        assert data.train_set.images[200].equal(torch.from_numpy(an_image(0)))
        assert data.train_set.labels[200:].tolist() == [place % 10 for place in range(15)]
        assert data.few_labels
        assert not plain.few_labels

    @pytest.mark.parametrize("count", [1, 5, 15])
    def test_corrections_have_their_share(self, tmp_path, data_root, count):
        a_store(tmp_path / "f.sqlite", count)
        data = mixed(tmp_path / "f.sqlite", data_root, share=0.25, repeats=50, replay=90)
        rows = data.train_set.indices
        added = rows[rows >= 200]
        assert len(rows) - len(added) == 90
        assert added.unique(return_counts=True)[1].unique().tolist() == [min(50, round(30 / count))]
        counts = data.train_set.labels[rows[rows < 200]].bincount(minlength=10)
        assert counts.max() - counts.min() <= 1, "every class is rehearsed"
        seldom = mixed(tmp_path / "f.sqlite", data_root, share=0.9, repeats=2).train_set.indices
        assert (seldom >= 200).sum() == 2 * count

    def test_some_of_many_are_held_out_for_ever(self, tmp_path, data_root):
        store = a_store(tmp_path / "f.sqlite", 80)
        assert mixed(store.path, data_root, held_out=0.0).target_data() is None
        first = mixed(store.path, data_root, held_out=0.3)
        goal = first.target_data()
        apart = {image.numpy().tobytes() for image in goal.test_set.images}
        learnt = {image.numpy().tobytes() for image in first.train_set.images[200:]}
        assert not apart & learnt
        assert len(apart) + len(learnt) == 80
        assert 8 <= len(apart) <= 30
        assert not apart & {an_image(place).tobytes() for place in range(ALWAYS_LEARNT)}
        for place in range(80, 160):
            store.add(an_image(place), b"", "o", "ki")
        later = {
            image.numpy().tobytes()
            for image in mixed(store.path, data_root, held_out=0.3).target_data().test_set.images
        }
        assert apart < later
        assert first.contents != goal.contents

    def test_many_validate_in_proportion(self, tmp_path, data_root):
        a_store(tmp_path / "f.sqlite", 100)
        data = mixed(tmp_path / "f.sqlite", data_root, held_out=0.0)  # a quarter of the original images validate
        added = data.val_set.indices[data.val_set.indices >= 200]
        assert data.val_set.labels[added].bincount().tolist() == [2] * 10
        assert not set(data.val_set.indices.tolist()) & set(data.train_set.indices.tolist())

    def test_classes_need_not_be_digits(self, tmp_path, picture_folder):
        store = Feedback(tmp_path / "f.sqlite")
        store.add(an_image(0), b"", "cross", "ring")
        data = ImageData("feedback", root=str(store.path), mix={"name": "folder", "root": str(picture_folder)}, val=0.2)
        data.setup()
        assert data.info.class_names == ("cross", "ring")
        assert data.train_set.labels[-1] == 1

    def test_its_networks_read_pictures_as_those_of_the_mix(self, tmp_path, data_root):
        a_store(tmp_path / "f.sqlite", 1)
        info = mixed(tmp_path / "f.sqlite", data_root).info
        for name, ink, expected in (("mnist", "none", True), ("folder", "none", False), ("folder", "mnist", True)):
            trained = {"name": "feedback", "ink": "none", "mix": {"name": name, "ink": ink}}
            assert resolve_ink("auto", info.shape, trained) is expected
            assert resolve_ink("auto", info.shape, trained["mix"]) is expected
            assert resolve_ink("none", info.shape, trained) is False

    def test_merged_classes_are_those_of_the_mix(self, tmp_path, data_root):
        store = Feedback(tmp_path / "f.sqlite")
        store.add(an_image(0), b"", "even", "odd")
        merged = {"even": ["o", "su", "na", "ma", "re"], "odd": ["ki", "tsu", "ha", "ya", "wo"]}
        data = mixed(store.path, data_root, mix={"classes": merged})
        assert data.info.class_names == ("even", "odd")
        assert data.train_set.labels[-1] == 1

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"mix": {"name": "feedback"}}, "data.mix"),
            ({"mix": {"colour": 1}}, "data.mix"),
            ({"mix": {"name": "nothing"}}, "nothing is no data set"),
            ({"classes": ["o", "ki"]}, "data.mix.classes"),
            ({"ink": "mnist"}, "data.mix.ink"),
            ({"share": 1.0}, "data.share=1.0"),
            ({"repeats": 0}, "data.repeats=0"),
            ({"replay": -1}, "data.replay=-1"),
            ({"held_out": 1}, "data.held_out=1"),
            ({"root": None}, "data.root"),
        ],
    )
    def test_bad_input_is_one_line(self, tmp_path, data_root, options, expected):
        a_store(tmp_path / "f.sqlite", 1)
        options = {"root": tmp_path / "f.sqlite", **options}
        if options["root"] is None:
            with pytest.raises(InputError, match=expected):
                ImageData("feedback", root=None, mix={"name": "kmnist", "root": str(data_root)})
            return
        with pytest.raises(InputError, match=expected) as caught:
            mixed(data_root=data_root, **options)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("image", "correction", "expected"),
        [(an_image(0), "eleven", "no class of data.mix"), (an_image(0, (1, 20, 20)), "o", "1x20x20.*1x28x28")],
    )
    def test_corrections_of_something_else_are_refused(self, tmp_path, data_root, image, correction, expected):
        Feedback(tmp_path / "f.sqlite").add(image, b"", "o", correction)
        with pytest.raises(InputError, match=expected):
            mixed(tmp_path / "f.sqlite", data_root)

    @pytest.mark.parametrize("held_out", [0.0, 0.5])
    def test_copies_are_counted_once(self, tmp_path, data_root, caplog, held_out):
        store = Feedback(tmp_path / "f.sqlite")
        for place in range(62):
            store.add(an_image(max(0, place - 59)), b"", "o", "ki" if place != 40 else "zebra")
        with caplog.at_level("INFO", "src"):
            data = mixed(store.path, data_root, held_out=held_out)
        assert "62 corrections of 3 pictures, the last word on each counts; held out: 0" in caplog.text
        assert "row 41 says 'zebra': no class of data.mix (o, ki, " in caplog.text
        assert "later rows on the same pictures count" in caplog.text
        assert len(data.train_set.images) == 203
        assert data.target_data() is None

    def test_held_out_are_counted(self, tmp_path, data_root, caplog):
        a_store(tmp_path / "f.sqlite", 60)
        with caplog.at_level("INFO", "src"):
            apart = len(mixed(tmp_path / "f.sqlite", data_root, held_out=0.5).target_data().test_set)
        assert apart > 0
        assert caplog.messages == [f"60 corrections of 60 pictures; held out: {apart}"]

    def test_a_name_of_no_class_is_said_before_the_original_data_are_read(self, tmp_path):
        store = a_store(tmp_path / "f.sqlite", 30)
        for correction in ("o", "zebra"):
            store.add(an_image(7), b"", "o", correction)
        with pytest.raises(InputError, match=r"row 32 of corrections says 'zebra', no class of data\.mix \(o, ki, "):
            mixed(store.path, tmp_path / "nothing")

    def test_the_original_data_are_looked_for_where_data_mix_says(self, tmp_path, data_root):
        a_store(tmp_path / "f.sqlite", 1)
        with pytest.raises(InputError, match=r"give data\.mix\.root=<folder") as caught:
            mixed(tmp_path / "f.sqlite", tmp_path / "nothing")
        assert "data.root" not in str(caught.value)
        assert "data.download=true" in str(caught.value)
        with pytest.raises(InputError, match=r"^data\.mix\.name=nope is no data set"):
            mixed(tmp_path / "f.sqlite", data_root, mix={"name": "nope"})
        with pytest.raises(InputError, match=r"^data\.mix\.options\.variant=nope"):
            mixed(tmp_path / "f.sqlite", data_root, mix={"name": "emnist", "options": {"variant": "nope"}})

    def test_none_is_one_clear_line(self, tmp_path, data_root):
        with pytest.raises(InputError, match=r"there is no such file.*data\.mix\.root") as caught:
            mixed(tmp_path / "zero.sqlite", data_root)
        assert str(caught.value).count("zero.sqlite") == 1
        with pytest.raises(InputError, match=r"there is no feedback\.sqlite.*data\.mix\.root"):
            mixed(tmp_path, data_root)
        (tmp_path / "zero.sqlite").touch()
        with pytest.raises(InputError, match="is no store of corrections: it is empty") as caught:
            mixed(tmp_path / "zero.sqlite", data_root)
        assert str(caught.value).count("zero.sqlite") == 1
        store = a_store(tmp_path / "feedback.sqlite", 1)
        with sqlite3.connect(store.path) as connection:
            connection.execute("DELETE FROM corrections")
        with pytest.raises(InputError, match="no corrections yet"):
            mixed(tmp_path, data_root)


def european(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ones with a long upstroke, which MNIST does not have and which look like its sevens, and sevens with a bar."""
    rng, images, labels = np.random.default_rng(seed), [], []
    strokes = {1: [[(40, 62), (84, 16), (80, 122)]], 7: [[(34, 22), (104, 20), (64, 122)], [(44, 72), (108, 70)]]}
    for place in range(count):
        label = (1, 7)[place % 2]
        image, width = Image.new("L", (140, 140)), int(rng.integers(9, 15))
        for stroke in strokes[label]:
            points = [tuple(point) for point in np.array(stroke) + rng.normal(0, 4, (len(stroke), 2))]
            ImageDraw.Draw(image).line(points, 255, width, "curve")
        images.append(torch.from_numpy(np.asarray(image).copy())[None])
        labels.append(label)
    return to_mnist_form(torch.stack(images)), torch.tensor(labels)


def right(net, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((net(images).argmax(1) == labels).float().mean())


@pytest.mark.slow
def test_corrections_are_learnt_and_nothing_is_forgotten(mnist_root, tmp_path):
    where = [f"data.root={mnist_root}", "data.download=false", "threads=1", "logger=csv", "figures=false"]
    done = run("src.train", "experiment=fast", *where, f"hydra.run.dir={tmp_path}/start", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    start = load_model(tmp_path / "start/checkpoints/best.ckpt")
    images, labels = european(100, 0)
    others = european(400, 1)
    before = right(start, *others)
    with torch.inference_mode():
        answers = start(images).argmax(1)
    store = Feedback(tmp_path / "feedback.sqlite")
    for image, answer, label in zip(images, answers.tolist(), labels.tolist(), strict=True):
        store.add(image, b"", str(answer), str(label), start.digest)  # a confirmation where the answer was right
    store.close()
    words = [f"init_from={tmp_path}/start", "data=feedback", f"data.root={tmp_path}", f"data.mix.root={mnist_root}"]
    done = run("src.train", *words, *where[1:], f"hydra.run.dir={tmp_path}/run", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    tuned = load_model(tmp_path / "run/checkpoints/best.ckpt")
    after = right(tuned, *others)
    results = json.loads((tmp_path / "run/results.json").read_text())
    gained = results["transfer"]
    assert before < 0.9
    assert after > 0.97
    assert gained["before"] < gained["after"]
    assert 5 <= gained["target_images"] <= 30
    assert results["test"]["images"] == 10_000
    assert gained["source_after"] > gained["source_before"] - 0.002
    assert "the last: callbacks.checkpoints.choose=last" in done.stdout
    test = mnist(str(mnist_root), download=False).test()
    assert right(tuned, *test) == pytest.approx(results["test"]["acc"], abs=1e-4)


@pytest.mark.slow
def test_one_correction_is_enough_and_none_is_said(tmp_path):
    words = ["threads=1", "logger=csv", "figures=false", "trainer.accelerator=cpu"]
    done = run("src.train", "data=digits", "trainer.max_epochs=3", *words, f"hydra.run.dir={tmp_path}/start")
    assert done.returncode == 0, done.stderr
    feedback = [f"init_from={tmp_path}/start", "data=feedback", f"data.root={tmp_path}/f.sqlite", "data.val=0.15"]
    feedback += ["data.mix.name=digits", "data.mix.ink=mnist", "trainer.max_epochs=6", *words]
    assert "f.sqlite: there is no such file" in one_line(run("src.train", *feedback, f"hydra.run.dir={tmp_path}/none"))
    start = load_model(tmp_path / "start/checkpoints/best.ckpt")
    images, labels = european(40, 2)
    with torch.inference_mode():
        answers = start(images).argmax(1)
    (wrong, *_) = (answers != labels).nonzero().flatten().tolist()
    Feedback(tmp_path / "f.sqlite").add(images[wrong], b"", str(int(answers[wrong])), str(int(labels[wrong])))
    done = run("src.train", *feedback, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "1 correction of 1 picture; held out: 0" in done.stdout
    assert "what was gained is not measured" in done.stdout
    gained = json.loads((tmp_path / "run/results.json").read_text())["transfer"]
    assert (gained["before"], gained["after"], gained["target_images"]) == (None, None, 0)
    assert right(load_model(tmp_path / "run/checkpoints/best.ckpt"), images[[wrong]], labels[[wrong]]) == 1
    assert gained["source_after"] > gained["source_before"] - 0.02
