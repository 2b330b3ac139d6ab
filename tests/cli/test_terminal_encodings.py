"""Terminals that are not UTF-8: every command prints its tables and messages, and its files are UTF-8."""

import base64
import csv
import io
import json
import os
import shutil
import signal
import sys
from urllib.request import Request, urlopen

import pytest

from src.server.settings import Settings
from tests.commands import output_of, start, wait_for
from tests.photo_files import write_photos

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode"),
]
FOLDERS = ("苹果", "Äpfel", os.fsdecode(b"caf\xe9"))
CLASSES = {"苹果", "Äpfel", "caf\\udce9"}
TERMINALS = {  # encoding -> the environment; without PYTHONIOENCODING Python takes ASCII, for names of files too
    "cp932": {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp932"},
    "latin-1": {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    "ANSI_X3.4-1968": {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
}
C = "ANSI_X3.4-1968"
SHORT = ("data=folder", "model=lenet", "trainer.accelerator=cpu", "trainer.max_epochs=1")
TABLES = {"runs.csv", "configurations.csv", "table.md", "table.tex"}


def command(terminal, *words):
    """Standard output of a command that succeeds and warns of nothing."""
    process = start(*words, env=TERMINALS[terminal], encoding=terminal)
    out, err = output_of(process, 300)
    assert process.returncode == 0, err
    assert not {"Traceback", "Warning", "error:"} & {*err.replace(":", ": ").split(), *err.split()}, err
    return out


def shown(name, terminal):
    """A name as a terminal shows it."""
    return "".join(c if encodable(c, terminal) else f"\\u{ord(c):04x}" for c in name)


def encodable(character, encoding):
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def names_in(text, terminal):
    return {name for name in CLASSES if shown(name, terminal) in text}


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder whose own name is not ASCII either."""
    return write_photos(tmp_path_factory.mktemp("photos") / "Bücher", 12, names=FOLDERS)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """Trains once in each terminal; returns the run's folder and what was printed."""
    runs: dict = {}

    def train(terminal):
        if terminal not in runs:
            folder = tmp_path_factory.mktemp("runs") / "run"
            words = (f"data.root='{photos}'", "logger=none", "figures=false", f"hydra.run.dir='{folder}'")
            runs[terminal] = folder, command(terminal, "src.train", *SHORT, *words)
        return runs[terminal]

    return train


@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_training_and_an_evaluation(terminal, trained, tmp_path):
    folder, out = trained(terminal)
    assert names_in(out, terminal) == CLASSES and "Bücher".encode(terminal, "replace").decode(terminal)[-4:] in out
    assert {row["truth"] for row in rows(folder / "predictions.csv")} == CLASSES
    assert {row["file"].split("/")[0] for row in rows(folder / "predictions.csv")} == CLASSES
    out = command(
        terminal, "src.evaluate", f"ckpt='{folder}'", "device=cpu", "figures=false", f"hydra.run.dir={tmp_path}"
    )
    assert names_in(out, terminal) == CLASSES
    assert rows(tmp_path / "predictions.csv") == rows(folder / "predictions.csv")
    assert set(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["per_class"]) == CLASSES


def test_a_name_that_a_library_cannot_open_is_one_line(photos, tmp_path):
    folder = tmp_path / os.fsdecode(b"r\xfcn")
    words = (f"data.root='{photos}'", "logger=tensorboard", f"hydra.run.dir='{folder}'")
    process = start("src.train", *SHORT, *words, env=TERMINALS[C], encoding=C)
    _, err = output_of(process, 300)
    assert process.returncode == 1 and err.count("\n") == 1
    assert "r\\udcfcn" in err and "set PYTHONUTF8=1" in err


def test_every_library_opens_a_name_that_is_utf8(photos, tmp_path):
    words = (f"data.root='{photos}'", "logger=tensorboard", "figures=false", f"hydra.run.dir='{tmp_path}/rün'")
    command(C, "src.train", *SHORT, *words)
    assert list((tmp_path / "rün").glob("events.out.*"))


def test_names_of_classes_and_pictures_are_typed(photos, trained, tmp_path):
    folder, _ = trained(C)
    words = (f"ckpt='{folder}'", "device=cpu", "figures=false", "class_images=false", "methods=[saliency]")
    out = command(C, "src.explain", *words, "n=2", "target='苹果'", f"hydra.run.dir='{tmp_path}/erklärt'")
    assert shown("苹果", C) in out and (tmp_path / "erklärt/results.json").is_file()
    file = next(row["file"] for row in rows(folder / "predictions.csv") if row["truth"] == "苹果")
    out = command(C, "src.explain", *words, f"index=['{file}']", f"hydra.run.dir={tmp_path}/index")
    assert shown(file, C) in out
    bytes_too = f"images=['{photos}/苹果/000.png','{photos}/{FOLDERS[2]}/000.png']"
    out = command(C, "src.predict", f"ckpt='{folder}'", bytes_too, "device=cpu", f"hydra.run.dir={tmp_path}/predict")
    assert [row.split("/")[-2] for row in out.splitlines() if "/000.png" in row] == [shown("苹果", C), "caf\\udce9"]


def test_classes_are_chosen_and_merged_by_name(photos, tmp_path):
    words = (*SHORT, f"data.root='{photos}'", "logger=none", "figures=false")
    for number, classes in enumerate(("['苹果','Äpfel']", "{obst:['苹果','Äpfel'],rest:['caf\\udce9']}")):
        command(C, "src.train", *words, f"data.classes={classes}", f"hydra.run.dir={tmp_path}/{number}")
    found = [{row["truth"] for row in rows(tmp_path / f"{number}/predictions.csv")} for number in range(2)]
    assert found == [{"苹果", "Äpfel"}, {"obst", "rest"}]
    (tmp_path / "möglich/data").mkdir(parents=True)
    option = f"defaults: [folder, _self_]\nroot: {photos}\nclasses: {{四: ['苹果'], rest: ['Äpfel']}}\n"
    (tmp_path / "möglich/data/mine.yaml").write_text(option, encoding="utf-8")
    own = ("--config-dir", str(tmp_path / "möglich"), "data=mine", *words[1:4], "logger=none", "figures=false")
    command(C, "src.train", *own, f"hydra.run.dir='{tmp_path}/eigene'")
    assert {row["truth"] for row in rows(tmp_path / "eigene/predictions.csv")} == {"四", "rest"}


@pytest.mark.parametrize(
    "how",
    [
        ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(1e-4,1e-2)"),
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"),
    ],
)
def test_a_search_and_jobs_at_once_of_classes_by_name(how, photos, tmp_path):
    pytest.importorskip(how[0].partition("=")[2])
    words = (f"data.root='{photos}'", "data.classes=['苹果','Äpfel']", "logger=none", "figures=false")
    out = command(C, "src.train", "-m", *how, *SHORT, *words, f"hydra.sweep.dir='{tmp_path}/süß'")
    assert "[2/2]" in out and {path.name for path in (tmp_path / "süß").iterdir()} >= {*TABLES, "0", "1"}
    assert {row["truth"] for row in rows(tmp_path / "süß/1/predictions.csv")} == {"苹果", "Äpfel"}
    assert "2 of them done" in command(C, "src.train", "-m", f"sweep.resume='{tmp_path}/süß'")


@pytest.mark.parametrize(("trains", "evaluates"), [(C, "ascii"), ("ascii", C)])
def test_a_network_of_another_locale_is_evaluated(trains, evaluates, trained, tmp_path):
    folder, _ = trained(trains)
    command(evaluates, "src.evaluate", f"ckpt='{folder}'", "device=cpu", "figures=false", f"hydra.run.dir={tmp_path}")
    assert rows(tmp_path / "predictions.csv") == rows(folder / "predictions.csv")


def test_predictions_as_json_are_json(trained, photos, tmp_path, terminal="ascii"):
    folder, _ = trained(terminal)
    words = (f"images='{photos}'", "format=json", "device=cpu", f"hydra.run.dir={tmp_path}")
    records = json.loads(command(terminal, "src.predict", f"ckpt='{folder}'", *words))
    assert records == json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert {one["label"] for one in records[0]["digits"][0]["top"]} == CLASSES
    assert {record["file"].split("/")[-2] for record in records} == CLASSES


@pytest.mark.parametrize(
    ("terminal", "words", "file"),
    [
        ("latin-1", ("src.explain", "images='{photos}'", "n=2", "figures=false"), "explain.log"),
        ("ascii", ("src.export", "format=safetensors"), "export.log"),
    ],
)
def test_other_commands_on_a_network(terminal, words, file, trained, photos, tmp_path):
    folder, _ = trained(terminal)
    verb, *options = (word.format(photos=photos) for word in words)
    out = command(terminal, verb, f"ckpt='{folder}'", *options, f"hydra.run.dir={tmp_path}")
    assert out.strip()
    assert (tmp_path / file).read_text(encoding="utf-8")


def test_a_report(photos, tmp_path):
    out = command(
        C, "src.report", "data=folder", f"data.root='{photos}'", "sections=[counts]", f"hydra.run.dir={tmp_path}"
    )
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "36 pictures of 3 classes" in out and all(name in page for name in CLASSES)


def test_a_sweep_of_good_jobs_has_all_its_files(photos, trained, tmp_path):
    words = (f"data.root='{photos}'", "test=false", "logger=csv", f"hydra.sweep.dir='{tmp_path}/süß'")
    out = command("cp932", "src.train", "-m", "seed=0,1", *SHORT, *words)
    assert "[2/2]" in out and {path.name for path in (tmp_path / "süß").iterdir()} >= TABLES
    assert (tmp_path / "süß/figures/curves.png").is_file()
    given = [str(trained(terminal)[0]) for terminal in ("cp932", "ascii")]
    shutil.copytree(given[1], tmp_path / "other")
    out = command("latin-1", "src.compare", given[0], str(tmp_path / "other"), f"hydra.run.dir={tmp_path / 'c'}")
    assert "McNemar" in out or "differ" in out


def test_a_server_and_a_correction(trained, photos, tmp_path):
    folder, _ = trained(C)
    options = ("port=0", f"feedback='{tmp_path}/Öl.sqlite'", f"hydra.run.dir={tmp_path}/serve")
    process = start("src.serve", f"ckpt='{folder}'", *options, env=TERMINALS[C], encoding=C)
    try:
        wait_for(tmp_path / "serve/results.json")
        address = json.loads((tmp_path / "serve/results.json").read_text())["address"]
        picture = next((photos / "苹果").iterdir()).read_bytes()
        body = {"image": base64.b64encode(picture).decode(), "answer": "caf\\udce9", "correction": "苹果"}
        request = Request(f"{address}/corrections", json.dumps(body).encode(), {"content-type": "application/json"})
        with urlopen(request, timeout=Settings.deadline_s) as response:
            assert response.status == 201
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = output_of(process, 60)
    assert process.returncode == 143 and err == "stopped\n"
    assert "run/checkpoints/best.ckpt" in out and "\\u00d6l.sqlite, 0 so far" in out
