"""What fine-tuning gained and forgot, and how often it is measured."""

import copy
from dataclasses import replace

import pytest

from src.data.cache import cache_enabled
from src.data.info import DataInfo
from src.evaluation.evaluate import compute_metrics, predict
from src.evaluation.forgetting import forgetting_table, measure_forgetting
from src.inference.model import InferenceModel
from src.models.mlp import MLP


@pytest.fixture
def source(small_kmnist, data_root) -> InferenceModel:
    config = {"data": {"name": "kmnist", "root": str(data_root)}}
    return InferenceModel(MLP(small_kmnist.info.shape, 10), small_kmnist.info, config, digest="source")


@pytest.fixture
def tuned(source) -> InferenceModel:
    net = copy.deepcopy(source)
    net.model.head[-1].bias.data[3] += 1
    net.digest = "tuned"
    return net


def test_accuracies_are_those_of_both_networks_on_both_test_splits(source, tuned, small_kmnist):
    accs = [compute_metrics(*predict(net, small_kmnist.test_dataloader()), net.info)["acc"] for net in (source, tuned)]
    result = measure_forgetting(source, tuned, small_kmnist, {"acc": accs[1]}, "cpu")
    assert result == {
        "target": "kmnist", "before": accs[0], "after": accs[1],
        "source": "kmnist", "source_before": accs[0], "source_after": accs[1],
    }  # fmt: skip
    cost = {"trainable": 10, "parameters": 40, "seconds": 1.0, "bytes": 2048, "file": "checkpoints/best.ckpt"}
    lines = forgetting_table({**result, "source_after": None, **cost}).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["before", "after"],
        ["target", "kmnist", f"{100 * accs[0]:.2f}", "%", f"{100 * accs[1]:.2f}", "%"],
    ]
    assert lines[2].endswith("–")
    assert lines[3:] == ["10 of 40 parameters trained (25.0 %)", "1.0 s; 2 KiB in best.ckpt"]


def test_jobs_of_a_sweep_measure_the_source_model_once(source, tuned, small_kmnist):
    calls = []
    for net in (source, tuned):
        net.register_forward_hook(lambda net, *args: calls.append(net.digest))
    for _ in range(2):
        with cache_enabled():
            measure_forgetting(source, tuned, small_kmnist, {}, "cpu")
    batches = len(small_kmnist.test_dataloader())
    assert calls.count("source") == batches, "the target and the source data are the same here"
    assert calls.count("tuned") == 2 * batches


COST = {"trainable": 10, "parameters": 40, "seconds": 1.0, "bytes": 2048, "file": "checkpoints/best.ckpt"}


@pytest.mark.parametrize(
    ("change", "before", "of_source"),
    [
        (
            lambda info: replace(info, class_names=tuple("abcdefghij")),
            "the source network has another set of classes: its head does not know those of the target",
            "the tuned network has another set of classes: its new head does not know those of the source",
        ),
        (
            lambda info: replace(info, class_names=info.class_names[::-1]),
            "both have the same classes in another order",
            "both have the same classes in another order",
        ),
    ],
)
def test_the_table_says_why_a_figure_is_missing(source, tuned, small_kmnist, change, before, of_source):
    source.info = change(source.info)
    result = measure_forgetting(source, tuned, small_kmnist, {"acc": 0.5}, "cpu")
    assert result["before"] is None
    assert "source_before" not in result
    lines = forgetting_table({**result, **COST}).splitlines()
    assert lines[3:5] == [f"target before is not measured: {before}", f"source is not measured: {of_source}"]


def test_data_that_cannot_be_read_is_a_reason(source, tuned, small_kmnist, tmp_path):
    source.config["data"]["root"] = str(tmp_path / "gone")
    result = measure_forgetting(source, tuned, small_kmnist, {"acc": 0.5}, "cpu")
    assert "source is not measured: its data cannot be read" in forgetting_table({**result, **COST})
    assert result["before"] is not None


@pytest.mark.parametrize(
    ("roots", "names"),
    [
        (("/data/shapes", "/data/birds"), ("folder birds", "folder shapes")),
        (("/a/photos", "/b/photos"), ("folder b/photos", "folder a/photos")),
        (("/a/photos/", "/a/photos"), ("folder photos", "folder photos")),
    ],
)
def test_two_folders_have_names_of_their_own(source, tuned, small_kmnist, roots, names):
    source.config["data"] = {"name": "folder", "root": roots[0]}
    source.info = DataInfo(source.info.shape, ("x", "y"), (0.5,), (0.5,))
    target = copy.copy(small_kmnist)
    target.name, target.root = "folder", roots[1]
    result = measure_forgetting(source, tuned, target, {"acc": 0.5}, "cpu")
    assert (result["target"], result["source"]) == names
    assert forgetting_table({**result, **COST}).splitlines()[1].startswith(f"target {names[0]}")
