"""The section on labels that look wrong."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src.dataset_report.confident_learning import LabelCheck, check_labels, confident_joint, fit_scale, read_predictions
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table
from src.dataset_report.image_grids import captioned_pictures, short_name, to_rgb
from src.dataset_report.patch_classifier import out_of_fold_scores, patch_features
from src.dataset_report.wording import format_percent, join_names, pluralize
from src.plotting import RIGHT, WRONG

SHOWN = 36
TOP_PAIRS = 8  # in the table
MIN_IMAGES = 5  # per class for the patch classifier, whose scores for smaller classes are noise
POOR = 0.8  # agreement with the labels; below it, most doubts are the classifier's own mistakes
TITLE = "Labels that look wrong"


def labels_section(context: ReportContext) -> Section:
    """Training images whose label looks wrong, the most suspicious first."""
    train, names = context.data.train, context.class_names
    least = 2 if context.predictions else MIN_IMAGES
    counts = train.labels.bincount(minlength=len(names))
    rows = (counts[train.labels] >= least).nonzero().flatten()
    if int((counts >= least).sum()) < 2:
        return Section(TITLE, [f"Labels cannot be checked: fewer than two classes have {least} images or more."])
    if not context.predictions and train.all_alike(rows):
        return Section(TITLE, ["No two images differ in shape, so their labels cannot be checked."])
    labels = train.labels[rows]
    if context.predictions:
        logits = read_predictions(context.predictions, train.rows[rows], labels, len(names))
        source = f"the networks of {context.predictions}, each for the fold that it was not trained on"
    else:
        logits, source = _patch_predictions(context, rows)
    check = check_labels(logits, labels)
    order = check.margin.argsort(stable=True)[: context.suspects]
    numbers = _numbers(check, labels, source)
    text = _paragraphs(numbers)
    small = [name for name, count in zip(names, counts.tolist(), strict=True) if count < least]
    if small:
        text.append(
            f"Classes with fewer than {least} images are left out, both as labels and as predictions: "
            f"{join_names(small)} ({pluralize(len(train) - len(rows), 'image')})."
        )
    pairs = _frequent_pairs(check, labels, names)
    table = Table(["label", "confident prediction", "images"], pairs, "The most frequent doubts (confident joint).")
    doubted, poor = numbers["surely"], " by a poor classifier" * numbers["poor"]
    summary = {TITLE.lower(): f"{doubted:,} doubted, {format_percent(doubted, len(rows))}{poor}"}
    figure = _figure(context, rows, check, order[:SHOWN], len(order))
    numbers["ranked"] = _ranked(context, rows, check, order)
    return Section(TITLE, text, [figure], [table] if pairs else [], numbers, summary)


def _patch_predictions(context: ReportContext, rows: Tensor) -> tuple[Tensor, str]:
    """Out-of-fold logits (n, K) of the training images `rows` (n,), and what they come from.

    The logits of a class that none of them belongs to are minus infinity.
    """
    train = context.data.train
    classes, labels = train.labels[rows].unique(return_inverse=True)
    features = patch_features(train.images[rows], context.seed)
    context.on_progress()
    scores = out_of_fold_scores(features, labels, len(classes), context.folds, context.seed, context.on_progress)
    logits = scores.new_full((len(rows), len(context.class_names)), -torch.inf)
    logits[:, classes] = fit_scale(scores, labels)
    source = f"a ridge regression on {features.shape[1] - 1:,} random patch features, cross-validated in "
    return logits, source + f"{context.folds} folds (seed {context.seed})"


def _numbers(check: LabelCheck, labels: Tensor, source: str) -> dict:
    agreement, largest = 1 - float(check.differs.float().mean()), float(labels.bincount().max()) / len(labels)
    return {
        "judge": source,
        "agree": agreement,
        "largest_class": largest,
        "poor": agreement < POOR or agreement <= largest,
        "judged": len(labels),
        "differ": int(check.differs.sum()),
        "surely": int(check.doubted.sum()),
    }


def _paragraphs(numbers: dict) -> list[str]:
    text = [
        f"The labels are compared with the predictions of {numbers['judge']}; {format_percent(numbers['agree'])} of "
        "them agree. Images are ranked by the log-probability of their label minus that of the likeliest other class "
        "(confident learning; Northcutt, Jiang & Chuang 2021)."
    ]
    if numbers["poor"]:
        text.append(
            "Beware: this classifier is poor. Predicting the largest class for every image would agree with "
            f"{format_percent(numbers['largest_class'])} of the labels. Most of its doubts are its own mistakes. More "
            "images, or predictions=<sweep of trained networks>, give a better one."
        )
    text.append(
        f"{pluralize(numbers['differ'], 'prediction differs', 'predictions differ')} from the label. "
        f"{numbers['surely']:,} of these labels are doubted: the classifier gives another class at least the "
        "probability that it gives on average to images of that class. This is not the number of wrong labels: in "
        "good data, most doubts are the classifier's own mistakes. Look at the images before you change a label."
    )
    if not numbers["differ"]:
        text.append("Since every prediction agrees, the images below are those with the least certain labels.")
    return text


def _frequent_pairs(check: LabelCheck, labels: Tensor, names: Sequence[str]) -> list[list]:
    """Label, confident class and number of images of the most frequent doubts."""
    joint = confident_joint(labels[check.doubted], check.confident[check.doubted], len(names)).flatten()
    counts, pairs = joint.topk(min(TOP_PAIRS, len(joint)))
    return [
        [names[pair // len(names)], names[pair % len(names)], count]
        for count, pair in zip(counts.tolist(), pairs.tolist(), strict=True)
        if count
    ]


def _ranked(context: ReportContext, rows: Tensor, check: LabelCheck, order: Tensor) -> list[dict]:
    """The images `order` of `rows`, as report.json lists them."""
    train, names = context.data.train, context.class_names
    return [
        {
            "row": int(train.rows[rows[i]]),
            "label": names[train.labels[rows[i]]],
            "looks_like": names[check.other[i]],
            "margin": round(float(check.margin[i]), 4),
            "p_label": round(float(check.prob[i]), 5),
        }
        for i in order.tolist()
    ]


def _figure(context: ReportContext, rows: Tensor, check: LabelCheck, order: Tensor, listed: int) -> ReportFigure:
    train, names = context.data.train, context.class_names
    above, below = [], []
    for i in order.tolist():
        verdict = "looks like" if check.differs[i] else "next"
        above.append(f"label {short_name(names[train.labels[rows[i]]], 9)}")
        prob = f"#{train.rows[rows[i]]}  p {_format_prob(float(check.prob[i]))}"
        below.append(f"{verdict} {short_name(names[check.other[i]], 8)}\n{prob}")
    pictures = to_rgb(train.images[rows[order]])
    caption = (
        f"The {len(order)} most suspicious of {pluralize(len(rows), 'label')}, in order. Above: the label. Below: the "
        "likeliest other class (“next” where the label is still likelier), the row, and the probability of the "
        f"label. report.json lists {listed}."
    )
    plot = captioned_pictures(pictures, above, below, colors=(WRONG, RIGHT))
    return ReportFigure("labels", plot, "Images whose label looks wrong.", caption)


def _format_prob(prob: float) -> str:
    return f"{prob:.2f}" if prob >= 0.01 else f"{prob:.0e}".replace("e-0", "e-")
