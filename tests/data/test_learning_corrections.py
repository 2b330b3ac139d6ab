"""What a network gains by corrections, and that it forgets nothing."""

import json

import numpy as np
import pytest
import torch

from benchmarks.foreign_digits import accuracy, european_digits, write_corrections
from src.data.sources.corrections import CorrectionStore
from src.data.sources.registry import load_dataset
from src.model_files.checkpoint import load_model
from tests.commands import one_line, run


@pytest.mark.slow
def test_a_network_learns_corrections_and_forgets_nothing(mnist_root, tmp_path):
    where = [f"data.root={mnist_root}", "data.download=false", "threads=1", "logger=csv", "figures=false"]
    done = run("src.train", "experiment=fast", *where, f"hydra.run.dir={tmp_path}/start", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    start = load_model(tmp_path / "start/checkpoints/best.ckpt")
    images, labels = european_digits(100, 0)
    unseen = european_digits(400, 1)
    before = accuracy(start, *unseen)
    write_corrections(tmp_path / "feedback.sqlite", start, images, labels)
    words = [f"init_from={tmp_path}/start", "data=feedback", f"data.root={tmp_path}", f"data.mix.root={mnist_root}"]
    done = run("src.train", *words, *where[1:], f"hydra.run.dir={tmp_path}/run", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    tuned = load_model(tmp_path / "run/checkpoints/best.ckpt")
    after = accuracy(tuned, *unseen)
    results = json.loads((tmp_path / "run/results.json").read_text())
    transfer = results["transfer"]
    assert before < 0.9
    assert after > 0.97
    assert transfer["before"] < transfer["after"]
    assert 5 <= transfer["target_images"] <= 30
    assert results["test"]["images"] == 10_000 + transfer["target_images"]
    before, after = results["continual"]["test"]["matrix"][1:]  # of MNIST, and of the corrections held out
    assert before == pytest.approx([transfer["source_before"], transfer["before"]], abs=1e-6)
    assert after == pytest.approx([transfer["source_after"], transfer["after"]], abs=1e-6)
    assert transfer["source_after"] > transfer["source_before"] - 0.002
    assert "the last: callbacks.checkpoints.choose=last" in done.stdout
    test = load_dataset("mnist", root=str(mnist_root), download=False).test()
    assert accuracy(tuned, *test) == pytest.approx(after[0], abs=1e-4)


@pytest.mark.slow
def test_one_correction_is_enough_and_none_is_an_error(tmp_path):
    words = ["threads=1", "logger=csv", "figures=false", "trainer.accelerator=cpu"]
    done = run("src.train", "data=digits", "trainer.max_epochs=3", *words, f"hydra.run.dir={tmp_path}/start")
    assert done.returncode == 0, done.stderr
    feedback = [f"init_from={tmp_path}/start", "data=feedback", f"data.root={tmp_path}/f.sqlite"]
    feedback += ["trainer.max_epochs=6", *words]  # the checkpoint says what to mix in
    assert "f.sqlite: there is no such file" in one_line(run("src.train", *feedback, f"hydra.run.dir={tmp_path}/none"))
    start = load_model(tmp_path / "start/checkpoints/best.ckpt")
    images, labels = european_digits(40, 2)
    with torch.inference_mode():
        predictions = start(images).argmax(1)
    (wrong, *_) = (predictions != labels).nonzero().flatten().tolist()
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(np.zeros((3, 64, 64), np.uint8), b"", "dog", "cat")  # of a photograph, by another network
    store.add(images[wrong], b"", str(int(predictions[wrong])), str(int(labels[wrong])))
    done = run("src.train", *feedback, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "1 correction of 1 picture; held out: 0" in done.stdout
    assert "1 correction belongs to another network (classes cat; 3x64x64): left out" in done.stdout
    assert "what was gained is not measured" in done.stdout
    transfer = json.loads((tmp_path / "run/results.json").read_text())["transfer"]
    assert (transfer["before"], transfer["after"], transfer["target_images"]) == (None, None, 0)
    assert accuracy(load_model(tmp_path / "run/checkpoints/best.ckpt"), images[[wrong]], labels[[wrong]]) == 1
    assert transfer["source_after"] > transfer["source_before"] - 0.02
