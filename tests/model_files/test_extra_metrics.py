"""Metrics that a config adds: built, checked, of the direction that they say, and no class that a file chooses."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_auroc

from src.data.info import DataInfo
from src.errors import InputError
from src.evaluation.evaluate import compute_metrics, metrics_table
from src.evaluation.monitor import monitor_mode
from src.model_files.extra_metrics import build_metrics, declare_directions, stored_metrics, try_metrics
from src.model_files.trust import trusted
from tests.own_package import write_package

CLASSES = DataInfo((1, 4, 4), ("a", "b", "c"), (0.5,), (0.5,))
ANGLE = DataInfo((1, 4, 4), (), (0.5,), (0.5,), target="angle_deg", scale=45.0)
AUROC = {"_target_": "torchmetrics.classification.MulticlassAUROC"}


def test_a_metric_stands_beside_the_usual_ones():
    logits, labels = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    extra = build_metrics({"auroc": AUROC, "task": {"_target_": "torchmetrics.AUROC"}}, CLASSES)
    try_metrics(extra, CLASSES)
    measured = compute_metrics(logits, labels, CLASSES, None, extra)
    expected = float(multiclass_auroc(logits.softmax(1), labels, 3))
    assert measured["auroc"] == measured["task"] == pytest.approx(expected)
    assert f"auroc        {expected:6.4f}" in metrics_table(measured)
    assert compute_metrics(logits, labels, CLASSES, None, extra)["auroc"] == measured["auroc"]  # nothing is left over


def test_a_regression_target_has_metrics_too():
    extra = build_metrics({"corr": {"_target_": "torchmetrics.PearsonCorrCoef"}}, ANGLE)
    try_metrics(extra, ANGLE)
    values = torch.linspace(-1, 1, 20)
    assert compute_metrics(values[:, None], values, ANGLE, None, extra)["corr"] == pytest.approx(1)


def test_its_direction_is_its_own():
    declare_directions({"auroc": AUROC, "cal": {"_target_": "torchmetrics.classification.MulticlassCalibrationError"}})
    assert (monitor_mode("val/auroc"), monitor_mode("test/cal"), monitor_mode("val/cal", "max")) == (
        "max",
        "min",
        "max",
    )


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({"loss": AUROC}, "the name of another value"),
        ({"a.b": AUROC}, "letters, digits"),
        ({"a/b": AUROC}, "letters, digits"),
        ({3: AUROC}, "letters, digits"),
        ({"x": {}}, "has no _target_"),
        ({"x": None}, "has no _target_"),
        ({"x": {"_target_": "torchmetrics.classification.MulticlassAUROCC"}}, "it has MulticlassAUROC"),
        ({"x": {"_target_": "torch.nn.Linear"}}, "is no torchmetrics metric"),
        ({"x": {"_target_": "os.system"}}, "is no torchmetrics metric"),
        ({"x": {**AUROC, "nonsense": 1}}, "nonsense"),
        ([AUROC], "metrics by name"),
        ("auroc", "metrics by name"),
    ],
)
def test_what_is_no_metric_is_refused(nodes, reason):
    with pytest.raises(InputError, match=reason):
        build_metrics(nodes, CLASSES)


@pytest.mark.parametrize("options", [{"average": None}, {"average": "none"}])
def test_a_metric_of_several_numbers_is_refused(options):
    with pytest.raises(InputError, match=r"computes \(3,\) and not one number"):
        try_metrics(build_metrics({"auroc": {**AUROC, **options}}, CLASSES), CLASSES)


@pytest.mark.parametrize(
    "target",
    ["os.system", "torchmetrics.MetricCollection", "torchmetrics.metric.os.system", "metricpackage.parts.Confidence"],
)
def test_a_file_names_no_other_class(tmp_path, monkeypatch, target):
    monkeypatch.syspath_prepend(str(write_package(tmp_path, "metricpackage")))
    config = {"metrics": {"x": {"_target_": target}, "auroc": AUROC}}
    assert stored_metrics(config, CLASSES, "a file").keys() == {"auroc"}
    with trusted("metricpackage"):
        own = {"x"} if target.startswith("metricpackage") else set()
        assert stored_metrics(config, CLASSES, "a file").keys() == {"auroc"} | own
    assert stored_metrics({"metrics": [3]}, CLASSES, "a file") == stored_metrics({}, CLASSES, "a file") == {}
