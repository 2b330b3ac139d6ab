"""Whole commands with the network and the parts of a user's own package, on colour pictures."""

import json

import pytest

from tests.commands import one_line, run
from tests.own_package import draw_pictures, write_package

pytestmark = pytest.mark.slow
TRUST = "trust=[commandpackage]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the package, its option model=own, and pictures."""
    folder = write_package(tmp_path_factory.mktemp("place"), "commandpackage")
    draw_pictures(folder / "pictures")
    return folder


@pytest.fixture(scope="module")
def words(place) -> list[str]:
    data = ["data=folder", f"data.root={place}/pictures", "data.size=24", "data.channels=3", "data.batch_size=8"]
    quick = ["trainer.max_epochs=2", "trainer.accelerator=cpu", "logger=none", "figures=false"]
    parts = ["loss._target_=commandpackage.parts.Loss", "callbacks.mine._target_=commandpackage.parts.Counter"]
    parts += ["augment._target_=commandpackage.parts.Flip", "optimizer._target_=torch.optim.NAdam"]
    parts += ["scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR", "scheduler.T_max=4"]
    parts += ["metrics.auroc._target_=torchmetrics.classification.MulticlassAUROC"]
    own = ["--config-dir", f"{place}/conf", "model=own"]
    return [*own, *data, *quick, *parts, "callbacks.checkpoints.monitor=val/auroc"]


def command(place, *typed: str, env: dict | None = None):
    return run(*typed, env={"PYTHONPATH": str(place), "MNIST_TRUST": "", **(env or {})})


@pytest.fixture(scope="module")
def trained(place, words):
    folder = place / "run"
    done = command(place, "src.train", *words, TRUST, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert f"src.evaluate '{TRUST}' ckpt=" in done.stdout
    return folder


def test_training_an_own_network_asks_for_trust_before_it_starts(place, words, tmp_path):
    line = one_line(command(place, "src.train", *words, f"hydra.run.dir={tmp_path}/run"))
    assert f"give {TRUST}, or set MNIST_TRUST=commandpackage" in line
    assert not (tmp_path / "run/checkpoints").exists()


def test_every_command_reads_its_files_with_trust_and_none_without(place, trained, tmp_path):
    picture, here = f"images={place}/pictures/disc/1.png", f"hydra.run.dir={tmp_path}/out"
    plain = ["figures=false", here]
    assert TRUST in one_line(command(place, "src.evaluate", f"ckpt={trained}", *plain))
    for suffix, form in ((".safetensors", "safetensors"), (".pt2", "torch_export"), (".onnx", "onnx")):
        pytest.importorskip("onnxscript", reason="the export extra is not installed")
        export = [f"ckpt={trained}", f"format={form}", f"file={tmp_path}/net{suffix}", here]
        done = command(place, "src.export", *export, TRUST)
        assert done.returncode == 0, done.stderr
    results = json.loads((trained / "results.json").read_text())
    for file in (trained, tmp_path / "net.safetensors", tmp_path / "net.pt2", tmp_path / "net.onnx"):
        done = command(place, "src.evaluate", f"ckpt={file}", *plain, env={"MNIST_TRUST": "commandpackage"})
        assert done.returncode == 0, done.stderr
        measured = json.loads((tmp_path / "out/results.json").read_text())
        assert measured["auroc"] == pytest.approx(results["test"]["auroc"], abs=1e-4)
    for typed in (
        ["src.predict", picture, here],
        ["src.explain", "n=2", "neighbours=0", "class_images=false", *plain],
        ["src.compress", "method=prune", "sparsity=0.5", "epochs=1", "turns=1", *plain],
    ):
        done = command(place, *typed, f"ckpt={trained}", TRUST)
        assert done.returncode == 0, (typed, done.stderr)
        assert TRUST in one_line(command(place, *typed, f"ckpt={trained}"))


def test_resume_and_fine_tuning(place, trained, tmp_path):
    line = one_line(command(place, "src.train", f"resume_from={trained}", "trainer.max_epochs=3"))
    assert "asks for commandpackage." in line and TRUST in line
    done = command(place, "src.train", f"resume_from={trained}", "trainer.max_epochs=3", TRUST)
    assert done.returncode == 0, done.stderr
    assert json.loads((trained / "results.json").read_text())["epochs"] == 3
    data = ["data=folder", f"data.root={place}/pictures", "data.size=24", "data.channels=3", "figures=false"]
    for method in ("head", "lora"):
        tuned = [f"init_from={trained}", f"finetune={method}", "trainer.max_epochs=1", "logger=none", *data]
        done = command(place, "src.train", *tuned, TRUST, f"hydra.run.dir={tmp_path}/{method}")
        assert done.returncode == 0, done.stderr
    assert TRUST in one_line(command(place, "src.train", *tuned, f"hydra.run.dir={tmp_path}/none"))


def test_a_recorded_command_imports_nothing_before_it_is_trusted(place, words, tmp_path):
    """A checkpoint that names a module must not have it imported: importing runs it."""
    from src.model_files.checkpoint import read_checkpoint, write_checkpoint

    folder = tmp_path / "run"
    plain = ["data=digits", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "logger=none", "figures=false"]
    assert command(place, "src.train", *plain, f"hydra.run.dir={folder}").returncode == 0
    (place / "marker.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nclass Loss: pass\n")
    last = folder / "checkpoints/last.ckpt"
    checkpoint = read_checkpoint(last)
    del checkpoint["digest"]
    checkpoint["config"]["overrides"] += ["trust=[marker]", "++loss._target_=marker.Loss"]
    write_checkpoint(checkpoint, last)
    assert "asks for marker.Loss" in one_line(command(place, "src.train", f"resume_from={folder}"))
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("launcher", ["serial", "joblib"])
def test_a_sweep_and_its_table(place, words, tmp_path, launcher):
    typed = ["-m", *words, TRUST, "seed=0,1", "optimizer._target_=torch.optim.NAdam,torch.optim.Adam"]
    typed = [word for word in typed if word != "optimizer._target_=torch.optim.NAdam"]
    done = command(place, "src.train", *typed, f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "sweep/table.md").read_text()
    assert "val/auroc" in table and "torch.optim.NAdam" in table
    best = ["--config-dir", f"{tmp_path}/sweep/best", "experiment=best", f"hydra.run.dir={tmp_path}/again", TRUST]
    done = command(place, "src.train", *best)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "again/results.json").read_text())
    assert config["monitor"] == "val/auroc"
