"""python -m src.explain as a user types it."""

import json

import numpy as np
import pytest
from PIL import Image

from src.cli.inputs import data_as_trained
from src.data.info import DataInfo
from src.model_files.checkpoint import read_checkpoint, write_checkpoint
from src.models.mlp import MLP
from tests.commands import files, one_line, run

pytestmark = pytest.mark.slow
RUN_FILES = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "explain.log", "status.json"}
KINDS = ("architecture", "attributions", "class_images", "feature_maps", "filters", "neighbours")


def test_a_model_is_summarized(tmp_path):
    done = run("src.explain", "model=cnn", "channels=3", "size=32", "num_classes=5", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "3 @ 32x32" in done.stdout
    assert "features.0" in done.stdout
    assert files(tmp_path) == RUN_FILES | {"results.json", "figures/architecture.png"}
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    assert summary["input"] == [3, 32, 32]
    assert summary["layers"][-1]["output"] == [5]


def test_a_checkpoint_is_explained(trained, tmp_path):
    words = ["which=worst", "n=3", "split=train", "neighbours=4", "samples=4"]
    done = run("src.explain", f"ckpt={trained}", *words, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    figures = {f"figures/{kind}.png" for kind in KINDS}
    assert files(tmp_path) == RUN_FILES | figures | {"arrays.npz", "results.json"}
    results = json.loads((tmp_path / "results.json").read_text())
    places = {"first_px": [4.5, 4.5], "step_px": [2.0, 2.0]}
    assert results["methods"]["grad_cam"] == {"layer": "features.3", "places": places}
    assert results["summary"]["multiply_adds"] == 416_520
    arrays = np.load(tmp_path / "arrays.npz")
    assert arrays["maps/integrated_gradients"].shape == (3, 1, 28, 28)
    assert arrays["class_images"].shape == (10, 1, 28, 28)
    temperature = read_checkpoint(trained / "checkpoints/best.ckpt")["temperature"]
    for record, logits, error in zip(results["images"], arrays["outputs"], arrays["completeness_error"], strict=True):
        calibrated = (logits - logits.max()) / temperature
        probs = np.exp(calibrated) / np.exp(calibrated).sum()
        assert record["probs"][record["prediction"]] == pytest.approx(probs.max(), abs=1e-4)
        assert abs(error) < 0.05 * abs(logits).max()
        assert len(record["nearest"]["rows"]) == 4
        assert record["row"] not in record["nearest"]["rows"]  # an image is not its own neighbor
        assert record["nearest"]["distances"] == sorted(record["nearest"]["distances"])
    probs_of_truth = [record["probs"][record["true"]] for record in results["images"]]
    assert probs_of_truth == sorted(probs_of_truth)  # worst first


def test_a_user_s_pictures_are_explained(trained, tmp_path):
    picture = np.full((90, 60), 235, np.uint8)
    picture[15:75, 27:34] = 40
    Image.fromarray(picture).save(tmp_path / "one.png")
    (tmp_path / "notes.png").write_text("no picture")
    common = [f"ckpt={trained}", f"hydra.run.dir={tmp_path}/run", "class_images=false"]
    done = run("src.explain", *common, f"images={tmp_path}/o*.png", "methods=[saliency,grad_cam]", "layer=features.0")
    assert done.returncode == 0, done.stderr
    assert "MNIST's form" in done.stdout
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["images"][0]["prediction"] == "1"
    assert results["images"][0]["true"] is None
    assert results["methods"]["grad_cam"]["layer"] == "features.0"
    assert np.load(tmp_path / "run/arrays.npz")["feature_maps/features.0"].shape == (1, 6, 28, 28)
    line = one_line(run("src.explain", *common, f"images=[{tmp_path}/one.png,{tmp_path}/notes.png]"))
    assert "notes.png cannot be read as a picture" in line


def test_one_view_is_explained_and_images_are_named_by_row(trained, tmp_path):
    checkpoint = read_checkpoint(trained / "checkpoints/best.ckpt")
    checkpoint["config"]["views"] = 5
    del checkpoint["digest"]
    write_checkpoint(checkpoint, tmp_path / "five.ckpt")
    words = ["methods=saliency", "neighbours=2", "class_images=false", "figures=false", "split=val", "which=random"]
    done = run("src.explain", f"ckpt={tmp_path}/five.ckpt", *words, "n=2", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "one view of 5" in done.stdout
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["views"] == "one look of 5"
    data = data_as_trained(checkpoint["config"]["data"], {})
    data.setup()
    arrays = np.load(tmp_path / "run/arrays.npz")
    for record, image in zip(results["images"], arrays["images"], strict=True):
        assert record["row"] in data.val_set.indices
        assert np.array_equal(data.val_set.images[record["row"]].numpy(), image)  # a row of the training file
        assert set(record["nearest"]["rows"]) <= set(data.train_set.indices.tolist())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["index=[3,360]"], ["index=360", "a row of the test file, 0 to 359"]),
        (["layer=features.9"], ["layer=features.9 does not exist", "features.0", "features.3", "head.4"]),
    ],
)
def test_an_error_is_one_line(trained, tmp_path, words, expected):
    line = one_line(run("src.explain", f"ckpt={trained}", *words, f"hydra.run.dir={tmp_path}/e"))
    assert all(text in line for text in expected), line


def test_an_mlp_has_no_grad_cam(tmp_path):
    options = {"_target_": "src.models.mlp.MLP", "hidden": [8]}
    net = MLP((1, 28, 28), 10, hidden=(8,))
    write_checkpoint(
        {
            "state_dict": {f"model.{key}": value for key, value in net.state_dict().items()},
            "config": {"model": options, "data": {"name": "digits"}},
            "facts": DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,)).to_dict(),
            "epoch": 0,
        },
        tmp_path / "mlp.ckpt",
    )
    words = ["methods=[grad_cam]", f"hydra.run.dir={tmp_path}/run"]
    line = one_line(run("src.explain", f"ckpt={tmp_path}/mlp.ckpt", *words))
    assert "MLP has none; give saliency, integrated_gradients, smooth_grad, occlusion" in line
