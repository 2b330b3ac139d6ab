"""The measures of an evaluation are their published definitions."""

import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from src.data.info import DataInfo
from src.errors import InputError
from src.evaluation.evaluate import compute_metrics, metrics_table, wilson_interval
from src.evaluation.metrics import ClassifierMetrics
from src.evaluation.monitor import monitor_mode
from src.training.callbacks import EarlyStopping
from src.training.checkpoints import Checkpoints


def test_wilson_is_the_published_interval():
    low, high = wilson_interval(81, 263)  # Newcombe 1998, table I
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson_interval(0, 20)[0] == 0
    assert wilson_interval(20, 20)[1] == 1


def test_measures_are_their_definitions():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 2])
    results = compute_metrics(logits, labels, DataInfo((1, 1, 1), ("a", "b", "c"), (0.5,), (0.5,)))
    assert results["acc"] == 0.5
    assert results["confusion"] == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert results["precision"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert results["recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert results["f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert results["top2"] == 1.0
    assert results["per_class"]["b"] == {"acc": 0.5, "images": 2}
    confidence = logits.softmax(1).max(1).values
    bins = [int(c * 15) for c in confidence]
    right = [1.0, 1.0, 0.0, 0.0]
    ece = sum(abs(sum(right[i] - float(confidence[i]) for i in range(4) if bins[i] == b)) for b in set(bins)) / 4
    assert results["ece"] == pytest.approx(ece, abs=1e-6)


@pytest.mark.parametrize("present", [[3, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [7]])
def test_means_over_classes_are_those_of_the_classes_that_have_images(present):
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(present)[torch.randint(len(present), (120,), generator=generator)]
    logits = torch.randn(120, 10, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 10)
    info, taken = DataInfo((1, 1, 1), tuple("0123456789"), (0.5,), (0.5,)), logits.argmax(1)
    whole = compute_metrics(logits, labels, info)
    split = ClassifierMetrics(info).compute_split(logits, labels)  # what training logs and sweeps compare
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(labels, taken, labels=present, average="macro")
        assert whole[name] == pytest.approx(expected, abs=1e-6)
        assert float(split[name]) == pytest.approx(expected, abs=1e-6)
    assert ("mean over classes" in metrics_table(whole)) == (len(present) == 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("val/acc", "max"), ("val/f1", "max"), ("val/loss", "min"), ("val/ece", "min"), ("val/top2", "max")],
)
def test_metrics_know_their_direction(name, expected, tmp_path):
    assert monitor_mode(name) == expected
    assert Checkpoints(str(tmp_path), monitor=name).mode == expected
    assert EarlyStopping(monitor=name).mode == expected
    assert monitor_mode(name, "min") == "min"
    with pytest.raises(InputError, match="mode=up"):
        monitor_mode(name, "up")
