"""Labels that look wrong: out-of-fold scores, confident learning, predictions of a sweep."""

import numpy as np
import pytest
import torch

from src.data.splits import fold_mask
from src.dataset_report.confident_learning import (
    confident_joint,
    confident_label,
    fit_scale,
    label_margins,
    read_predictions,
)
from src.dataset_report.context import ReportContext
from src.dataset_report.patch_classifier import RIDGE, out_of_fold_scores
from src.dataset_report.report import SECTIONS
from src.dataset_report.sample import SplitSample
from src.errors import InputError
from tests.dataset_report.samples import dataset_sample, digits


def test_out_of_fold_scores_do_not_know_their_own_label():
    """Features that identify every image but no class: out of fold, the labels are guessed."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 600, generator=generator)
    features[:, -1] = 1
    labels = torch.randint(2, (400,), generator=generator)
    right = (out_of_fold_scores(features, labels, 2, 5, 0).argmax(1) == labels).float().mean()
    assert 0.4 < float(right) < 0.6


def test_out_of_fold_scores_are_the_ridge_regression_of_the_other_folds():
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(90, 12, generator=generator), torch.arange(90) % 3
    features[:, -1] = 1
    penalty = RIDGE * torch.eye(12)
    penalty[-1, -1] = 0  # none on the intercept
    scores = out_of_fold_scores(features, labels, 3, 4, 5)
    in_fold = fold_mask(labels, 4, 2, 5)
    known, targets = features[~in_fold], torch.nn.functional.one_hot(labels[~in_fold], 3).float() * 2 - 1
    weights = torch.linalg.solve(known.T @ known + penalty, known.T @ targets)
    torch.testing.assert_close(scores[in_fold], features[in_fold] @ weights, atol=1e-4, rtol=1e-4)


def test_confident_joint_of_a_worked_case():
    probs = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    joint = confident_joint(labels, confident_label(probs, labels), 2)
    # Thresholds: 0.6 for class 0, 0.75 for class 1; the last image reaches neither.
    assert joint.tolist() == [[2, 1], [0, 1]]
    margins = label_margins(probs.log(), labels)
    assert int(margins.argmin()) == 2
    assert float(margins[2]) == pytest.approx(np.log(0.2 / 0.8), abs=1e-5)


def test_fitted_scale_recovers_the_true_logits():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 4, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    found = fit_scale(logits / 100, labels)
    assert float((found / logits).median()) == pytest.approx(1, rel=0.25)


def test_planted_label_errors_are_ranked_first(planted):
    found, true = planted
    ranked = [row["row"] for row in found["labels"].numbers["ranked"]]
    wrong = [*true["flipped"].tolist(), int(true["exact"][0])]
    assert len(set(ranked[:42]) & set(wrong)) >= 19
    assert found["labels"].numbers["agree"] > 0.93


def test_labels_of_rare_classes_are_not_suspected():
    """Correct labels of classes with 97, 60, 30, 3, 1 and 0 images: the small classes are named and left out."""
    train, test, names = digits()
    rows = torch.cat([(train.labels == k).nonzero().flatten()[:n] for k, n in enumerate((97, 60, 30, 3, 1))])
    part = SplitSample(train.images[rows], train.labels[rows], rows, len(rows))
    found = SECTIONS["labels"](ReportContext(dataset_sample(part, test, names)))
    assert found.numbers["agree"] > 0.97
    assert found.numbers["surely"] <= found.numbers["differ"]
    assert found.numbers["judged"] == 187
    assert {row["looks_like"] for row in found.numbers["ranked"]} <= set(names[:3])
    assert "fewer than 5 images" in found.paragraphs[-1] and "3, 4, 5" in found.paragraphs[-1]


def test_a_poor_classifier_is_reported():
    """Random labels: more predictions differ than are confident, and the page warns."""
    train, test, names = digits()
    labels = torch.randint(10, (len(train),), generator=torch.Generator().manual_seed(0))
    found = SECTIONS["labels"](
        ReportContext(dataset_sample(SplitSample(train.images, labels, train.rows, len(labels)), test, names))
    )
    assert found.numbers["poor"]
    assert 0 < found.numbers["surely"] <= found.numbers["differ"]
    assert "this classifier is poor" in " ".join(found.paragraphs)


def test_predictions_of_a_sweep_are_read_and_checked(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels, rows = torch.arange(40) % 4, torch.arange(100, 140)
    logits = torch.randn(40, 4, generator=generator)
    for fold in range(2):
        part = slice(fold, None, 2)
        (tmp_path / str(fold)).mkdir()
        columns = {"index": rows[part], "labels": labels[part], "logits": logits[part]}
        np.savez(tmp_path / str(fold) / "predictions.npz", **{k: v.numpy() for k, v in columns.items()})
    predictions = read_predictions(str(tmp_path), rows, labels, 4)
    torch.testing.assert_close(predictions, logits.log_softmax(1))
    with pytest.raises(InputError, match="other labels"):
        read_predictions(str(tmp_path), rows, labels.flip(0), 4)
    with pytest.raises(InputError, match="4 classes, the data have 5"):
        read_predictions(str(tmp_path), rows, labels, 5)
    (tmp_path / "1" / "predictions.npz").unlink()
    with pytest.raises(InputError, match="leave out 20 of 40"):
        read_predictions(str(tmp_path), rows, labels, 4)
    with pytest.raises(InputError, match="holds no predictions"):
        read_predictions(str(tmp_path / "nowhere"), rows, labels, 4)
