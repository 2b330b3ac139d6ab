"""A folder of someone's own colour pictures, from the command line: what is read, how, and what is said of it."""

import csv
import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.commands import one_line, run
from tests.photo_files import CLASSES, draw_photo, write_photos

pytestmark = pytest.mark.slow
SHORT = ("trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=none", "figures=false")


def train(root, folder, *words):
    return run("src.train", "data=folder", f"data.root='{root}'", *SHORT, f"hydra.run.dir='{folder}'", *words)


def evaluate(*words):
    return run("src.evaluate", "figures=false", "device=cpu", *words)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty pictures of each of three classes, with what file systems and notebooks leave beside them."""
    root = write_photos(tmp_path_factory.mktemp("photos") / "photos", 40)
    for hidden in ("dogs/.ipynb_checkpoints/000.png", "__MACOSX/dogs/000.png", "cats/._000.png"):
        (root / hidden).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "dogs" / "000.png", root / hidden)
    (root / "cats" / "live.heic").write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def network(photos, tmp_path_factory):
    """A run on `photos`, and what it printed."""
    folder = tmp_path_factory.mktemp("own") / "run"
    done = train(photos, folder, "model=convnet", "trainer.max_epochs=6")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_first_lines_of_a_training(network):
    lines = network[1].splitlines()
    assert lines[0].endswith("photos: 120 pictures of 3 classes; 3x64x64 made from 50x64 (the median) in colour")
    assert (
        lines[1]
        == "there is no test split: a fifth of the pictures, the same until one is added or removed, is the test"
    )
    assert lines[2] == "left out: 3 hidden, 1 .heic"
    assert lines[3].split() == ["train", "val", "test"]
    counts = {line[:14].strip(): [int(n) for n in line[14:].split()] for line in lines[4:7]}
    assert set(counts) == set(CLASSES)
    assert all(sum(row) == 40 for row in counts.values())


def test_a_new_folder_is_measured_whole(network, tmp_path):
    folder, _ = network
    new = write_photos(tmp_path / "new", 10, seed=7)
    done = evaluate(f"ckpt='{folder}'", f"data.root='{new}'", f"hydra.run.dir='{tmp_path / 'e'}'")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    assert (results["images"], results["split"]) == (30, "all")
    assert f"on all 30 images of {new}" in done.stdout
    predicted = run("src.predict", f"ckpt='{folder}'", f"images='{new}'", "format=csv", "device=cpu")
    rows = list(csv.DictReader(io.StringIO(predicted.stdout)))
    right = sum(row["prediction"] == row["file"].split("/")[-2] for row in rows)
    assert right == round(results["acc"] * 30), "src.predict says the same of each"
    own = evaluate(f"ckpt='{folder}'", f"hydra.run.dir='{tmp_path / 'own'}'")
    assert "on the test split of" in own.stdout
    assert json.loads((tmp_path / "own" / "results.json").read_text())["images"] == 24
    shutil.rmtree(new / "cats")
    fewer = evaluate(f"ckpt='{folder}'", f"data.root='{new}'", f"hydra.run.dir='{tmp_path / 'f'}'")
    assert "mean over the 2 classes with images" in fewer.stdout
    shutil.rmtree(new / "dogs")
    single = evaluate(f"ckpt='{folder}'", f"data.root='{new}'", f"hydra.run.dir='{tmp_path / 's'}'")
    assert single.returncode == 0, "a folder of one class can be measured"
    assert json.loads((tmp_path / "s" / "results.json").read_text())["images"] == 10


def test_links_and_every_format_are_read(photos, tmp_path):
    root = tmp_path / "mixed"
    elsewhere = write_photos(tmp_path / "elsewhere", 3, seed=3, names=("more",)) / "more"
    rng = np.random.default_rng(5)
    for shape, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index, suffix in enumerate(("jfif", "avif", "webp", "tif", "jp2", "gif", "bmp", "qoi")):
            form = {"jfif": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix.upper())
            draw_photo(shape, rng).save(root / name / f"{index}.{suffix}", form)
    os.symlink(elsewhere, root / "cats" / "linked")
    os.symlink(root / "cats", root / "cats" / "loop")
    done = train(root, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "27 pictures of 3 classes" in done.stdout
    assert "left out: 1 link to nothing or back" in done.stdout


def test_the_splits_of_others_are_used_and_wrong_ones_refused_at_once(tmp_path):
    root = tmp_path / "pics"
    for seed, (split, count) in enumerate((("Training", 9), ("valid", 4), ("TEST", 5))):
        write_photos(root / split, count, seed)
    done = train(root, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    counts = next(line for line in done.stdout.splitlines() if line.startswith("  cats"))
    assert counts.split() == ["cats", "9", "4", "5"]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["test"]["images"] == 15
    for name in CLASSES:
        shutil.rmtree(root / "TEST" / name)
    assert "TEST holds no pictures: remove it" in one_line(train(root, tmp_path / "empty"))
    assert not (tmp_path / "empty" / "checkpoints").exists()


@pytest.mark.parametrize("memory", ["data.memory_gb=4", "data.memory_gb=0"])
def test_unreadable_pictures_stop_or_are_skipped(memory, tmp_path):
    root = write_photos(tmp_path / "pics", 12)
    (root / "cats" / "000.png").write_bytes(b"no picture")
    (root / "dogs" / "001.png").write_bytes((root / "dogs" / "002.png").read_bytes()[:700])
    line = one_line(train(root, tmp_path / "stop", memory))
    assert "2 of 36 pictures cannot be read" in line
    assert "cats/000.png" in line and "dogs/001.png" in line and "data.on_error=skip" in line
    done = train(root, tmp_path / "skip", memory, "data.on_error=skip")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "skip" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["cats/000.png", "dogs/001.png"]
    measured = evaluate(f"ckpt='{tmp_path / 'skip'}'", f"hydra.run.dir='{tmp_path / 'e'}'")
    assert measured.returncode == 0, measured.stderr
    report = run("src.report", "data=folder", f"data.root='{root}'", f"hydra.run.dir='{tmp_path / 'r'}'")
    assert report.returncode == 0, report.stderr
    assert "cats/000.png cannot be read" in report.stdout
    assert any("dogs/001.png" in note for note in json.loads((tmp_path / "r" / "report.json").read_text())["notes"])


def dark_digits(root, count=25):
    """Handwritten digits as people have them: dark ink on light paper, 80x80, with a margin."""
    bundle, taken = load_digits(), {}
    for image, label in zip(bundle.images, bundle.target, strict=True):
        if taken.setdefault(int(label), 0) == count:
            continue
        ink = Image.fromarray((image * (255 / 16)).astype(np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
        paper = np.full((80, 80), 235, np.uint8)
        paper[14:62, 20:68] -= (np.asarray(ink) * 0.8).astype(np.uint8)
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(paper).save(root / str(label) / f"{taken[label]:03}.png")
        taken[int(label)] += 1
    return root


def agree(folder, root, tmp_path):
    """Evaluate and predict on the same pictures; returns how many of them are right."""
    done = evaluate(
        f"ckpt='{folder}'", "split=all", "data=folder", f"data.root='{root}'", f"hydra.run.dir='{tmp_path}'"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    words = ("images=" + f"'{root}'", "several=false", "format=csv", "device=cpu")
    rows = list(csv.DictReader(io.StringIO(run("src.predict", f"ckpt='{folder}'", *words).stdout)))
    right = sum(row["prediction"] == row["file"].split("/")[-2] for row in rows)
    assert len(rows) == results["images"]
    assert right == round(results["acc"] * len(rows)), "evaluate and predict read pictures in one way"
    return right, len(rows)


def test_dark_ink_is_read_in_one_way_by_every_command(tmp_path):
    root = dark_digits(tmp_path / "digits")
    done = train(root, tmp_path / "run", "data.ink=mnist", "trainer.max_epochs=12", "data.min_steps=20")
    assert done.returncode == 0, done.stderr
    assert "1x28x28 MNIST's form of the ink on 80x80" in done.stdout
    right, count = agree(tmp_path / "run", root, tmp_path / "e1")
    assert right > 0.8 * count
    # A network of digits in MNIST's form reads such pictures in that form, untold; one that is fine-tuned, too.
    digits = run("src.train", "experiment=digits", *SHORT, "trainer.max_epochs=8", f"hydra.run.dir='{tmp_path / 'd'}'")
    assert digits.returncode == 0, digits.stderr
    right, count = agree(tmp_path / "d", root, tmp_path / "e2")
    assert right > 0.8 * count
    tuned = train(root, tmp_path / "tuned", f"init_from='{tmp_path / 'd'}'", "data.shots=5")
    assert tuned.returncode == 0, tuned.stderr
    assert "1x28x28 MNIST's form of the ink on 80x80" in tuned.stdout
    agree(tmp_path / "tuned", root, tmp_path / "e3")


def test_a_run_on_pictures_resumes_and_is_fine_tuned(network, photos, tmp_path):
    folder, _ = network
    shutil.copytree(folder, tmp_path / "copy")
    more = run("src.train", f"resume_from='{tmp_path / 'copy'}'", "trainer.max_epochs=7")
    assert more.returncode == 0, more.stderr
    assert json.loads((tmp_path / "copy" / "results.json").read_text())["epochs"] == 7
    refused = run("src.train", f"resume_from='{tmp_path / 'copy'}'", "data.size=32", "trainer.max_epochs=8")
    assert "data.size is 64, not 32" in one_line(refused)
    larger = write_photos(tmp_path / "two", 12, 3, names=("foxes", "hens"))
    tuned = train(larger, tmp_path / "tuned", f"init_from='{folder}'")
    assert tuned.returncode == 0, tuned.stderr
    assert "3x64x64 made from 50x64" in tuned.stdout
    wrong = train(larger, tmp_path / "wrong", f"init_from='{folder}'", "data.channels=1")
    assert "leave data.size and data.channels out" in one_line(wrong)


def test_a_folder_that_has_changed_is_neither_resumed_nor_measured_without_a_word(tmp_path):
    root = write_photos(tmp_path / "pics", 20)
    done = train(root, tmp_path / "run", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    words = (f"ckpt='{tmp_path / 'run'}'", f"hydra.run.dir='{tmp_path / 'e'}'")
    results = tmp_path / "e" / "results.json"
    assert "figures on them are too good" not in evaluate(*words).stdout
    assert json.loads(results.read_text())["seen_images"] == 0
    (root / "dogs" / "007.png").unlink()
    before = (tmp_path / "run" / "results.json").read_bytes()
    line = one_line(run("src.train", f"resume_from='{tmp_path / 'run'}'", "trainer.max_epochs=2"))
    assert "have changed since: " in line and "init_from=" in line
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    told = evaluate(*words)
    known = json.loads(results.read_text())["seen_images"]
    assert known > 0 and f"of these 12 images the network was trained on or chosen by {known}:" in told.stdout
    unseen = evaluate(*words, "split=unseen")
    assert unseen.returncode == 0, unseen.stderr
    found = json.loads(results.read_text())
    assert found["seen_images"] == 0 and 11 <= found["images"] <= 12
    shutil.copytree(root, tmp_path / "copy")
    assert "was trained on or chosen by" in evaluate(*words, f"data.root='{tmp_path / 'copy'}'").stdout
    digits = evaluate(*words, "data=digits", "split=unseen")
    assert digits.returncode == 1 and len(digits.stderr.strip().splitlines()) == 1


def test_the_home_folder_is_expanded(tmp_path):
    write_photos(tmp_path / "pictures", 8)
    words = ("data=folder", "data.root=~/pictures", *SHORT, f"hydra.run.dir='{tmp_path / 'run'}'")
    done = run("src.train", *words, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    again = run("src.evaluate", f"ckpt='{tmp_path / 'run'}'", "figures=false", env={"HOME": str(tmp_path)})
    assert again.returncode == 0, again.stderr
