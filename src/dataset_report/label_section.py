"""The section on labels that look wrong."""

import torch
from torch import Tensor

from src.dataset_report.confident_learning import LabelCheck, check_labels, confident_joint, fit_scale, read_predictions
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table
from src.dataset_report.image_grids import captioned_pictures, to_float_rgb
from src.dataset_report.patch_classifier import out_of_fold_scores, patch_features
from src.dataset_report.wording import format_percent, join_names, pluralize
from src.plotting import RIGHT, WRONG, class_labels

SHOWN = 36
TOP_PAIRS = 8
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
    agreement, largest = 1 - float(check.differs.float().mean()), float(labels.bincount().max()) / len(labels)
    differ, doubted = int(check.differs.sum()), int(check.doubted.sum())
    poor = agreement < POOR or agreement <= largest
    text = _paragraphs(source, agreement, largest if poor else None, differ, doubted)
    small = [name for name, count in zip(names, counts.tolist(), strict=True) if count < least]
    if small:
        text.append(
            f"Classes with fewer than {least} images are left out, both as labels and as predictions: "
            f"{join_names(small)} ({pluralize(len(train) - len(rows), 'image')})."
        )
    numbers = {"judge": source, "agree": agreement, "largest_class": largest, "poor": poor, "judged": len(rows)}
    numbers |= {"differ": differ, "surely": doubted, "ranked": _ranked(context, rows, check, order)}
    joint = confident_joint(labels[check.doubted], check.confident[check.doubted], len(names)).flatten()
    top = joint.topk(min(TOP_PAIRS, len(joint)))
    pairs = [
        [names[pair // len(names)], names[pair % len(names)], count]
        for count, pair in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        if count
    ]
    table = Table(["label", "confident prediction", "images"], pairs, "The most frequent doubts (confident joint).")
    doubts = f"{doubted:,} doubted, {format_percent(doubted, len(rows))}{' by a poor classifier' * poor}"
    figure = _figure(context, rows, check, order)
    return Section(TITLE, text, [figure], [table] if pairs else [], numbers, {TITLE.lower(): doubts})


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


def _paragraphs(source: str, agreement: float, largest: float | None, differ: int, doubted: int) -> list[str]:
    """largest: share of the largest class if the classifier is poor, else None."""
    text = [
        f"The labels are compared with the predictions of {source}; {format_percent(agreement)} of them agree. Images "
        "are ranked by the log-probability of their label minus that of the likeliest other class (confident learning; "
        "Northcutt, Jiang & Chuang 2021)."
    ]
    if largest is not None:
        text.append(
            "Beware: this classifier is poor. Predicting the largest class for every image would agree with "
            f"{format_percent(largest)} of the labels. Most of its doubts are its own mistakes. More images, or "
            "predictions=<sweep of trained networks>, give a better one."
        )
    text.append(
        f"{pluralize(differ, 'prediction differs', 'predictions differ')} from the label. {doubted:,} of these labels "
        "are doubted: the classifier gives another class at least the probability that it gives on average to images "
        "of that class. This is not the number of wrong labels: in good data, most doubts are the classifier's own "
        "mistakes. Look at the images before you change a label."
    )
    if not differ:
        text.append("Since every prediction agrees, the images below are those with the least certain labels.")
    return text


def _ranked(context: ReportContext, rows: Tensor, check: LabelCheck, order: Tensor) -> list[dict]:
    train, names, ranked = context.data.train, context.class_names, []
    for i in order.tolist():
        image = {"row": int(train.rows[rows[i]]), "label": names[train.labels[rows[i]]]}
        image |= {} if train.files is None else {"file": train.files[rows[i]]}
        numbers = {"margin": round(float(check.margin[i]), 4), "p_label": round(float(check.prob[i]), 5)}
        ranked.append({**image, "looks_like": names[check.other[i]], **numbers})
    return ranked


def _figure(context: ReportContext, rows: Tensor, check: LabelCheck, order: Tensor) -> ReportFigure:
    train, names, top = context.data.train, class_labels(context.class_names, 9), order[:SHOWN]
    above, below = [], []
    for i in top.tolist():
        verdict, prob = "looks like" if check.differs[i] else "next", float(check.prob[i])
        short = f"{prob:.2f}" if prob >= 0.01 else f"{prob:.0e}".replace("e-0", "e-")
        above.append(f"label {names[train.labels[rows[i]]]}")
        below.append(f"{verdict} {names[check.other[i]]}\n{train.image_name(rows[i])}  p {short}")
    caption = (
        f"The {len(top)} most suspicious of {pluralize(len(rows), 'label')}, in order. Above: the label. Below: the "
        "likeliest other class (“next” where the label is still likelier), the row or file, and the probability of the "
        f"label. report.json lists {len(order)}."
    )
    plot = captioned_pictures(to_float_rgb(train.images[rows[top]]), above, below, colors=(WRONG, RIGHT))
    return ReportFigure("labels", plot, "Images whose label looks wrong.", caption)
