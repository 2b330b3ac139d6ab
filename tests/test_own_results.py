"""What owners of a folder of pictures ask next: which files, which run, by how much, and what of corrections."""

import base64
import csv
import json
import signal
import time
from urllib.request import Request, urlopen

import pytest

from tests.commands import one_line, output_of, run, start, wait_for
from tests.photo_files import CLASSES, draw_photo, write_photos

pytestmark = pytest.mark.slow
SHORT = ("data=folder", "trainer.accelerator=cpu", "logger=none")


def succeeds(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos") / "photos", 30)


@pytest.fixture(scope="module")
def sweep(photos, tmp_path_factory):
    """Two networks with two seeds; and what was printed."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    words = ("model=convnet,lenet", "seed=0,1", "trainer.max_epochs=4", "logger=csv")
    out = succeeds(run("src.train", "-m", *SHORT, f"data.root='{photos}'", *words, f"hydra.sweep.dir='{folder}'"))
    return folder, out


def test_a_sweep_ends_in_tables_and_figures_for_a_paper(sweep):
    folder, out = sweep
    configurations = rows(folder / "configurations.csv")
    assert [row["n"] for row in configurations] == ["2", "2"]
    assert {row["model"] for row in configurations} == {"convnet", "lenet"}
    latex = (folder / "table.tex").read_text(encoding="utf-8")
    assert "\\begin{tabular}" in latex and "convnet" in latex and "$\\pm$" in latex
    curves = {path.name for path in (folder / "figures").glob("curves.*")}
    assert curves == {"curves.png", "curves.pdf"}
    assert (folder / "figures" / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert "tensorboard" not in out, "nothing was logged there"


def test_the_best_run_of_a_sweep_is_asked_and_named(sweep, photos, tmp_path):
    folder, _ = sweep
    scores = {row["run"]: float(row["val/acc"]) for row in rows(folder / "runs.csv")}
    out = succeeds(run("src.evaluate", f"ckpt='{folder}'", "figures=false", f"hydra.run.dir={tmp_path / 'e'}"))
    (taken,) = [name for name in scores if f"/{name}/checkpoints" in out or f"{folder.name}/{name}" in out]
    assert scores[taken] == max(scores.values())
    expected = json.loads((folder / taken / "results.json").read_text())["test"]["acc"]
    assert json.loads((tmp_path / "e" / "results.json").read_text())["acc"] == pytest.approx(expected, abs=1e-6)
    picture = f"images='{photos}/cats/000.png'"
    predicted = run("src.predict", f"ckpt='{folder}'", picture, f"hydra.run.dir={tmp_path / 'p'}")
    assert succeeds(predicted) and f"/{taken}/checkpoints/best.ckpt" in predicted.stderr


def test_two_runs_are_compared_picture_by_picture(sweep, photos, tmp_path):
    folder, _ = sweep
    first, second = (rows(folder / name / "predictions.csv") for name in "02")
    assert [row["file"] for row in first] == [row["file"] for row in second]
    assert all((photos / row["file"]).is_file() and row["file"].split("/")[0] == row["truth"] for row in first)
    right = [[row["truth"] == row["answer"] for row in table] for table in (first, second)]
    out = succeeds(run("src.compare", f"{folder}/0", f"{folder}/2", f"hydra.run.dir={tmp_path / 'c'}"))
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    assert "McNemar p = " in out and "95 %" in out
    assert any(f"right on {a} that the best misses, wrong on {b} that it has" in out for a, b in (only, only[::-1]))


def test_files_are_named_out_of_fold_and_in_explanations(photos, tmp_path):
    words = (f"data.root='{photos}'", "model=lenet", "trainer.max_epochs=2", "figures=false")
    folds = ("data.folds=3", "data.fold=0,1,2", "test=false", f"hydra.sweep.dir={tmp_path / 'folds'}")
    succeeds(run("src.train", "-m", *SHORT, *words, *folds))
    table = rows(tmp_path / "folds" / "out_of_fold.csv")
    assert len({row["file"] for row in table}) == len(table) == 72, "each training picture once"
    assert all((photos / row["file"]).is_file() for row in table)
    report = f"predictions={tmp_path / 'folds'}"
    succeeds(run("src.report", "data=folder", f"data.root='{photos}'", "sections=labels", report,
                 f"hydra.run.dir={tmp_path / 'r'}"))  # fmt: skip
    suspects = json.loads((tmp_path / "r" / "report.json").read_text())["labels"]["ranked"]
    assert suspects and all((photos / one["file"]).is_file() for one in suspects)
    explained = ("n=3", "neighbours=2", "class_images=false", f"hydra.run.dir={tmp_path / 'x'}")
    out = succeeds(run("src.explain", f"ckpt={tmp_path / 'folds'}", *explained))
    assert any(f"{name}/" in out for name in CLASSES), out


def test_a_few_shot_sweep_is_ordered_by_its_shots(photos, tmp_path):
    words = (f"data.root='{photos}'", "model=lenet", "trainer.max_epochs=1", "figures=false", "data.shots=10,2,5")
    succeeds(run("src.train", "-m", *SHORT, *words, f"hydra.sweep.dir={tmp_path / 's'}"))
    assert [row["data.shots"] for row in rows(tmp_path / "s" / "configurations.csv")] == ["2", "5", "10"]


def test_the_seconds_of_a_run_count_from_its_command_to_its_end(photos, tmp_path):
    started = time.time()
    words = (f"data.root='{photos}'", "model=lenet", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}")
    out = succeeds(run("src.train", *SHORT, *words))
    whole = time.time() - started
    seconds = json.loads((tmp_path / "run" / "status.json").read_text())["seconds"]
    assert 0.6 * whole < seconds <= whole
    assert "watch" not in out
    words = (*words[:-1], f"hydra.run.dir={tmp_path / 'logged'}", "logger=tensorboard", "figures=false")
    assert "watch" in succeeds(run("src.train", *SHORT, *words))


def test_a_table_of_labels_is_a_data_set(tmp_path):
    import numpy as np

    root, rng, lines = tmp_path / "pics", np.random.default_rng(4), ["file;label;split"]
    root.mkdir()
    for index in range(36):
        draw_photo(index % 3, rng).save(root / f"{index}.jpg")
        lines.append(f"{index}.jpg;{CLASSES[index % 3]};{'test' if index > 26 else 'val' if index > 20 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    words = (f"data.root={root}", "model=lenet", "trainer.max_epochs=1", "figures=false")
    out = succeeds(run("src.train", *SHORT, *words, f"hydra.run.dir={tmp_path / 'run'}"))
    counts = next(line for line in out.splitlines() if line.startswith("  cats"))
    assert counts.split() == ["cats", "7", "2", "3"]
    assert {row["file"] for row in rows(tmp_path / "run" / "predictions.csv")} == {f"{i}.jpg" for i in range(27, 36)}
    (root / "labels.csv").write_text("\n".join([*lines, "gone.jpg;cats;train"]), encoding="utf-8")
    assert "gone.jpg" in one_line(run("src.train", *SHORT, *words, f"hydra.run.dir={tmp_path / 'b'}"))


def test_corrections_of_photographs_are_learned_and_leave_digits_alone(sweep, photos, tmp_path):
    folder, store = sweep[0] / "0", tmp_path / "corrections.sqlite"
    process = start("src.serve", f"ckpt='{folder}'", "port=0", f"feedback={store}", f"hydra.run.dir={tmp_path / 's'}")
    try:
        wait_for(tmp_path / "s" / "results.json")
        address = json.loads((tmp_path / "s" / "results.json").read_text())["address"]
        for index in range(4):
            content = (photos / "dogs" / f"{index:03}.png").read_bytes()
            body = {"image": base64.b64encode(content).decode(), "answer": "cats", "correction": "dogs"}
            request = Request(f"{address}/corrections", json.dumps(body).encode(), {"content-type": "application/json"})
            with urlopen(request, timeout=60) as response:
                assert response.status == 201
    finally:
        process.send_signal(signal.SIGTERM)
        output_of(process, 60)
    words = ("data=feedback", f"data.root={store}", "trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=none")
    learned = (f"init_from='{folder}'", *words, "figures=false", f"hydra.run.dir={tmp_path / 'learned'}")
    out = succeeds(run("src.train", *learned))
    assert "4 corrections of 4 pictures" in out and "3x64x64" in out
    digits = ("data=digits", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none", "figures=false")
    succeeds(run("src.train", *digits, f"hydra.run.dir={tmp_path / 'digits'}"))
    done = run("src.train", f"init_from={tmp_path / 'digits'}", *words, f"hydra.run.dir={tmp_path / 'no'}")
    line = one_line(done)
    assert "no correction belongs to this network (classes 0, 1, 2" in line and "of classes dogs" in line
    assert "init_from=<a network of those classes>" in line
